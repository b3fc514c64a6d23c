"""Lookup of the credentials with which a command authenticates.

The sources, in this order: the named file (`--credentials`, FLEETMARK_CREDENTIALS); the file that a
controller on this host left in its home, if it listens at the dialed address; the user's own file,
`credentials.json` in the user's configuration folder.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from fleetmark_cli.output import echo
from fleetmark_cli.paths import expand_user, home_folder, user_folder
from fleetmark_controller.home.credential_files import Credentials, admin_file, read_credentials
from fleetmark_controller.home.endpoint import read_endpoint
from fleetmark_core.atomic_file import write_atomic
from fleetmark_core.document_parser import parse_json
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.private_files import protect_files
from fleetmark_core.regular_file import read_regular

VARIABLE = "FLEETMARK_CREDENTIALS"
_MOST_STOPPED = 8
_MAX_NOTES_BYTES = 1 << 20


def find(address: str | None, named: str | None = None) -> tuple[str, Credentials]:
    """Return the address to dial and the credentials to use there.

    Raises:
        FleetmarkError: UNAUTHENTICATED: no credentials exist. UNREACHABLE: no address is given and
            no controller has run in the default home. CONFIGURATION: the named file has no
            credentials, or other users may read it and its mode cannot be changed.
    """
    chosen = named or os.environ.get(VARIABLE)
    if chosen:
        found = _read_private(expand_user(chosen))
        return address or found.address, found
    for home in homes_here():
        endpoint_address, pid = read_endpoint(home)
        if not endpoint_address or not _runs(pid) or not admin_file(home).exists():
            continue
        if address is None or _same(address, endpoint_address):
            return address or endpoint_address, read_credentials(admin_file(home))
    own = user_file()
    if own is not None and own.exists():
        found = _read_private(own)
        return address or found.address, found
    default = home_folder("controller", None)
    if address is None and not admin_file(default).exists():
        raise FleetmarkError(
            ErrorKind.UNREACHABLE,
            f"no controller runs on this host with home {default}",
            next_step="Start one with `controller serve`, or give --credentials FILE",
        )
    if admin_file(default).exists():
        # A controller ran here and may be running again; the call will show this.
        last = read_credentials(admin_file(default))
        return address or last.address, last
    raise FleetmarkError(
        ErrorKind.UNAUTHENTICATED,
        f"no credentials for the controller at {address}",
        next_step="Give a credentials file with --credentials; an administrator makes one with"
        " `controller operator create`",
    )


def _read_private(path: Path) -> Credentials:
    """Read a user's credentials file, after removing the access of other users.

    Raises:
        FleetmarkError: CONFIGURATION: it cannot be read or has no credentials, or its mode cannot
            be changed.
    """
    for line in protect_files((path,)):
        echo(f"warning: {line}", err=True)
    return read_credentials(path)


def user_file() -> Path | None:
    """Return the path of a user's credentials file; None if the user has no home."""
    config = user_folder("XDG_CONFIG_HOME", ".config")
    return None if config is None else config / "fleetmark" / "credentials.json"


def note_home(home: Path) -> None:
    """Record a controller's home, so that this user's commands find it if it is not the default.

    Called before a controller starts and again when it serves: see `kept_homes`.
    """
    path = _notes()
    if path is None:
        return
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Controllers that start at the same time must not drop each other.
        with path.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            kept = kept_homes([str(home), *_noted()], _is_running)
            write_atomic(path, json.dumps(kept).encode(), durable=False)


def kept_homes(homes: Iterable[str], is_running: Callable[[str], bool]) -> list[str]:
    """Return the homes to remember: those of running controllers, and the newest of the others.

    Args:
        homes: the newest first; repetitions are ignored.
        is_running: returns whether the controller of a home runs.
    """
    kept: list[str] = []
    stopped = 0
    for home in dict.fromkeys(homes):
        if not is_running(home):
            stopped += 1
            if stopped > _MOST_STOPPED:
                continue
        kept.append(home)
    return kept


def _is_running(home: str) -> bool:
    address, pid = read_endpoint(Path(home))
    return bool(address) and _runs(pid)


def homes_here() -> Iterator[Path]:
    """Yield the homes of this user's controllers: the default one, then the most recent ones."""
    # Without a home folder of the user there is no default home.
    with suppress(FleetmarkError):
        yield home_folder("controller", None)
    for text in _noted():
        yield Path(text)


def _noted() -> list[str]:
    path = _notes()
    try:
        known = parse_json(read_regular(path, _MAX_NOTES_BYTES)) if path is not None else []
        return [str(text) for text in known]
    except (OSError, ValueError, TypeError):
        return []


def _notes() -> Path | None:
    data = user_folder("XDG_DATA_HOME", ".local/share")
    return None if data is None else data / "fleetmark" / "controllers.json"


def _runs(pid: int) -> bool:
    """Return whether a process exists; the endpoint file of a killed controller remains."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def _same(dialled: str, address: str) -> bool:
    """Return whether two addresses are the same on this host.

    Any loopback host matches, because controllers on one host differ by their ports.
    """
    host, _, port = dialled.rpartition(":")
    if address == dialled:
        return True
    return address.rpartition(":")[2] == port and host in ("127.0.0.1", "localhost", "[::1]")
