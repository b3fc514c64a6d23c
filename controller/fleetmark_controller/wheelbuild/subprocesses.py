"""Child processes of builds: they have a time limit and end when the controller stops."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fleetmark_core import process_tree
from fleetmark_core.errors import ErrorKind, FleetmarkError

News = Callable[[float], None]
NEWS_S = 30.0


class BuildProcesses:
    """Runner of one child process at a time."""

    def __init__(self) -> None:
        """Start without a child."""
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping = False

    def stop(self) -> None:
        """Kill the running child with all its descendants, and start no other."""
        self._stopping = True
        child = self._child
        if child is not None:
            _end(child)

    def run(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        limit_s: float,
        news: News = lambda _: None,
    ) -> tuple[int, list[str]]:
        """Run a command in `folder`, and kill all its descendants when it ends.

        Args:
            command: Program and arguments.
            environment: The complete environment of the child.
            folder: Working directory, which also gets the log.
            limit_s: Seconds after which the child is killed.
            news: Called every 30 s with the seconds that have passed.

        Returns:
            The exit code, and the output by line.

        Raises:
            FleetmarkError: ARTIFACT_UNAVAILABLE: the time limit was exceeded, or the controller
                stops.
            OSError: the child cannot be started, or `folder` cannot be written.
        """
        began = time.monotonic()
        output = folder / f"log-{time.monotonic_ns()}.txt"
        with output.open("wb") as file:
            if self._stopping:
                raise _stopped_error()
            child = subprocess.Popen(
                command,
                # The build backend kills itself when this pipe closes, however the controller ends.
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=folder,
                start_new_session=True,
            )
            self._child = child
            try:
                while True:
                    try:
                        code = child.wait(NEWS_S)
                        break
                    except subprocess.TimeoutExpired:
                        passed_s = time.monotonic() - began
                        if passed_s > limit_s:
                            raise FleetmarkError(
                                ErrorKind.ARTIFACT_UNAVAILABLE,
                                f"it exceeded its time limit of {limit_s:.0f} s",
                            ) from None
                        news(passed_s)
            finally:
                _end(child)
                self._child = None
        if self._stopping:
            raise _stopped_error()
        return code, output.read_text("utf-8", "replace").splitlines()


def _end(child: subprocess.Popen[bytes]) -> None:
    process_tree.kill_group(child.pid)
    child.wait()
    if child.stdin is not None:
        child.stdin.close()


def _stopped_error() -> FleetmarkError:
    return FleetmarkError(
        ErrorKind.ARTIFACT_UNAVAILABLE,
        "the controller is stopping",
        "",
        "Start the controller and repeat the command",
    )
