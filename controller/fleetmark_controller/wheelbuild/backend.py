"""Build one wheel with its own PEP 517 backend, for a Python other than the running one.

    python -I -S backend.py TASK.json

The controller runs this file as a child process in an environment built from scratch. The task has
these keys: `source` (folder of the unpacked sdist), `tools` (folder of pinned build tools),
`target` (folder with the foreign Python's configuration), `out` (an empty folder), `epoch_s` (the
time that the build sees) and `backend` (JSON of pyproject.toml's `build-system`, or empty). When
its standard input closes, the process kills itself and all its children, so that nothing outlives
the controller. It uses the standard library only and imports nothing from Fleetmark.
"""

from __future__ import annotations

import datetime
import importlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

DEFAULT_BACKEND = "setuptools.build_meta:__legacy__"


def main(task_file: str) -> int:
    """Build the wheel that the task describes into `out`; return the exit code 0."""
    task = json.loads(Path(task_file).read_bytes())
    threading.Thread(target=end_with_parent, daemon=True).start()
    os.umask(0o022)
    stop_clock(task["epoch_s"])
    os.chdir(task["source"])
    name, extra = backend_of(Path("pyproject.toml"), task["backend"])
    # Search order: the target's configuration, then the tools, then the sdist's own folders.
    sys.path[:0] = [task["target"], task["tools"], *extra]
    module_name, _, inner = name.partition(":")
    backend: Any = importlib.import_module(module_name)
    for part in inner.split(".") if inner else ():
        backend = getattr(backend, part)
    print("built", backend.build_wheel(task["out"]))  # noqa: T201 - the log of the build
    return 0


def backend_of(pyproject: Path, text: str) -> tuple[str, list[str]]:
    """Return the name of the backend, and the folders in the sources that contain it.

    `text` is the table that the controller read from pyproject.toml, because the Python that runs
    this file may have no TOML parser.
    """
    if not text:
        return DEFAULT_BACKEND, []
    table = json.loads(text)
    return (
        table.get("build-backend", DEFAULT_BACKEND),
        [str(pyproject.parent.resolve() / folder) for folder in table.get("backend-path", ())],
    )


def end_with_parent() -> None:
    """Wait for the end of standard input, then kill the whole process group."""
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGKILL)


def stop_clock(epoch_s: int) -> None:
    """Make all clocks of this process show `epoch_s`, so that builds are reproducible."""

    class Stopped(datetime.datetime):
        """A datetime whose current time is that of the sources."""

        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return cls.fromtimestamp(epoch_s, tz or datetime.timezone.utc).replace(tzinfo=tz)

        @classmethod
        def utcnow(cls) -> Any:
            return cls.now()

        @classmethod
        def today(cls) -> Any:
            return cls.now()

    datetime.datetime = Stopped  # type: ignore[misc]
    # `date.today` uses this clock too.
    time.time = lambda: float(epoch_s)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
