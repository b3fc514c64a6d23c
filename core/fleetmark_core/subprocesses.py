"""Runs foreign programs: limited in time and output, without a terminal or leftovers."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetmark_core import process_tree

KEPT_BYTES = 64 * 1024
"""Bytes kept of each of a program's two outputs; the rest is read and discarded."""
MAX_BYTES = 16 * 1024 * 1024
"""A program that writes more than this is killed."""
_LOOK_S = 0.05
_OWN_SESSION: dict[str, Any] = {"start_new_session": True}
# Linux gives each session its own share of the CPU, so a program in a new session would run with
# full priority. Software detection has neither terminal nor a session with others.
_OWN_GROUP: dict[str, Any] = (
    {"process_group": 0} if sys.version_info >= (3, 11) else {"start_new_session": True}
)
_stopping = threading.Event()


@dataclass(frozen=True)
class CompletedCommand:
    """Output of a program; `fault` is empty if it exited with code 0."""

    output: str
    errors: str
    fault: str = ""
    exited: bool = True
    """True if the program ended without being killed by a limit, with any exit code."""


def run(
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    time_limit_s: float,
    *,
    in_session: bool = False,
) -> CompletedCommand:
    """Run a program until it ends or reaches its time limit, then kill its process group.

    It gets no input and no terminal, so it cannot ask for a password or a confirmation.

    Args:
        command: the program and its arguments.
        environment: its whole environment.
        folder: its working directory.
        time_limit_s: seconds after which it is killed.
        in_session: give it a session of its own, and kill all processes of the session at its end.
    """
    deadline = time.monotonic() + time_limit_s
    if _stopping.is_set():
        return CompletedCommand("", "", "no more programs are started", exited=False)
    try:
        child = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            cwd=folder,
            **(_OWN_SESSION if in_session else _OWN_GROUP),
        )
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        return CompletedCommand("", "", f"it cannot be started: {reason}", exited=False)
    kept: tuple[bytearray, bytearray] = (bytearray(), bytearray())
    try:
        fault = _listen(child, kept, deadline, time_limit_s)
    finally:
        (process_tree.kill_session if in_session else process_tree.kill_group)(child.pid)
        child.wait()
        for stream in (child.stdout, child.stderr):
            if stream is not None:
                stream.close()
    output, errors = (bytes(data).decode("utf-8", errors="replace") for data in kept)
    return CompletedCommand(
        output, errors, fault or _exit_fault(child.returncode), exited=not fault
    )


def _listen(
    child: subprocess.Popen[bytes],
    kept: tuple[bytearray, bytearray],
    deadline: float,
    time_limit_s: float,
) -> str:
    """Read until the program has ended; return why it must be killed, or an empty string."""
    total = 0
    with selectors.DefaultSelector() as selector:
        for number, stream in enumerate((child.stdout, child.stderr)):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
            selector.register(stream, selectors.EVENT_READ, kept[number])
        while True:
            # A grandchild may keep the pipes open; only the end of the program itself counts.
            ended = child.poll() is not None
            remaining = deadline - time.monotonic()
            ready = selector.select(0 if ended else max(0.0, min(remaining, _LOOK_S)))
            for key, _ in ready:
                data = os.read(key.fd, KEPT_BYTES)
                total += len(data)
                key.data.extend(data[: max(0, KEPT_BYTES - len(key.data))])
                if not data:
                    selector.unregister(key.fileobj)
            if not selector.get_map() and not ended:
                try:
                    child.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    return f"time limit of {time_limit_s:g} s exceeded"
                return ""
            if total > MAX_BYTES:
                return f"its output exceeds {MAX_BYTES} bytes"
            if ended and not ready:
                return ""
            if not ended and remaining <= 0:
                return f"time limit of {time_limit_s:g} s exceeded"


def run_tool(command: Sequence[str], time_limit_s: float) -> CompletedCommand:
    """Run a program of the device in a session of its own, with a small environment."""
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": "/",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
    }
    return run(command, environment, Path("/"), time_limit_s, in_session=True)


def _exit_fault(code: int) -> str:
    if code >= 0:
        return f"exit code {code}" if code else ""
    try:
        return f"it was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"it was killed by signal {-code}"


def stop() -> None:
    """Refuse to start further programs: this process is about to end."""
    _stopping.set()
