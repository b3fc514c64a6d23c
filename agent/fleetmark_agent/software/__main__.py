"""Print the detected software as JSON: `python -I -m fleetmark_agent.software`."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from fleetmark_agent.software.detection_cache import builtin_folder, rules_digest
from fleetmark_agent.software.engine import detect
from fleetmark_agent.software.rules import load_rules
from fleetmark_agent.software.search_paths import SearchPaths
from fleetmark_core import process_tree, subprocesses
from fleetmark_core.digest import canonical_json
from fleetmark_core.serde import to_plain

_NICE = 10
_MAX_FILE_BYTES = 64 * 1024 * 1024
_CPU_S = 60
_STALE_S = 3600.0


def main() -> int:
    """Detect the software of this device and write it to stdout."""
    own = Path(tempfile.gettempdir()) / f"fleetmark-detect-{os.getpid()}-{secrets.token_hex(8)}"

    def give_up(_number: int, _frame: FrameType | None) -> None:
        subprocesses.stop()
        _clean(own)
        os._exit(143)

    signal.signal(signal.SIGTERM, give_up)
    signal.signal(signal.SIGINT, give_up)
    _be_modest()
    _sweep(own.parent)
    own.mkdir(mode=0o700)
    tempfile.tempdir = str(own)
    try:
        folder = builtin_folder()
        rules, bad = load_rules(folder)
        detection = detect(SearchPaths.here(), rules, bad, rules_digest(folder))
    finally:
        _clean(own)
    sys.stdout.buffer.write(canonical_json(to_plain(detection)))
    return 0


def _clean(own: Path) -> None:
    """Remove all processes and files, although other threads may still create some."""
    quiet = 0
    for _ in range(100):
        busy = process_tree.kill_descendants() or own.exists()
        shutil.rmtree(own, ignore_errors=True)
        quiet = 0 if busy else quiet + 1
        if quiet == 3:
            return
        time.sleep(0.005)


def _sweep(folder: Path) -> None:
    """Remove the leftovers of killed helpers: only the user's own, and only old ones."""
    for path in folder.glob("fleetmark-detect-*"):
        with contextlib.suppress(OSError):
            found = path.lstat()
            if found.st_uid == os.getuid() and time.time() - found.st_mtime > _STALE_S:
                shutil.rmtree(path, ignore_errors=True)


def _be_modest() -> None:
    """Limit the resources of this process and its children, and end it with its parent.

    Where Linux schedules sessions as groups, the nice value of a process counts only within its
    session; /proc/self/autogroup has that of the session (sched(7)).
    """
    import resource

    process_tree.become_subreaper()
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    with contextlib.suppress(OSError):
        os.setsid()
        Path("/proc/self/autogroup").write_text(str(_NICE))
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, _MAX_FILE_BYTES),
        (resource.RLIMIT_CPU, _CPU_S),
    ):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(limit, (value, resource.getrlimit(limit)[1]))
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, int(signal.SIGTERM), 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main())
