"""Install the compiler and build backends: exact wheels from the configured package index.

The compiler is Zig's clang. It brings the headers and stubs of every glibc version, and a C++
library that it links statically. It therefore needs no root and no system compiler, and can target
an older glibc.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from fleetmark_catalog.load.model import Sdist, Tool
from fleetmark_controller.wheelbuild.subprocesses import BuildProcesses
from fleetmark_core.digest import canonical_json, sha256_file, sha256_hex
from fleetmark_core.errors import ErrorKind, FleetmarkError

COMPILER = "ziglang==0.14.1"
COMPILER_SHA256 = {
    "x86_64": "6eb9d4d759b292c83810dbee2e9e8e3fbfbf01d864e6e9811bae711fd74e1c2f",
    "aarch64": "7994b27f3cbfcedea43f9b7552e38b45857bdf0e9a45065474092dd74e7048cf",
}
"""Digests of the compiler's wheels for the controller's own machine."""
FLAGS = 1
"""To be raised whenever the inputs of a build change: compiler flags, environment, packing."""
TIME_LIMIT_S = 900
_KEPT = re.compile(
    r"PATH|HOME|USER|TMPDIR|LANG|LC_\w+|PIP_\w+|SSL_\w+|REQUESTS_\w+|XDG_\w+|NETRC"
    r"|(https?|all|no)_proxy",
    re.IGNORECASE,
)


def revision() -> str:
    """Return the id of this version's toolchain; wheels of another revision are built again."""
    return sha256_hex(canonical_json([COMPILER, FLAGS]))[:16]


def digest_of(tools: Sequence[Tool]) -> str:
    """Return an id of a set of tools."""
    return sha256_hex(canonical_json([tool.sha256 for tool in tools]))[:16]


def install_tools(tools: Sequence[Tool], folder: Path, children: BuildProcesses) -> None:
    """Install the compiler and `tools` into the new `folder`.

    Raises:
        FleetmarkError: ARTIFACT_UNAVAILABLE, with pip's errors.
    """
    listing = folder.with_name(f"{folder.name}.txt")
    hashes = " ".join(f"--hash=sha256:{digest}" for digest in COMPILER_SHA256.values())
    lines = [f"{tool.requirement} --hash=sha256:{tool.sha256}" for tool in tools]
    listing.write_text("\n".join([f"{COMPILER} {hashes}", *lines, ""]))
    _pip(
        children,
        folder.parent,
        "the build tools",
        *("install", "--only-binary=:all:", "--require-hashes", "--no-compile"),
        *("--target", str(folder), "--requirement", str(listing)),
    )


def compiler(folder: Path) -> Path:
    """Return the path of Zig in a folder of tools."""
    return folder / "ziglang" / "zig"


def download_sdist(
    requirement: str, sdist: Sdist, tools: Path, folder: Path, children: BuildProcesses
) -> Path:
    """Download the exact sdist of `requirement` (`name==version`) to `folder`; return its path.

    pip builds the metadata of an sdist, so the tools must be installed. It checks the digest first.

    Raises:
        FleetmarkError: ARTIFACT_UNAVAILABLE, with pip's errors.
    """
    listing = folder / "sdist.txt"
    listing.write_text(f"{requirement} --hash=sha256:{sdist.sha256}\n")
    name = requirement.partition("==")[0]
    _pip(
        children,
        folder,
        sdist.file,
        *("download", f"--no-binary={name}", "--no-build-isolation", "--require-hashes"),
        *("--dest", str(folder), "--requirement", str(listing)),
        python_path=tools,
    )
    found = folder / sdist.file
    if not found.is_file() or sha256_file(found) != sdist.sha256:
        raise _unavailable_error(f"the file that pip fetched does not match {sdist.file}")
    return found


def _pip(
    children: BuildProcesses,
    scratch: Path,
    what: str,
    *arguments: str,
    python_path: Path | None = None,
) -> None:
    command = [
        *(sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", arguments[0]),
        *("--quiet", "--no-deps", *arguments[1:]),
    ]
    # The machine configures its index and proxies; any other variable could change the result.
    kept = {name: value for name, value in os.environ.items() if _KEPT.fullmatch(name)}
    added = {"PYTHONPATH": str(python_path)} if python_path is not None else {}
    environment = {**kept, **added, "PYTHONDONTWRITEBYTECODE": "1"}
    code, lines = children.run(command, environment, scratch, TIME_LIMIT_S)
    if code != 0:
        errors = [line for line in lines if line.startswith("ERROR")] or lines
        raise _unavailable_error(
            f"{what} could not be fetched: pip reported: {' '.join(errors[-3:])[:500]}"
        )


def _unavailable_error(what: str) -> FleetmarkError:
    return FleetmarkError(
        ErrorKind.ARTIFACT_UNAVAILABLE,
        what,
        "",
        "Check this machine's connection to its package index",
    )
