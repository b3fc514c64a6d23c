"""Detection in a helper process, for callers that may block until it ends."""

from __future__ import annotations

import subprocess
import sys

from fleetmark_agent.software.models import DetectedSoftware, last_line
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.serde import parse_trusted

COMMAND = (sys.executable, "-I", "-m", "fleetmark_agent.software")
"""Command of the helper, which prints a `DetectedSoftware` as JSON."""
TIME_LIMIT_S = 180.0
"""A helper that exceeds this limit is killed; its own limits end its programs much earlier."""


def detect_in_child() -> DetectedSoftware:
    """Detect the software of all rules.

    Raises:
        FleetmarkError: the helper failed.
    """
    try:
        done = subprocess.run(COMMAND, check=False, capture_output=True, timeout=TIME_LIMIT_S)
        if done.returncode == 0:
            return parse_trusted(DetectedSoftware, done.stdout, "software")
        error_text = last_line(done.stderr.decode(errors="replace"))
        what = error_text or f"exit code {done.returncode}"
    except (subprocess.TimeoutExpired, FleetmarkError) as error:
        what = str(error)
    raise FleetmarkError(ErrorKind.INTERNAL, f"software detection failed: {what}")
