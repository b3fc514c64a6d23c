"""The compiler and build backends of a build: exact wheels from the machine's package index.

The compiler is Zig's clang, which brings the headers and stubs of every glibc and a C++ library
that it links statically: no root, no system compiler, and an older glibc as the target.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from fleetmark_catalog.load.model import Sdist, Tool
from fleetmark_controller.wheelbuild.subprocesses import Children
from fleetmark_core.digest import canonical_json, sha256_file, sha256_hex
from fleetmark_core.errors import ErrorKind, FleetmarkError

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


def install_tools(tools: Sequence[Tool], folder: Path, children: Children) -> None:
    """Install the compiler and `tools` into the new `folder`.

    Raises:
        FleetmarkError: ARTIFACT_UNAVAILABLE, with what pip said.
    """
    listing = folder.with_name(f"{folder.name}.txt")
    hashes = " ".join(f"--hash=sha256:{digest}" for digest in COMPILER_SHA256.values())
    lines = [f"{tool.requirement} --hash=sha256:{tool.sha256}" for tool in tools]
    listing.write_text("\n".join([f"{COMPILER} {hashes}", *lines, ""]))
    _pip(
        children,
        folder.parent,
        "the tools of a build",
        *("install", "--only-binary=:all:", "--require-hashes", "--no-compile"),
        *("--target", str(folder), "--requirement", str(listing)),
    )


def compiler(folder: Path) -> Path:
    """Zig in a folder of tools."""
    return folder / "ziglang" / "zig"


def download_sdist(
    requirement: str, sdist: Sdist, tools: Path, folder: Path, children: Children
) -> Path:
    """The exact sdist of `name==version`, in `folder`.

    pip asks an sdist for its metadata, so the tools must be there; the digest is checked before.

    Raises:
        FleetmarkError: ARTIFACT_UNAVAILABLE, with what pip said.
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
        raise _unavailable(f"pip gave another file than {sdist.file}")
    return found


def _pip(
    children: Children, scratch: Path, what: str, *arguments: str, python_path: Path | None = None
) -> None:
    command = [
        *(sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", arguments[0]),
        *("--quiet", "--no-deps", *arguments[1:]),
    ]
    # Where the index is and how it is reached is the machine's; all else could change the outcome.
    kept = {name: value for name, value in os.environ.items() if _KEPT.fullmatch(name)}
    added = {"PYTHONPATH": str(python_path)} if python_path is not None else {}
    environment = {**kept, **added, "PYTHONDONTWRITEBYTECODE": "1"}
    code, lines = children.run(command, environment, scratch, TIME_LIMIT_S)
    if code != 0:
        errors = [line for line in lines if line.startswith("ERROR")] or lines
        raise _unavailable(f"{what} could not be had: pip said: {' '.join(errors[-3:])[:500]}")


_KEPT = re.compile(
    r"PATH|HOME|USER|TMPDIR|LANG|LC_\w+|PIP_\w+|SSL_\w+|REQUESTS_\w+|XDG_\w+|NETRC"
    r"|(https?|all|no)_proxy",
    re.IGNORECASE,
)


def _unavailable(what: str) -> FleetmarkError:
    return FleetmarkError(
        ErrorKind.ARTIFACT_UNAVAILABLE, what, "", "Check this machine's way to its package index"
    )
