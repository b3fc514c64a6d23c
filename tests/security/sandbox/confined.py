"""Devices of several kinds on one machine: an agent that is root, one of an ordinary user."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

USER = 54321
"""A user id without an account."""
_GUARD = "fleetmark-tests"
_GUARDED_BYTES, _GUARDED_TASKS = 3 << 30, 3000


def is_root() -> bool:
    return os.geteuid() == 0


def opened_python() -> str:
    """Return shell words that open this Python to every user, in a mount namespace.

    Nothing where that is so already, or where we are not root.
    """
    closed = next(
        (
            folder
            for folder in reversed(Path(sys.base_prefix).parents)
            if folder.stat().st_mode & 0o005 != 0o005
        ),
        None,
    )
    if closed is None:
        return ""
    prefix, aside = shlex.quote(sys.base_prefix), "/mnt"
    return (
        f"mount --make-rprivate / && mount --bind {prefix} {aside} && "
        f"mount -t tmpfs -o mode=0755 tmpfs {shlex.quote(str(closed))} && mkdir -p {prefix} && "
        f"mount --bind {aside} {prefix} && umount {aside} && "
    )


def as_root() -> tuple[str, ...]:
    """Return the prefix of a root agent: its Python is open, so that jobs may be another user."""
    return ("unshare", "--mount", "sh", "-c", f'{_guarded()}{opened_python()}exec "$@"', "sh")


def as_user() -> tuple[str, ...]:
    """Return the prefix of an ordinary user; empty if the tests do not run as root."""
    if not is_root():
        return ()
    become = f"exec setpriv --reuid {USER} --regid {USER} --clear-groups"
    script = f'{_guarded()}{opened_python()}{become} "$@"'
    return ("unshare", "--mount", "sh", "-c", script, "sh")


def _guarded() -> str:
    """Put the command into control groups (version 1) that stop it if a sandbox fails.

    They are the tests' own net, far beyond the limits that are tested.
    """
    words = ""
    for controller, name, limit in (
        ("pids", "pids.max", _GUARDED_TASKS),
        ("memory", "memory.limit_in_bytes", _GUARDED_BYTES),
    ):
        group = Path("/sys/fs/cgroup") / controller / _GUARD
        if not group.parent.joinpath("cgroup.procs").exists():
            continue
        group.mkdir(exist_ok=True)
        (group / name).write_text(str(limit))
        words += f"echo $$ > {group}/cgroup.procs; "
    return words


@contextmanager
def open_folder() -> Iterator[Path]:
    """Return a temporary folder for all users; pytest's own ones are private."""
    folder = Path(tempfile.mkdtemp(prefix="fleetmark-sandbox-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for controller in ("pids", "memory"):
            # Not while another test's processes are in it.
            with suppress(OSError):
                Path("/sys/fs/cgroup", controller, _GUARD).rmdir()


def bubblewrap_works() -> bool:
    """Return whether bubblewrap works for an ordinary user."""
    if shutil.which("bwrap") is None:
        return False
    words = ["bwrap", "--unshare-user", "--unshare-pid", "--unshare-net", "--ro-bind", "/", "/"]
    words += ["--proc", "/proc", "true"]
    return subprocess.run([*as_user(), *words], capture_output=True, check=False).returncode == 0


def processes_with(marker: str) -> list[int]:
    """Return the ids of living processes with a word in their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (entry / "cmdline").read_bytes() and entry.name != str(
                os.getpid()
            ):
                found.append(int(entry.name))
        except OSError:
            continue
    return found
