"""Environments of jobs: the wheels of a lock in a plain folder, made once per content."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path

from fleetmark_agent.cache import Cache, refusal_of
from fleetmark_agent.errors import Refusal
from fleetmark_agent.helpers import EXIT_OS_ERROR
from fleetmark_catalog.core.capabilities import Interpreter
from fleetmark_catalog.core.lock import Environment
from fleetmark_catalog.core.platforms import wheel_rank

MAX_ENVIRONMENT_BYTES = 8 * 1024**3
"""Files of one environment, unpacked: beyond it a wheel is taken for an attack."""


def choose_interpreter(
    environment: Environment, interpreters: tuple[Interpreter, ...]
) -> Interpreter:
    """The first of the board's interpreters that the lock's wheels are for.

    Raises:
        Refusal: there is none; it names what the board has, or the wheel that does not fit.
    """
    wanted = environment.python_version
    fitting = [
        found
        for found in interpreters
        if found.version == wanted or found.version.startswith(f"{wanted}.")
    ]
    if not fitting:
        have = ", ".join(sorted({found.version for found in interpreters})) or "none"
        raise Refusal(f"it needs Python {wanted}, the device has {have}", retryable=False)
    misfit = ""
    for found in fitting:
        names = [
            wheel.name for wheel in environment.wheels if wheel_rank(wheel.name, found) is None
        ]
        if not names:
            return found
        misfit = misfit or f"{names[0]} does not fit {found.path} ({found.platforms[0]})"
    raise Refusal(misfit, retryable=False)


def environment_key(environment: Environment, interpreter: Interpreter) -> str:
    """Name of the folder that holds the environment on this board."""
    return environment.key(interpreter.platforms[0] if interpreter.platforms else "any")


async def ensure_environment(
    environment: Environment, interpreter: Interpreter, cache: Cache
) -> Path:
    """The environment's folder; it is made if it is not here. Its wheels must be.

    Raises:
        Refusal: a wheel cannot be installed, or there is no room. Nothing is left behind.
    """
    target = cache.environments / environment_key(environment, interpreter)
    if target.is_dir():
        os.utime(target)
        return target
    cache.environments.mkdir(parents=True, exist_ok=True)
    spec = {
        "wheels": [
            {"path": str(cache.blobs.path(wheel.sha256)), "name": wheel.name}
            for wheel in environment.wheels
        ],
        "target": str(target),
        "interpreter": interpreter.path,
        "max_bytes": MAX_ENVIRONMENT_BYTES,
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json", dir=cache.environments) as file:
        json.dump(spec, file)
        file.flush()
        code, said = await _run_helper(file.name)
    if code == 0:
        return target
    if code == EXIT_OS_ERROR:
        number, _, text = said.partition(" ")
        error = OSError(int(number) if number.isdecimal() else 0, text)
        raise refusal_of(error, cache.root, "the environment of the job")
    raise Refusal(f"the environment cannot be installed: {said}", retryable=code < 0)


async def _run_helper(spec: str) -> tuple[int, str]:
    command = [sys.executable, "-I", "-m", "fleetmark_agent.helpers.install", spec]
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
    return code, lines[-1][:500] if lines else f"the installer ended with {code}"
