"""Runs a client program with limits on time and output, and data on its standard input."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import IO, NamedTuple

MAX_OUTPUT_BYTES = 256 * 1024
"""A program that writes more is killed: a login script that never ends must not fill the memory."""


class Completed(NamedTuple):
    """A program that ended, or that was killed at a limit (`fault`)."""

    code: int
    output: bytes
    errors: str
    fault: str = ""


class BoundedReader:
    """Reads a pipe in a thread, up to a limit; `on_excess` is called once when it is passed."""

    def __init__(self, stream: IO[bytes], limit_bytes: int = MAX_OUTPUT_BYTES) -> None:
        self._stream = stream
        self._limit_bytes = limit_bytes
        self.data = bytearray()
        self.exceeded = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with suppress(OSError, ValueError):
            while chunk := os.read(self._stream.fileno(), 65536):
                if len(self.data) < self._limit_bytes:
                    self.data += chunk[: self._limit_bytes - len(self.data)]
                else:
                    self.exceeded.set()

    def text(self) -> str:
        """Return what was read so far."""
        return bytes(self.data).decode("utf-8", "replace")

    def join(self, timeout_s: float) -> None:
        """Wait for the end of the pipe."""
        self._thread.join(timeout_s)


# The program must not outlive a killed front: it would keep a connection that is not used.
_END_WITH_PARENT = """
import ctypes, os, sys
try:
    ctypes.CDLL(None).prctl(1, 15, 0, 0, 0)
except (AttributeError, OSError):
    pass
try:
    os.execvp(sys.argv[1], sys.argv[1:])
except OSError as error:
    sys.exit(f"{sys.argv[1]} cannot be started: {error.strerror}")
"""


def start_bound(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a program that ends when the calling thread ends, however that comes; see `start`."""
    return start([sys.executable, "-I", "-S", "-c", _END_WITH_PARENT, *command])


def start(command: Sequence[str], *, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    """Start a program without a terminal, so that it can ask for nothing there."""
    return subprocess.Popen(
        list(command),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def end(child: subprocess.Popen[bytes]) -> None:
    """Kill a program with its process group, and wait for it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def run(command: Sequence[str], data: Iterable[bytes] = (), timeout_s: float = 60.0) -> Completed:
    """Run a program, write `data` to its standard input, and return its output.

    Raises:
        OSError: the program cannot be started.
    """
    child = start(command, stdin=subprocess.PIPE)
    assert child.stdin is not None and child.stdout is not None and child.stderr is not None
    out, err = BoundedReader(child.stdout), BoundedReader(child.stderr)
    feeder = threading.Thread(target=_feed, args=(child.stdin, data), daemon=True)
    feeder.start()
    fault = ""
    deadline = time.monotonic() + timeout_s
    while child.poll() is None and not fault:
        if out.exceeded.is_set() or err.exceeded.is_set():
            fault = f"it wrote more than {MAX_OUTPUT_BYTES >> 10} KiB"
        elif time.monotonic() > deadline:
            fault = f"it did not end within {timeout_s:g} s"
        else:
            with suppress(subprocess.TimeoutExpired):
                child.wait(0.05)
    end(child)
    for part in (out, err):
        part.join(5.0)
    feeder.join(5.0)
    for stream in (child.stdout, child.stderr):
        stream.close()
    return Completed(child.returncode, bytes(out.data), err.text(), fault)


def _feed(stream: IO[bytes], data: Iterable[bytes]) -> None:
    # The program may end before it has read everything.
    with suppress(OSError, ValueError):
        for chunk in data:
            stream.write(chunk)
    with suppress(OSError, ValueError):
        stream.close()
