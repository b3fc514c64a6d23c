"""Find Python.h of a minor version: in a Python of this machine, else in Debian's packages."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from fleetmark_controller.artifacts.foreign_deb import ForeignDebian, unpack
from fleetmark_core.errors import ErrorKind, FleetmarkError

TIMEOUT_S = 30
_DEBIAN = {"3.9": "bullseye", "3.11": "bookworm", "3.13": "trixie"}
_NAMES = {"aarch64": "arm64", "x86_64": "amd64"}
_QUESTION = """
import json, struct, sys, sysconfig
print(json.dumps([sysconfig.get_python_version(), struct.calcsize("P"),
    sysconfig.get_path("include"), sysconfig.get_config_h_filename()]))
"""


def collect_headers(python: str, arch: str, folder: Path) -> None:
    """Copy Python.h of `python` (such as 3.11), and the headers it needs, into the new `folder`.

    The headers of any 64-bit Linux will do: `pyconfig.h` differs only in values that Python itself
    uses.

    Raises:
        FleetmarkError: ARTIFACT_UNAVAILABLE, with what was searched and where.
        OSError: the folder cannot be written.
    """
    for include, configuration in _installed(python):
        _copy(include, configuration, folder)
        return
    release = _DEBIAN.get(python)
    if release is None:
        raise _unavailable_error(
            f"no Python {python} with headers is installed here, and no Debian release has that "
            f"version",
            f"Install Python {python} with its headers (Ubuntu: python{python}-dev) on PATH",
        )
    packages = folder.with_name(f"{folder.name}-packages")
    try:
        debian = ForeignDebian(release, _NAMES[arch], packages / "apt")
        [package] = debian.download([f"libpython{python}-dev"])
    except FleetmarkError as error:
        raise _unavailable_error(
            f"no Python {python} with headers is installed here, and {error.what}",
            f"Install python{python}-dev",
        ) from error
    unpack(package, packages / "files")
    include = packages / "files" / "usr" / "include"
    name = f"python{python}"
    _copy(include / name, include / f"{arch}-linux-gnu" / name / "pyconfig.h", folder)
    shutil.rmtree(packages)


def _copy(include: Path, configuration: Path, folder: Path) -> None:
    shutil.copytree(include, folder)
    # Debian's own pyconfig.h only includes the one of the machine's architecture.
    shutil.copyfile(configuration, folder / "pyconfig.h")


def _installed(python: str) -> Iterator[tuple[Path, Path]]:
    """Yield the include folder and the pyconfig.h of each installed Python of that version."""
    names = [getattr(sys, "_base_executable", None) or sys.executable]
    folders = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/bin", "/usr/local/bin"]
    names += [str(Path(folder) / f"python{python}") for folder in folders if folder]
    for name in dict.fromkeys(names):
        if not os.access(name, os.X_OK):
            continue
        try:
            done = subprocess.run(
                [name, "-I", "-S", "-c", _QUESTION],
                check=True,
                capture_output=True,
                timeout=TIMEOUT_S,
                stdin=subprocess.DEVNULL,
            )
            version, pointer_bytes, include, configuration = json.loads(done.stdout)
        except (OSError, subprocess.SubprocessError, ValueError):
            continue
        place = Path(include)
        whole = (place / "Python.h").is_file() and Path(configuration).is_file()
        if (version, pointer_bytes) == (python, 8) and whole:
            yield place, Path(configuration)


def _unavailable_error(what: str, next_step: str) -> FleetmarkError:
    return FleetmarkError(ErrorKind.ARTIFACT_UNAVAILABLE, what, "", next_step)
