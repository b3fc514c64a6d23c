"""The compiler and build backends of a build: exact wheels from the machine's package index.

The compiler is Zig's clang, which brings the headers and stubs of every glibc and a C++ library
that it links statically: no root, no system compiler, and an older glibc as the target.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from fleetmark_catalog.core.digest import canonical_json, sha256_file, sha256_hex
from fleetmark_catalog.core.errors import CatalogError, Fault
from fleetmark_catalog.load.model import Sdist, Tool

COMPILER = "ziglang==0.14.1"
COMPILER_SHA256 = {
    "x86_64": "6eb9d4d759b292c83810dbee2e9e8e3fbfbf01d864e6e9811bae711fd74e1c2f",
    "aarch64": "7994b27f3cbfcedea43f9b7552e38b45857bdf0e9a45065474092dd74e7048cf",
}
"""The wheel for the controller's own machine."""
FLAGS = 1
"""Raised whenever what a build is given changes: compiler flags, environment, packing."""
TIME_LIMIT_S = 900


def revision() -> str:
    """Names how this version builds: wheels of another revision are built anew."""
    return sha256_hex(canonical_json([COMPILER, FLAGS]))[:16]


def digest_of(tools: Sequence[Tool]) -> str:
    """Names a set of tools."""
    return sha256_hex(canonical_json([tool.sha256 for tool in tools]))[:16]


def install_tools(tools: Sequence[Tool], folder: Path) -> None:
    """Install the compiler and `tools` into the new `folder`.

    Raises:
        CatalogError: fault UNAVAILABLE, with what pip said.
    """
    listing = folder.with_name(f"{folder.name}.txt")
    hashes = " ".join(f"--hash=sha256:{digest}" for digest in COMPILER_SHA256.values())
    lines = [f"{tool.requirement} --hash=sha256:{tool.sha256}" for tool in tools]
    listing.write_text("\n".join([f"{COMPILER} {hashes}", *lines, ""]))
    _pip(
        *("install", "--only-binary=:all:", "--require-hashes", "--target", str(folder)),
        *("--requirement", str(listing)),
        what="the tools of a build",
    )


def compiler(folder: Path) -> Path:
    """Zig in a folder of tools."""
    return folder / "ziglang" / "zig"


def download_sdist(requirement: str, sdist: Sdist, tools: Path, folder: Path) -> Path:
    """The exact sdist of `name==version`, in `folder`.

    pip asks an sdist for its metadata, so the tools must be there; the digest is checked before.

    Raises:
        CatalogError: fault UNAVAILABLE, with what pip said.
    """
    listing = folder / "sdist.txt"
    listing.write_text(f"{requirement} --hash=sha256:{sdist.sha256}\n")
    name = requirement.partition("==")[0]
    _pip(
        *("download", f"--no-binary={name}", "--no-build-isolation", "--require-hashes"),
        *("--dest", str(folder), "--requirement", str(listing)),
        what=sdist.file,
        python_path=tools,
    )
    found = folder / sdist.file
    if not found.is_file() or sha256_file(found) != sdist.sha256:
        raise _unavailable(f"pip gave another file than {sdist.file}")
    return found


def _pip(*arguments: str, what: str, python_path: Path | None = None) -> None:
    command = [
        *(sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", arguments[0]),
        *("--quiet", "--no-deps", "--no-compile" if arguments[0] == "install" else "--quiet"),
        *arguments[1:],
    ]
    # Where the index is and how it is reached is the machine's; Python's own settings are not.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    added = {"PYTHONPATH": str(python_path)} if python_path is not None else {}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_S,
            check=False,
            env={**kept, **added, "PYTHONDONTWRITEBYTECODE": "1"},
        )
    except subprocess.TimeoutExpired as error:
        raise _unavailable(f"{what}: pip did not end within {TIME_LIMIT_S} s") from error
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        said = " ".join(errors[-3:]) or done.stderr.strip()[-500:]
        raise _unavailable(f"{what} could not be had: pip said: {said}")


def _unavailable(what: str) -> CatalogError:
    return CatalogError(
        Fault.UNAVAILABLE, what, "", "Check this machine's way to its package index"
    )
