"""First steps of an attempt: its blobs, its environment, its workspace. All are repeatable."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fleetmark_agent.cache.archives import (
    archive_folder,
    ensure_archives,
    module_folders,
    packages,
    search_paths,
)
from fleetmark_agent.cache.blob_cache import Cache, Download, storage_error
from fleetmark_agent.cache.environments import (
    choose_interpreter,
    ensure_environment,
    ensure_python,
    environment_key,
    provided_interpreter,
    python_folder,
)
from fleetmark_agent.errors import Refusal
from fleetmark_agent.runner.workspace import Workspace
from fleetmark_core.atomic_file import write_atomic
from fleetmark_core.capabilities import Capabilities, Interpreter, Software
from fleetmark_core.digest import sha256_hex
from fleetmark_core.errors import FleetmarkError
from fleetmark_core.failure_cause import FailureCause
from fleetmark_core.lockfile import BlobRef, Lockfile, parse_lockfile
from fleetmark_core.modes import CROSSCHECK
from fleetmark_core.order import Order
from fleetmark_core.regular_file import read_regular
from fleetmark_core.resource_model import COMPILED_FACTOR, UNPACKED_FACTOR
from fleetmark_core.sandbox.plan import Launch

MAX_LOCK_BYTES = 4 * 1024 * 1024
_LAUNCH = Path(__file__).with_name("launch.py")
_PATH = "/usr/local/bin:/usr/bin:/bin"
NO_TELEMETRY = {
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}
"""Variables that disable the telemetry of model libraries."""


@dataclass(frozen=True)
class Bundle:
    """An order with its lockfile, and the interpreter that will run it."""

    order: Order
    lock: Lockfile
    interpreter: Interpreter
    environment_key: str
    software: tuple[Software, ...] = ()
    """The software that was detected on the device."""

    def names(self) -> set[str]:
        """Return the names of cache entries that must be kept while the attempt exists."""
        blobs = {blob.sha256 for blob in self.lock.blobs()}
        provided = self.lock.environment.provided
        python = set() if provided is None else {python_folder(provided)}
        archives = {archive_folder(package) for package in self.lock.environment.archives}
        return {self.order.lock_sha256, self.environment_key, *blobs, *python, *archives}


async def fetch_lock(
    order: Order, cache: Cache, download: Download, capabilities: Capabilities
) -> Bundle:
    """Download the lockfile, and choose the interpreter that its wheels fit.

    Raises:
        Refusal: the lockfile is not valid, or no interpreter of the device fits.
    """
    if not 0 < order.lock_bytes <= MAX_LOCK_BYTES:
        raise Refusal(
            f"the lockfile has {order.lock_bytes} bytes, expected 1 to {MAX_LOCK_BYTES}",
            retryable=False,
            cause=FailureCause.CONTROLLER,
        )
    blob = BlobRef("lock", order.lock_sha256, order.lock_bytes)
    if cache.lacking([blob]):
        cache.make_room(order.lock_bytes, "the lockfile of the job")
    await cache.fetch(blob, download)
    path = await cache.verified(blob)
    try:
        lock = parse_lockfile(read_regular(path))
    except FleetmarkError as error:
        raise Refusal(str(error), retryable=False, cause=FailureCause.CONTROLLER) from error
    provided = lock.environment.provided
    pythons = (
        capabilities.interpreters if provided is None else (provided_interpreter(provided, cache),)
    )
    interpreter = choose_interpreter(lock.environment, pythons)
    key = environment_key(lock.environment, interpreter)
    return Bundle(order, lock, interpreter, key, capabilities.software)


async def fetch_blobs(bundle: Bundle, cache: Cache, download: Download) -> None:
    """Download the missing blobs, after checking that blobs and environment will fit.

    Raises:
        Refusal: they do not fit, or a blob cannot be downloaded.
    """
    lock = bundle.lock
    built = (cache.environments / bundle.environment_key).is_dir()
    wanted = [
        *lock.program.files,
        *lock.inputs.values(),
        *(() if built else lock.environment.wheels),
    ]
    unpacked = 0 if built else sum(wheel.size_bytes for wheel in lock.environment.wheels)
    installed = int(unpacked * UNPACKED_FACTOR)
    provided = lock.environment.provided
    if provided is not None and not (cache.environments / python_folder(provided)).is_dir():
        wanted.append(provided.archive)
        installed += int(provided.unpacked_bytes * COMPILED_FACTOR)
    folders = {archive_folder(package): package for package in lock.environment.archives}
    for folder, package in folders.items():
        if not (cache.environments / folder).is_dir():
            wanted.append(package.archive)
            installed += package.unpacked_bytes
    lacking = cache.lacking(wanted)
    needed = sum(blob.size_bytes for blob in lacking) + installed
    output = bundle.order.output_bytes
    if needed or output:
        cache.make_room(needed, f"{lock.benchmark} with its environment", output)
    for blob in lacking:
        await cache.fetch(blob, download)


async def build_environment(bundle: Bundle, cache: Cache) -> Path:
    """Install archives, a provided Python and the wheels; return the folder of the wheels."""
    await ensure_archives(bundle.lock.environment, cache)
    if bundle.lock.environment.provided is not None:
        await ensure_python(bundle.lock.environment.provided, cache)
    return await ensure_environment(bundle.lock.environment, bundle.interpreter, cache)


async def lay_workspace(
    bundle: Bundle, environment: Path, cache: Cache, workspace: Workspace
) -> list[str]:
    """Create the workspace: empty folders, program and inputs, and the job file.

    Returns:
        The command of the job.

    Raises:
        Refusal: a blob has changed on the disk, or the disk is full.
    """
    lock, order = bundle.lock, bundle.order
    try:
        workspace.make_fresh()
        for blob in lock.program.files:
            _place(await cache.verified(blob), workspace.program / blob.name)
        inputs: dict[str, str] = {}
        for name, blob in lock.inputs.items():
            # A model names the files that hold its weights relative to its own folder: all inputs
            # `model`, `model.1`, … are in one.
            folder = workspace.inputs / sha256_hex(name.partition(".")[0].encode())[:16]
            folder.mkdir(exist_ok=True)
            target = folder / blob.name
            _place(await cache.verified(blob), target)
            inputs[name] = str(target)
        job = {
            "format": 1,
            "job_id": order.job_id,
            "epoch": order.epoch,
            "scenario": order.scenario,
            "mode": order.mode,
            "profile": order.profile,
            "parameters": order.parameters,
            "timeout_s": order.timeout_s,
            "inputs": inputs,
            "packages": packages(lock.environment, cache),
            "job": lock.job,
            **job_software(order.mode, bundle.software),
        }
        write_atomic(workspace.job, json.dumps(job).encode())
    except OSError as error:
        raise storage_error(error, workspace.root, "the workspace of the job") from error
    folders = [str(environment), str(workspace.program), *module_folders(lock.environment, cache)]
    return expand_command(lock, bundle.interpreter, folders, workspace.program)


def job_software(mode: str, software: Iterable[Software]) -> dict[str, object]:
    """Return the key `software` of the job file of a cross-check; empty in other modes.

    A cross-check runs the benchmark tool of the runtime that is among this software.
    """
    if mode != CROSSCHECK:
        return {}
    return {"software": {s.name: {"version": s.version, "path": s.path} for s in software}}


def expand_command(
    lock: Lockfile, interpreter: Interpreter, folders: list[str], program: Path
) -> list[str]:
    """Return the lockfile's command with `{python}` and `{program}` replaced.

    Args:
        lock: the lockfile.
        interpreter: the interpreter that replaces `{python}`.
        folders: the folders that are put on sys.path.
        program: the folder that replaces `{program}`.

    Raises:
        Refusal: the command is empty, or does not begin with an absolute path.
    """
    isolation = ["-I", "-B"] if lock.environment.system_site else ["-I", "-S", "-B"]
    python = [interpreter.path, *isolation, str(_LAUNCH)]
    python += [word for folder in folders for word in ("--path", folder)] + ["--"]
    words: list[str] = []
    for word in lock.program.command:
        if word == "{python}":
            words += python
        else:
            words.append(word.replace("{program}", str(program)))
    if not words or not words[0].startswith("/"):
        raise Refusal(
            f"the command {lock.program.command!r} does not begin with an absolute path",
            retryable=False,
            cause=FailureCause.JOB,
        )
    return words


def job_environment(lock: Lockfile, workspace: Workspace, cache: Cache) -> dict[str, str]:
    """Return the whole environment of a job; the program cannot override the agent's values.

    Folders of archives come first on PATH. On LD_LIBRARY_PATH they come before the folders that the
    program declares.
    """
    programs, libraries = search_paths(lock.environment, cache)
    declared = lock.program.environment
    if libraries:
        before = declared.get("LD_LIBRARY_PATH")
        declared = {**declared, "LD_LIBRARY_PATH": f"{libraries}:{before}" if before else libraries}
    return {
        **declared,
        "FLEETMARK_JOB": str(workspace.job),
        "FLEETMARK_OUT": str(workspace.out),
        **NO_TELEMETRY,
        "PATH": f"{programs}:{_PATH}" if programs else _PATH,
        "LANG": "C.UTF-8",
        "TMPDIR": str(workspace.temporary),
        "HOME": str(workspace.home),
    }


def supervisor_spec(
    bundle: Bundle,
    launch: Launch,
    workspace: Workspace,
    trace: Path,
    *,
    control_group: str,
    memory_groups: list[str],
    limits: dict[str, int],
    scratch: list[str],
    device_id: str,
    max_output_bytes: int,
    grace_s: float,
    lock_fd: int,
    alive_fd: int,
    cores: list[int],
) -> dict[str, object]:
    """Return the supervisor's specification, see `fleetmark_agent.runner.supervisor.Spec`."""
    order = bundle.order
    return {
        "command": launch.command,
        "environment": launch.environment,
        "monitored": launch.monitored,
        "control_group": control_group,
        "memory_groups": memory_groups,
        "limits": limits,
        "scratch": scratch,
        "folder": str(workspace.out),
        "stdout": str(workspace.stdout),
        "stderr": str(workspace.stderr),
        "max_output_bytes": max_output_bytes,
        "timeout_s": order.timeout_s,
        "grace_s": grace_s,
        "started": str(workspace.started),
        "progress": str(workspace.progress),
        "outcome": str(workspace.outcome),
        "trace": str(trace),
        "attempt": {"device_id": device_id, "job_id": order.job_id, "epoch": order.epoch},
        "nice": 0,
        "lock_fd": lock_fd,
        "alive_fd": alive_fd,
        "cores": cores,
    }


def _place(source: Path, target: Path) -> None:
    """Give the job a file under its own name, as a hard link if possible, else as a copy."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
        with suppress(OSError):
            target.chmod(stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH)
