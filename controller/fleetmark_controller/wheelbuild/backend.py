"""Builds one wheel by its own PEP 517 backend, for a Python that is not the one it runs on.

    python -I -S backend.py TASK.json

The controller runs this file as a child in an environment that it made from nothing. The task:
`source` (folder of the unpacked sdist), `tools` (folder of pinned build tools), `target` (folder
with the foreign Python's configuration), `out` (an empty folder), `epoch_s` (the time that the
build is told) and `backend` (JSON of pyproject.toml's `build-system`, or empty). It ends with all
that it started when its standard input does: nothing outlives the controller. Standard library
only; imports nothing of ours.
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
    """Follow the task; the wheel lies in `out` when this returns 0."""
    task = json.loads(Path(task_file).read_bytes())
    threading.Thread(target=end_with_parent, daemon=True).start()
    os.umask(0o022)
    stop_clock(task["epoch_s"])
    os.chdir(task["source"])
    name, extra = backend_of(Path("pyproject.toml"), task["backend"])
    # First what describes the target, then the tools, then what the sdist says is its own.
    sys.path[:0] = [task["target"], task["tools"], *extra]
    module_name, _, inner = name.partition(":")
    backend: Any = importlib.import_module(module_name)
    for part in inner.split(".") if inner else ():
        backend = getattr(backend, part)
    print("built", backend.build_wheel(task["out"]))  # noqa: T201 - the log of the build
    return 0


def backend_of(pyproject: Path, text: str) -> tuple[str, list[str]]:
    """The backend's name, and the folders beside the sources that hold it.

    `text` is what the controller read from pyproject.toml: the Python that runs this may have no
    reader of TOML.
    """
    if not text:
        return DEFAULT_BACKEND, []
    table = json.loads(text)
    return (
        table.get("build-backend", DEFAULT_BACKEND),
        [str(pyproject.parent.resolve() / folder) for folder in table.get("backend-path", ())],
    )


def end_with_parent() -> None:
    """Wait for the end of standard input, then end the whole process group."""
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGKILL)


def stop_clock(epoch_s: int) -> None:
    """Let everything that asks for the time hear the same one, or builds would never be equal."""

    class Stopped(datetime.datetime):
        """The time of the sources."""

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
    # `date.today` asks this one too.
    time.time = lambda: float(epoch_s)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
