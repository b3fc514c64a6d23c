"""The foreign Python as build backends see it: its configuration, and a compiler for it."""

from __future__ import annotations

import shlex
from pathlib import Path

from fleetmark_catalog.load.model import Build

MODULE = "_fleetmark_sysconfigdata"
_TRIPLES = {"aarch64": "aarch64-linux-gnu", "x86_64": "x86_64-linux-gnu"}
CFLAGS = "-O2 -g0 -fPIC -fwrapv -DNDEBUG -fno-sanitize=undefined"


def write_target(build: Build, headers: Path, zig: Path, sources: Path, folder: Path) -> None:
    """Write the configuration module and the compilers `fleetmark-cc` and `fleetmark-c++`.

    Args:
        build: The wheel to build.
        headers: Folder with Python.h of the wanted minor version.
        zig: Path of the Zig compiler.
        sources: Folder of the unpacked sdist.
        folder: Folder to write to.
    """
    variables = {
        "AR": "fleetmark-ar",
        "ARFLAGS": "rcs",
        "BLDSHARED": "fleetmark-cc -shared",
        "CC": "fleetmark-cc",
        "CCSHARED": "-fPIC",
        "CFLAGS": CFLAGS,
        "CONFINCLUDEPY": str(headers),
        "CXX": "fleetmark-c++",
        "EXT_SUFFIX": f".cpython-{_nodot(build)}-{_TRIPLES[build.arch]}.so",
        "HOST_GNU_TYPE": _TRIPLES[build.arch],
        "INCLUDEPY": str(headers),
        "LDCXXSHARED": "fleetmark-c++ -shared",
        "LDSHARED": "fleetmark-cc -shared",
        "LDVERSION": build.python,
        "LIBDIR": "",
        "LDLIBRARY": "",
        "MULTIARCH": _TRIPLES[build.arch],
        "OPT": "-O2",
        "Py_DEBUG": 0,
        "Py_ENABLE_SHARED": 0,
        "Py_GIL_DISABLED": 0,
        "SHLIB_SUFFIX": ".so",
        "SIZEOF_VOID_P": 8,
        "SOABI": f"cpython-{_nodot(build)}-{_TRIPLES[build.arch]}",
        "VERSION": build.python,
        # These name the wheel. Python sets them before it reads this module, whose values win.
        "py_version_nodot": _nodot(build),
        "py_version_short": build.python,
    }
    (folder / f"{MODULE}.py").write_text(f"build_time_vars = {variables!r}\n", encoding="utf-8")
    # Python 3.10 includes this header, which the compiler's C library does not have.
    fallback = folder / "fallback"
    fallback.mkdir()
    (fallback / "crypt.h").write_text("")
    target = f"{_TRIPLES[build.arch]}.{build.glibc}"
    options = [
        *("-target", target),
        *("-idirafter", str(fallback)),
        # Paths of this machine must not appear in the built files.
        f"-ffile-prefix-map={sources}=.",
        f"-ffile-prefix-map={headers}=include",
        f"-ffile-prefix-map={zig.parent}=zig",
        *("-Wl,--strip-all", "-Wl,--build-id=none", "-Wno-unused-command-line-argument"),
    ]
    for name, command in (("fleetmark-cc", "cc"), ("fleetmark-c++", "c++")):
        _script(folder / name, [str(zig), command, *options])
    _script(folder / "fleetmark-ar", [str(zig), "ar"])


def environment(build: Build, folder: Path, scratch: Path, epoch_s: int) -> dict[str, str]:
    """Return the complete environment of a build; nothing is inherited from the controller."""
    return {
        "PATH": f"{folder}:/usr/bin:/bin",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "SOURCE_DATE_EPOCH": str(epoch_s),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "_PYTHON_SYSCONFIGDATA_NAME": MODULE,
        "_PYTHON_HOST_PLATFORM": f"linux-{build.arch}",
        "ZIG_LOCAL_CACHE_DIR": str(scratch / "compiler-cache"),
        # Variables in which an sdist looks for its compiler.
        "CC": "fleetmark-cc",
        "CXX": "fleetmark-c++",
        "AR": "fleetmark-ar",
    }


def _nodot(build: Build) -> str:
    return build.python.replace(".", "")


def _script(path: Path, command: list[str]) -> None:
    path.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n', encoding="utf-8")
    path.chmod(0o755)
