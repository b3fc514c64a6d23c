"""Commands on a terminal of a given width."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading
from collections.abc import Mapping, Sequence

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """One command whose standard streams are a terminal."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], columns: int = 80) -> None:
        """Start the command."""
        own, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.process = subprocess.Popen(
            command,
            env={**env, "TERM": "xterm", "COLUMNS": str(columns)},
            stdin=its,
            stdout=its,
            stderr=its,
            start_new_session=True,
        )
        os.close(its)
        self._own = own
        self._data = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def text(self) -> str:
        """Return what was written so far, without escape sequences."""
        text = self._data.decode(errors="replace").replace("\r\n", "\n")
        return _ESCAPES.sub("", text)

    def wait(self, timeout_s: float = 120.0) -> int:
        """Wait for the end; return the exit code."""
        code = self.process.wait(timeout_s)
        self._reader.join(timeout_s)
        os.close(self._own)
        return code

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._own, 65536)
            except OSError:  # EIO: the other end is closed
                return
            if not data:
                return
            self._data += data


class TerminalOutput:
    """What a program prints on a terminal."""

    def __init__(self) -> None:
        self._own, self.theirs = pty.openpty()
        self.text = ""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            try:
                self.text += os.read(self._own, 65536).decode(errors="replace")
            except OSError:
                return
