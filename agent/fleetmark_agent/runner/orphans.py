"""Cleanup of processes that a killed supervisor left running.

The job's first process dies with its supervisor (PDEATHSIG), but its children may not. They keep
the device's lock held, so that no other job starts. They are found by their environment, which
names the job file.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path


def processes_of(job: Path, proc: Path = Path("/proc")) -> list[int]:
    """Return the processes whose environment names the job file `job`."""
    mark = b"FLEETMARK_JOB=" + os.fsencode(job)
    found: list[int] = []
    for entry in proc.glob("[0-9]*"):
        with suppress(OSError):
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def end_processes(job: Path) -> int:
    """Kill the processes of the job file; return how many were found."""
    found = processes_of(job)
    for pid in found:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    return len(found)
