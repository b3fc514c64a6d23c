"""What a program prints on a terminal."""

from __future__ import annotations

import os
import pty
import threading


class Terminal:
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
