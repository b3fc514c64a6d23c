"""Python interpreters that jobs may use, with the tags of the wheels that each accepts.

Every candidate is run and reports its own version, because a name or a link proves nothing. An
interpreter of another architecture than the agent's is ignored, even if the kernel can run it
(32-bit programs on a 64-bit kernel, or an emulator): its measurements would not match the device's
architecture.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fleetmark_agent.fingerprint import system
from fleetmark_core.capabilities import Interpreter

_VERSIONS = range(9, 16)
_FOLDERS = ("/usr/local/bin", "/usr/bin", "/bin", "/opt/homebrew/bin")
_TIMEOUT_S = 30.0

# `packaging` comes from the agent's environment. It is last on the path, so that the standard
# library of the candidate takes precedence.
_QUESTION = """
import json, os, platform, struct, sys
sys.path.append(sys.argv[1])
from packaging import tags
abis = []
for tag in tags.cpython_tags(platforms=["any"]):
    if tag.abi not in abis and tag.abi not in ("abi3", "none"):
        abis.append(tag.abi)
base = getattr(sys, "_base_executable", None) or sys.executable
print(json.dumps({
    "path": os.path.realpath(base),
    "version": platform.python_version(),
    "implementation": sys.implementation.name,
    "abis": abis,
    "platforms": list(tags.platform_tags()),
    "machine": platform.machine(),
    "pointer_bytes": struct.calcsize("P"),
}))
"""


def probe() -> tuple[Interpreter, ...]:
    """Return the agent's base interpreter, then others by descending version; CPython only."""
    own = _own()
    with ThreadPoolExecutor(max_workers=4) as pool:
        answers = [found for found in pool.map(_ask, _candidates()) if found is not None]
    unique = {
        found.path: found for found in reversed(answers) if own is None or found.path != own.path
    }
    others = sorted(unique.values(), key=_newest, reverse=True)
    return (*others,) if own is None else (own, *others)


def _own() -> Interpreter | None:
    """Return the agent's base interpreter without running it, so that a slow device has one too."""
    from packaging import tags

    if sys.implementation.name != "cpython":
        return None
    abis = dict.fromkeys(tag.abi for tag in tags.cpython_tags(platforms=["any"]))
    return Interpreter(
        _base(),
        platform.python_version(),
        sys.implementation.name,
        tuple(abi for abi in abis if abi not in ("abi3", "none")),
        tuple(tags.platform_tags()),
    )


def _base() -> str:
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def _candidates() -> Iterator[str]:
    folders = [*os.environ.get("PATH", "").split(os.pathsep), *_FOLDERS]
    seen: set[str] = {_base()}
    for folder in dict.fromkeys(folders):
        for name in ("python3", *(f"python3.{minor}" for minor in _VERSIONS)):
            path = Path(folder) / name
            # Links to the same file are run once.
            real = os.path.realpath(path)
            if folder and real not in seen and os.access(path, os.X_OK):
                seen.add(real)
                yield str(path)


def _ask(path: str) -> Interpreter | None:
    import packaging

    site = str(Path(packaging.__file__).resolve().parent.parent)
    try:
        done = subprocess.run(
            [path, "-I", "-S", "-c", _QUESTION, site],
            check=True,
            capture_output=True,
            timeout=_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return _understood(done.stdout)


def _understood(answer: bytes) -> Interpreter | None:
    """Parse the JSON that a candidate printed; None if jobs cannot use the interpreter."""
    try:
        values = json.loads(answer)
        fits = system.arch(values["machine"], values["pointer_bytes"]) == system.arch()
        if values["implementation"] != "cpython" or not fits:
            return None
        numbers = [int(part) for part in values["version"].split(".")[:2]]
        words = [values["path"], *values["abis"], *values["platforms"]]
        if len(numbers) != 2 or not all(isinstance(word, str) for word in words):
            return None
        return Interpreter(
            values["path"],
            values["version"],
            values["implementation"],
            tuple(values["abis"]),
            tuple(values["platforms"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _newest(interpreter: Interpreter) -> tuple[tuple[int, ...], str]:
    numbers = interpreter.version.replace("+", ".").split(".")
    return tuple(int(n) for n in numbers if n.isdecimal()), interpreter.path
