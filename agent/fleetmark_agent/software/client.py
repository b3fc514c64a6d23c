"""Detection in a helper process, for callers that may block until it ends."""

from __future__ import annotations

import contextlib
import subprocess
import sys

from fleetmark_agent.software.models import DetectedSoftware, last_line
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.serde import parse_trusted

COMMAND = (sys.executable, "-I", "-m", "fleetmark_agent.software")
"""Command of the helper, which prints a `DetectedSoftware` as JSON."""
TIME_LIMIT_S = 180.0
"""A helper that exceeds this limit is killed; its own limits end its programs much earlier."""
GRACE_S = 10.0
"""Time that a helper gets to end its programs."""


def detect_in_child() -> DetectedSoftware:
    """Detect the software of all rules.

    Raises:
        FleetmarkError: the helper failed.
    """
    try:
        code, out, errors = _run()
        if code == 0:
            return parse_trusted(DetectedSoftware, out, "software")
        what = last_line(errors.decode(errors="replace")) or f"exit code {code}"
    except (subprocess.TimeoutExpired, FleetmarkError) as error:
        what = str(error)
    raise FleetmarkError(ErrorKind.INTERNAL, f"software detection failed: {what}")


def _run() -> tuple[int, bytes, bytes]:
    """Run the helper, and end it if this process is interrupted: it has its own session."""
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as helper:
        try:
            out, errors = helper.communicate(timeout=TIME_LIMIT_S)
        except BaseException:
            # On SIGTERM it ends its own children first.
            helper.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                helper.wait(GRACE_S)
            helper.kill()
            raise
    return helper.returncode, out, errors
