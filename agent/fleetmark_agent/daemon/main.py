"""The long-lived process of an agent: `python -I -m fleetmark_agent.daemon.main DESCRIPTOR`.

`agent start` becomes this when the home is in order. What it imports stays in memory for months,
so everything that is needed only at times is imported when it is needed, or run as a helper.
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
"""The helper that prints the board's facts as JSON; the home and the sandbox follow."""


def main(descriptor: int) -> int:
    """Serve until asked to end; returns the exit code. What a user caused becomes one line."""
    handed = _handed_over(descriptor)
    values = handed["settings"]
    # The measurement is a process of its own: gRPC loads while it runs.
    measuring = subprocess.Popen(
        (*MEASURE, "--home", values["home"], "--sandbox", values["sandbox"]),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    from fleetmark_agent.config.settings import Settings
    from fleetmark_agent.daemon.app import run
    from fleetmark_agent.errors import translate
    from fleetmark_cli.encoding import protect_streams
    from fleetmark_cli.exit_codes import EXIT_INTERRUPTED, Problem
    from fleetmark_cli.logging_setup import set_up
    from fleetmark_cli.sanitize import clean_line

    settings = Settings(**{**values, "home": Path(values["home"])})
    protect_streams()
    set_up(handed["verbose"])
    # Free what the imports left behind: the connection then reuses that memory.
    sys.path_importer_cache.clear()
    gc.collect()
    try:
        return run(settings, handed["device_id"], handed["rules"], measuring)
    except KeyboardInterrupt:
        problem = Problem("interrupted", EXIT_INTERRUPTED)
    except Exception as error:
        known = translate(error)
        if known is None:
            raise
        problem = known
    sys.stderr.write(f"agent: {clean_line(problem.line)}\n")
    return problem.exit_code


def _handed_over(descriptor: int) -> dict[str, Any]:
    """What `agent start` left in the pipe, see `startup.handover`."""
    with os.fdopen(descriptor, "rb") as pipe:
        handed: dict[str, Any] = json.load(pipe)
    # Held as long as this process lives; what it starts must not hold it longer.
    os.set_inheritable(handed["lock"], False)
    return handed


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
