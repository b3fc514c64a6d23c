"""Entry point of the long-lived process: `python -I -m fleetmark_agent.daemon.main DESCRIPTOR`.

`agent start` executes it once the home is ready. Its imports stay in memory for months, so
everything that is needed only occasionally is imported on demand, or run in a helper process.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

MEASURE = (sys.executable, "-I", "-m", "fleetmark_agent.fingerprint")
"""Helper that prints the capabilities as JSON. Arguments for home, sandbox and system root are
appended."""


def main(descriptor: int) -> int:
    """Serve until asked to exit; return the exit code. Print a user's error as one line."""
    handed = _handed_over(descriptor)
    values = handed["settings"]
    # The measurement runs in a separate process while gRPC is imported.
    measuring = subprocess.Popen(
        (
            *(*MEASURE, "--home", values["home"], "--sandbox", values["sandbox"]),
            *("--system-root", values["system_root"]),
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    from fleetmark_agent.config.settings import AgentSettings
    from fleetmark_agent.daemon.app import run
    from fleetmark_agent.errors import to_problem
    from fleetmark_cli.encoding import protect_streams
    from fleetmark_cli.exit_codes import EXIT_INTERRUPTED, Problem
    from fleetmark_cli.logging_setup import set_up_logging
    from fleetmark_cli.sanitize import clean_line

    settings = AgentSettings(**{**values, "home": Path(values["home"])})
    protect_streams()
    set_up_logging(handed["verbose"], settings.log_format, {"device": settings.name})
    # Free the leftovers of the imports, so that the connection can reuse the memory.
    sys.path_importer_cache.clear()
    gc.collect()
    try:
        return run(settings, handed["device_id"], handed["rules"], measuring)
    except KeyboardInterrupt:
        problem = Problem("interrupted", EXIT_INTERRUPTED)
    except Exception as error:
        known = to_problem(error)
        if known is None:
            raise
        problem = known
    sys.stderr.write(f"agent: {clean_line(problem.line)}\n")
    return problem.exit_code


def _handed_over(descriptor: int) -> dict[str, Any]:
    """Read the values that `agent start` wrote to the pipe; see `startup.handover`."""
    with os.fdopen(descriptor, "rb") as pipe:
        handed: dict[str, Any] = json.load(pipe)
    # This process holds the lock until it ends; a child process must not hold it longer.
    os.set_inheritable(handed["lock"], False)
    return handed


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
