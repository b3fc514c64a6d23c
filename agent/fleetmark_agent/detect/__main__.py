"""Prints what was detected as JSON: `python -I -m fleetmark_agent.detect`."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

from fleetmark_agent.detect import children
from fleetmark_agent.detect.engine import detect
from fleetmark_agent.detect.place import Place
from fleetmark_agent.detect.rules import load_rules
from fleetmark_agent.detect.store import builtin_folder, rules_digest
from fleetmark_catalog.core.digest import canonical_json
from fleetmark_catalog.core.plain import to_plain

_NICE = 10
_MAX_FILE_BYTES = 64 * 1024 * 1024
_CPU_S = 60


def main() -> int:
    """Detect on this board."""
    own = Path(tempfile.mkdtemp(prefix="fleetmark-detect-"))
    tempfile.tempdir = str(own)

    def give_up(_number: int, _frame: FrameType | None) -> None:
        children.end_descendants()
        shutil.rmtree(own, ignore_errors=True)
        os._exit(143)

    signal.signal(signal.SIGTERM, give_up)
    signal.signal(signal.SIGINT, give_up)
    _be_modest()
    try:
        folder = builtin_folder()
        rules, bad = load_rules(folder)
        detection = detect(Place.here(), rules, bad, rules_digest(folder))
    finally:
        children.end_descendants()
        shutil.rmtree(own, ignore_errors=True)
    sys.stdout.buffer.write(canonical_json(to_plain(detection)))
    return 0


def _be_modest() -> None:
    """What we and all that we start may use; who started us ends us with it."""
    import resource

    children.adopt_orphans()
    with contextlib.suppress(OSError):
        os.nice(_NICE)
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
