"""Environments of jobs: the wheels of a lockfile in a plain folder, cached by content."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path

from fleetmark_agent.cache.blob_cache import Cache, storage_error
from fleetmark_agent.errors import Refusal
from fleetmark_agent.helpers import EXIT_BAD_WHEEL, EXIT_OS_ERROR
from fleetmark_core.capabilities import Interpreter
from fleetmark_core.failure_cause import FailureCause
from fleetmark_core.lockfile import BlobRef, Environment, ProvidedPython
from fleetmark_core.wheel_tags import wheel_rank

MAX_ENVIRONMENT_BYTES = 8 * 1024**3
"""Maximum unpacked size of an environment; a larger wheel is treated as an attack."""


def choose_interpreter(
    environment: Environment, interpreters: tuple[Interpreter, ...]
) -> Interpreter:
    """Return the first interpreter of the device that the lockfile's wheels fit.

    Raises:
        Refusal: no interpreter fits; the message names the device's versions, or the wheel that
            does not fit.
    """
    wanted = environment.python_version
    fitting = [
        found
        for found in interpreters
        if found.version == wanted or found.version.startswith(f"{wanted}.")
    ]
    if not fitting:
        have = ", ".join(sorted({found.version for found in interpreters})) or "none"
        raise Refusal(
            f"the job requires Python {wanted}, the device has {have}",
            retryable=False,
            cause=FailureCause.JOB,
        )
    misfit = ""
    for found in fitting:
        names = [
            wheel.name for wheel in environment.wheels if wheel_rank(wheel.name, found) is None
        ]
        if not names:
            return found
        misfit = misfit or f"{names[0]} does not fit {found.path} ({found.platforms[0]})"
    raise Refusal(misfit, retryable=False, cause=FailureCause.JOB)


def environment_key(environment: Environment, interpreter: Interpreter) -> str:
    """Return the name of the environment's folder on this device."""
    return environment.key(interpreter.platforms[0] if interpreter.platforms else "any")


async def ensure_environment(
    environment: Environment, interpreter: Interpreter, cache: Cache
) -> Path:
    """Return the environment's folder; install it if it is missing.

    Its wheels must be in the cache.

    Raises:
        Refusal: a wheel cannot be installed, or the disk is full. Nothing remains of the folder.
    """
    target = cache.environments / environment_key(environment, interpreter)
    if target.is_dir():
        os.utime(target)
        return target
    cache.environments.mkdir(parents=True, exist_ok=True)
    spec: dict[str, object] = {
        "wheels": [
            {"path": str(cache.blobs.path(wheel.sha256)), "name": wheel.name}
            for wheel in environment.wheels
        ],
        "target": str(target),
        "interpreter": interpreter.path,
        "max_bytes": MAX_ENVIRONMENT_BYTES,
    }
    code, error_text = await _helped("install", spec, cache)
    _refuse(
        code, error_text, cache, "the environment of the job", "the environment cannot be installed"
    )
    return target


def python_folder(provided: ProvidedPython) -> str:
    """Return the name of the folder, next to the environments, of a provided Python."""
    return f"python-{provided.archive.sha256}"


def provided_interpreter(provided: ProvidedPython, cache: Cache) -> Interpreter:
    """Return the interpreter that the unpacked archive contains."""
    path = cache.environments / python_folder(provided) / provided.python
    return Interpreter(str(path), provided.version, "cpython", provided.abis, provided.platforms)


async def ensure_python(provided: ProvidedPython, cache: Cache) -> None:
    """Unpack a Python provided with the job, if it is missing. Its archive must be in the cache.

    Raises:
        Refusal: the Python is not as declared, does not run on this device, or does not fit on the
            disk. Nothing remains of the folder.
    """
    await ensure_unpacked(
        provided.archive,
        python_folder(provided),
        provided.unpacked_bytes,
        {"python": provided.python, "version": provided.version},
        cache,
        "the Python of the job",
    )


async def ensure_unpacked(
    archive: BlobRef,
    folder: str,
    unpacked_bytes: int,
    promises: dict[str, object],
    cache: Cache,
    what: str,
) -> None:
    """Unpack a cached archive into `folder` next to the environments; skip it if that exists.

    Args:
        archive: the blob, which must be in the cache.
        folder: the name of the folder.
        unpacked_bytes: the declared size of its files.
        promises: the declarations that `fleetmark_agent.helpers.unpack` verifies before the folder
            appears.
        cache: the cache of the device.
        what: the name of the archive in error messages.

    Raises:
        Refusal: the archive is not as declared, or does not fit on the disk. Nothing remains of the
            folder.
    """
    target = cache.environments / folder
    if target.is_dir():
        os.utime(target)
        return
    cache.environments.mkdir(parents=True, exist_ok=True)
    spec: dict[str, object] = {
        "archive": str(cache.blobs.path(archive.sha256)),
        "name": archive.name,
        "target": str(target),
        "max_bytes": min(unpacked_bytes, MAX_ENVIRONMENT_BYTES),
        **promises,
    }
    code, error_text = await _helped("unpack", spec, cache)
    _refuse(code, error_text, cache, what, f"{what} cannot be used")


def _refuse(code: int, error_text: str, cache: Cache, what: str, verdict: str) -> None:
    if code == EXIT_OS_ERROR:
        number, _, text = error_text.partition(" ")
        error = OSError(int(number) if number.isdecimal() else 0, text)
        raise storage_error(error, cache.root, what)
    if code != 0:
        # A file that is not as declared fails on every device; one that does not run, on this one.
        uncertain = code == EXIT_BAD_WHEEL
        raise Refusal(
            f"{verdict}: {error_text}",
            retryable=code < 0,
            cause=FailureCause.UNCERTAIN if uncertain else FailureCause.DEVICE,
        )


async def _helped(name: str, spec: dict[str, object], cache: Cache) -> tuple[int, str]:
    with tempfile.NamedTemporaryFile("w", suffix=".json", dir=cache.environments) as file:
        json.dump(spec, file)
        file.flush()
        return await _run_helper(name, file.name)


async def _run_helper(name: str, spec: str) -> tuple[int, str]:
    command = [sys.executable, "-I", "-m", f"fleetmark_agent.helpers.{name}", spec]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        _, stderr = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    lines = stderr.decode(errors="replace").strip().splitlines()
    code = process.returncode if process.returncode is not None else -1
    return code, lines[-1][:500] if lines else f"the installer ended with exit code {code}"
