"""Finds and ends what a killed supervisor left running.

The job's first process dies with its supervisor (PDEATHSIG); its children may not. They keep the
device's lock held, so nothing else starts, and they carry the attempt's name in their environment.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path


def processes_of(job: Path, proc: Path = Path("/proc")) -> list[int]:
    """Processes that were started for the job file `job`, by their environment."""
    mark = b"FLEETMARK_JOB=" + os.fsencode(job)
    found: list[int] = []
    for entry in proc.glob("[0-9]*"):
        with suppress(OSError):
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def end_processes(job: Path) -> int:
    """Kill them; returns how many there were."""
    found = processes_of(job)
    for pid in found:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    return len(found)
