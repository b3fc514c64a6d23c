"""`agent start` puts its home in order, joins a controller, then becomes the process that serves.

Python never gives memory back: what reads flags and files, and what cleans up, is left behind by
replacing the process image (execve). The process id, the terminal and the home's lock stay.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
from pathlib import Path
from typing import NoReturn

from fleetmark_agent.config.settings import AgentSettings
from fleetmark_agent.errors import from_os_error
from fleetmark_agent.software.detection_cache import builtin_folder, rules_digest
from fleetmark_agent.startup.join import join
from fleetmark_agent.state.file_locks import try_lock
from fleetmark_agent.state.identity import device_id, protect_identity
from fleetmark_agent.state.status_file import mark_starting
from fleetmark_cli.logging_setup import set_up_logging
from fleetmark_core.disk_space import disk_full_error, has_room
from fleetmark_core.errors import ErrorKind, FleetmarkError

log = logging.getLogger(__name__)
_TRACE_LIMIT_BYTES = 4 * 1024 * 1024
_MOST_BYTES = 48 * 1024
"""Of what is handed over: a pipe takes 64 KiB before anybody reads it."""


def exec_daemon(settings: AgentSettings, verbose: bool) -> NoReturn:
    """Lock and clean the home, join a controller, then serve until asked to end. Never returns.

    Raises:
        FleetmarkError: the home is in use or unusable, the board was refused, or the labels are
            too many.
    """
    if os.geteuid() == 0:
        # Jobs run as another user, which must find nothing of ours open, whatever its way here.
        os.umask(0o077)
    lock = _take_home(settings)
    set_up_logging(verbose)
    for line in protect_identity(settings.home):
        log.warning("%s", line)
    if len(handover_document(settings, "", lock, verbose)) > _MOST_BYTES:
        raise FleetmarkError(
            ErrorKind.USAGE, "the labels are too many", "--label", "Use fewer or shorter ones"
        )
    try:
        settings = join(settings)
    except OSError as error:
        raise from_os_error(error, str(settings.home)) from error
    read, write = os.pipe()
    os.write(write, handover_document(settings, _own_id(settings.home), lock, verbose))
    os.close(write)
    os.set_inheritable(read, True)
    os.set_inheritable(lock, True)
    sys.stdout.flush()
    sys.stderr.flush()
    words = [sys.executable, *_interpreter_flags(), "-m", "fleetmark_agent.daemon.main", str(read)]
    # glibc gives each thread memory of its own to take from, and gRPC's threads fill and leave it:
    # 5 MiB after the first job. With one for all, transfers are as quick and cost the same CPU.
    environment = {"MALLOC_ARENA_MAX": "1", **os.environ}
    os.execve(sys.executable, words, environment)  # noqa: S606


def handover_document(settings: AgentSettings, own_id: str, lock: int, verbose: bool) -> bytes:
    """What `daemon.main` reads from the pipe; `lock` is the home's, a descriptor."""
    values = {
        "settings": {**dataclasses.asdict(settings), "home": str(settings.home)},
        "device_id": own_id,
        "lock": lock,
        "rules": rules_digest(builtin_folder()),
        "verbose": verbose,
    }
    return json.dumps(values).encode()


def _take_home(settings: AgentSettings) -> int:
    """Make the home usable and clean; returns the descriptor of its lock.

    Raises:
        FleetmarkError: it is in use or cannot be used.
    """
    home = settings.home
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = try_lock(home / "agent.lock")
        if lock is None:
            raise FleetmarkError(
                ErrorKind.HOME_IN_USE,
                "another agent runs with this home",
                str(home),
                "End it, or choose another --home",
            )
        # Whether there is room at all shows now, not in the middle of the first job.
        if not has_room(home):
            raise disk_full_error(home, suggestion="cache/ may be deleted")
        _shorten(home / "trace.jsonl")
        mark_starting(home)
    except OSError as error:
        raise from_os_error(error, str(home)) from error
    return lock


def _own_id(home: Path) -> str:
    try:
        return device_id(home)
    except OSError as error:
        raise from_os_error(error, str(home)) from error


def _shorten(trace: Path) -> None:
    """Keep one older trace beside the current one."""
    if trace.exists() and trace.stat().st_size > _TRACE_LIMIT_BYTES:
        trace.replace(trace.with_suffix(".1.jsonl"))


def _interpreter_flags() -> list[str]:
    """Isolated, as all our processes are, unless the person says by PYTHONPATH where modules lie.

    Where compiled modules lie is the person's to say, too.
    """
    flags = ["-s"] if os.environ.get("PYTHONPATH") else ["-I"]
    if sys.dont_write_bytecode:
        flags.append("-B")
    if sys.pycache_prefix:
        flags += ["-X", f"pycache_prefix={sys.pycache_prefix}"]
    return flags
