"""Handover of `agent start`: it prepares the home, enrolls, and then becomes the serving process.

Python does not return freed memory to the system. Replacing the process image (execve) releases the
memory of the code that reads flags and files and cleans up. The process id, the terminal and the
home's file lock are kept.
"""

from __future__ import annotations

import dataclasses
import json
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
from fleetmark_core.log import get_logger

log = get_logger(__name__)
_TRACE_LIMIT_BYTES = 4 * 1024 * 1024
_MOST_BYTES = 48 * 1024
"""Maximum size of the handover document: a pipe buffers 64 KiB before the reader starts."""


def exec_daemon(settings: AgentSettings, verbose: bool) -> NoReturn:
    """Lock and clean the home, enroll, then serve until asked to stop. Never returns.

    Raises:
        FleetmarkError: the home is in use or unusable, the controller refused the device, or there
            are too many labels.
    """
    if os.geteuid() == 0:
        # Jobs run as another user, which must not be able to read any file of the agent.
        os.umask(0o077)
    lock = _take_home(settings)
    device = {"device": settings.name} if settings.name else {}
    set_up_logging(verbose, settings.log_format, device)
    for line in protect_identity(settings.home):
        log.warning("access restricted", reason=line)
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
    # glibc gives each thread a memory arena of its own, and gRPC's threads fill and leave them: 5
    # MiB after the first job. With one arena for all, transfers are as fast and cost the same CPU.
    # A low threshold returns what connecting has freed, instead of keeping it for the next time.
    allocator = {
        "MALLOC_ARENA_MAX": "1",
        "MALLOC_TRIM_THRESHOLD_": "32768",
        "MALLOC_TOP_PAD_": "16384",
    }
    environment = {**allocator, **os.environ}
    os.execve(sys.executable, words, environment)  # noqa: S606


def handover_document(settings: AgentSettings, own_id: str, lock: int, verbose: bool) -> bytes:
    """Return the document for `daemon.main`; `lock` is the descriptor of the home's lock file."""
    values = {
        "settings": {**dataclasses.asdict(settings), "home": str(settings.home)},
        "device_id": own_id,
        "lock": lock,
        "rules": rules_digest(builtin_folder()),
        "verbose": verbose,
    }
    return json.dumps(values).encode()


def _take_home(settings: AgentSettings) -> int:
    """Create and clean the home; return the descriptor of its file lock.

    Raises:
        FleetmarkError: the home is in use or unusable.
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
        # Check for free space now, not in the middle of the first job.
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
    """Rotate a large trace; one older trace is kept."""
    if trace.exists() and trace.stat().st_size > _TRACE_LIMIT_BYTES:
        trace.replace(trace.with_suffix(".1.jsonl"))


def _interpreter_flags() -> list[str]:
    """Return flags that isolate the interpreter, unless PYTHONPATH says where modules are.

    The operator may also choose where compiled modules are stored.
    """
    flags = ["-s"] if os.environ.get("PYTHONPATH") else ["-I"]
    if sys.dont_write_bytecode:
        flags.append("-B")
    if sys.pycache_prefix:
        flags += ["-X", f"pycache_prefix={sys.pycache_prefix}"]
    return flags
