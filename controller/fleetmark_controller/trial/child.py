"""The child process of a trial: started in the sandbox, within limits of time and memory."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from fleetmark_controller.trial.environment import NotTriedError
from fleetmark_controller.trial.outcome import EndedChild, ExceededLimit
from fleetmark_core import process_tree, sandbox_levels
from fleetmark_core.sandbox.mounts import python_paths, system_paths
from fleetmark_core.sandbox.plan import (
    JobLimits,
    SandboxCapabilities,
    SandboxRequest,
    base_python,
    launch,
)
from fleetmark_core.sandbox.scratch_usage import scratch_bytes

_FILE_BYTES = 64 << 20
_DISK_BYTES = 4 * _FILE_BYTES
_PROCESSES = 2000
_KEPT_BYTES = 256 << 20
"""Memory that stays free for the controller and the rest of the machine."""
_MAX_OUTPUT_BYTES = 1 << 20
_SIGNALED = 128
_LOOK_S = 0.2
_START = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from fleetmark_harness.trial import main; sys.exit(main())"
)


@dataclass(frozen=True)
class TrialFolders:
    """The folders of a trial, all below one that is not in the controller's home."""

    root: Path

    @property
    def out(self) -> Path:
        """The working directory of the child."""
        return self.root / "out"

    @property
    def temporary(self) -> Path:
        """The folder for temporary files."""
        return self.root / "tmp"

    @property
    def shared(self) -> Path:
        """The folder for shared memory."""
        return self.root / "shm"

    @property
    def inputs(self) -> Path:
        """The folder of the model and the values of its inputs."""
        return self.root / "inputs"

    @property
    def job(self) -> Path:
        """The job file."""
        return self.root / "job.json"

    @property
    def spec(self) -> Path:
        """The specification of the sandbox."""
        return self.root / "sandbox.json"

    def make(self, user: int | None) -> None:
        """Make the folders; the child's own user, if it has one, owns those that it writes."""
        # A user of its own must be able to pass through.
        self.root.chmod(0o711)
        for folder in (self.out, self.temporary, self.shared, self.inputs):
            folder.mkdir()
        for folder in (self.out, self.temporary, self.shared):
            folder.chmod(0o700 if folder == self.out else 0o711)
            if user is not None:
                os.chown(folder, user, user)
        self.inputs.chmod(0o755)


def place(source: Path, target: Path) -> None:
    """Give the child a copy of a stored file, or a hard link to it where that is as good.

    A child with a user of its own must be allowed to read it, and the mode of a stored file stays
    as it is.
    """
    if os.geteuid() != 0:
        with contextlib.suppress(OSError):
            target.hardlink_to(source)
            return
    shutil.copyfile(source, target)
    target.chmod(0o644)


def run_child(
    folders: TrialFolders,
    environment: Path,
    hidden: Sequence[Path],
    means: SandboxCapabilities,
    job: Mapping[str, object],
    limit_s: float,
    stopping: threading.Event,
) -> EndedChild:
    """Run a trial and return how it ended.

    Args:
        folders: the folders of the trial.
        environment: the folder of its environment.
        hidden: folders that the child must not see.
        means: the sandbox, which was proven on this machine.
        job: the content of the job file.
        limit_s: time after which the child is killed.
        stopping: set when the controller stops, which ends the child.

    Raises:
        NotTriedError: the controller stops.
        OSError: the child cannot be started, or a file cannot be written.
    """
    python = base_python()
    memory = max(_KEPT_BYTES, psutil.virtual_memory().available - _KEPT_BYTES)
    folders.job.write_text(json.dumps(job))
    folders.job.chmod(0o644)
    read = (
        *system_paths(network=False, hidden=hidden),
        *python_paths(python, hidden),
        *(str(path) for path in (environment, folders.inputs, folders.job, folders.spec)),
    )
    values = {
        "FLEETMARK_JOB": str(folders.job),
        "FLEETMARK_OUT": str(folders.out),
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": str(folders.temporary),
        "TMPDIR": str(folders.temporary),
    }
    made = launch(
        SandboxRequest(
            command=(python, "-I", "-S", "-B", "-c", _START, str(environment)),
            environment=values,
            folder=str(folders.out),
            scratch=str(folders.temporary),
            shared=str(folders.shared),
            read=read,
            write=(str(folders.out), str(folders.temporary)),
        ),
        JobLimits(
            data_bytes=memory,
            file_bytes=_FILE_BYTES,
            processes=_PROCESSES + (0 if means.user is not None else _own_threads()),
        ),
        means,
        spec_path=str(folders.spec),
        mark={},
    )
    folders.spec.write_text(json.dumps(made.spec))
    folders.spec.chmod(0o644)
    errors = folders.root / "stderr"
    output = folders.root / "stdout"
    with output.open("wb") as out, errors.open("wb") as err:
        child = subprocess.Popen(
            made.command,
            env=made.environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        written = [str(path) for path in (folders.out, folders.temporary, folders.shared)]
        stopped_for = _wait(child, limit_s, stopping, written)
    code = child.returncode
    number = code - _SIGNALED
    if made.monitored and 0 < number < signal.NSIG:
        # Bubblewrap only waits for the child, and reports its signal this way.
        code = -number
    lines = _text(errors).strip().splitlines()
    return EndedChild(code, _text(output), lines, stopped_for, limit_s, memory, _DISK_BYTES)


def means_problem(means: SandboxCapabilities) -> str:
    """Return why a model must not be run on this machine; empty if it may."""
    if not sandbox_levels.at_least(means.level, sandbox_levels.LANDLOCK):
        return (
            "this machine has no sandbox that keeps the controller's keys from a model (it needs "
            "bubblewrap, or a kernel with Landlock)"
        )
    if means.network == "open":
        return "the sandbox of this machine cannot keep a model off the network"
    return ""


def _wait(
    child: subprocess.Popen[bytes],
    limit_s: float,
    stopping: threading.Event,
    written: Sequence[str],
) -> ExceededLimit | None:
    """Wait for the end of the child; return the limit for which it was killed, if any.

    Args:
        child: the child.
        limit_s: time after which it is killed.
        stopping: set when the controller stops.
        written: the folders that the child writes.

    Raises:
        NotTriedError: the controller stops.
    """
    deadline = time.monotonic() + limit_s
    try:
        while time.monotonic() < deadline:
            if stopping.is_set():
                raise NotTriedError("the controller is stopping")
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_LOOK_S)
                return None
            if scratch_bytes(written, _DISK_BYTES) >= _DISK_BYTES:
                return ExceededLimit.DISK
        return ExceededLimit.TIME
    finally:
        # Also on an exception: nothing of a trial outlives its import.
        below = process_tree.descendants(child.pid)
        process_tree.kill_group(child.pid)
        for pid in below:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        child.wait()


def _text(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _MAX_OUTPUT_BYTES))
        return file.read(_MAX_OUTPUT_BYTES).decode(errors="replace")


def _own_threads() -> int:
    """Return the number of threads of all processes of this user, which the kernel counts too."""
    own, count = os.getuid(), 0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.uids().real == own:
                count += process.num_threads()
    return count
