"""Child processes that are restarted when they die, as an init system would do."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from fleetmark_core.errors import ErrorKind, FleetmarkError

_LOOK_EVERY_S = 0.2
_MOST_RESTARTS = 20
# A demo that is killed must not leave a controller and an agent behind: Linux sends them SIGTERM
# (PR_SET_PDEATHSIG = 1) when the thread that started them has ended. A launcher program sets this
# after the fork and then becomes the real program, because running Python code between fork and
# exec is not safe here.
_LAUNCH = "import ctypes,os,sys;ctypes.CDLL(None).prctl(1,15);os.execv(sys.argv[1],sys.argv[1:])"
_ENDS_WITH_PARENT = [sys.executable, "-I", "-S", "-c", _LAUNCH] if sys.platform == "linux" else []


class SupervisedProcess:
    """Supervisor of a program, which is restarted until `stop`."""

    def __init__(
        self,
        name: str,
        command: Callable[[], Sequence[str]],
        log: Path,
        report_progress: Callable[[str], None],
        extra: dict[str, str] | None = None,
    ) -> None:
        """Start the program.

        Args:
            name: Name of the program, for messages.
            command: Returns the command line; called again at each start.
            log: File for the program's output.
            report_progress: Called with each message.
            extra: Additional environment variables.
        """
        self.name = name
        self._command = command
        self._log = log
        self._say = report_progress
        self._environment = {**os.environ, **(extra or {})}
        self._restarts = 0
        self._stopping = threading.Event()
        self.process = self._start()
        self._thread = threading.Thread(target=self._keep, name=f"keep-{name}", daemon=True)
        self._thread.start()

    def stop(self, patience_s: float = 15.0) -> None:
        """Terminate the program, or kill it after `patience_s`."""
        self._stopping.set()
        self._thread.join()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(patience_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def last_log_line(self) -> str:
        """Return the last line of the program's log."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "it printed nothing"

    @property
    def given_up(self) -> bool:
        """Return whether the program died so often that it is not restarted any more."""
        return self._restarts > _MOST_RESTARTS

    def _keep(self) -> None:
        while not self._stopping.wait(_LOOK_EVERY_S):
            code = self.process.poll()
            if code is None or self.given_up:
                continue
            self._restarts += 1
            if self.given_up:
                self._say(f"The {self.name} ended several times in a row: {self.last_log_line()}")
                continue
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            self._say(f"The {self.name} ended ({how}); restarting it.")
            self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [*_ENDS_WITH_PARENT, *self._command()],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )


def program(name: str) -> str:
    """Return the path of a Fleetmark command, which must be installed beside this interpreter.

    Raises:
        FleetmarkError: INSTALL_MISSING.
    """
    path = Path(sys.executable).parent / name
    if not os.access(path, os.X_OK):
        raise FleetmarkError(
            ErrorKind.INSTALL_MISSING, f"no command {name!r}", str(path), "Run `make setup`"
        )
    return str(path)
