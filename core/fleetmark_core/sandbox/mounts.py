"""The files that a job may see besides its own folders: programs, libraries and kernel interfaces.

This is a list of allowed paths, not of forbidden ones: a new secret on a device stays hidden.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt"),
    # Systems that keep their libraries elsewhere: Nix, Guix, Android.
    *("/nix/store", "/gnu/store", "/system", "/vendor", "/apex"),
)
SETTINGS = (
    *("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "ld-musl-*.path"),
    *("passwd", "group", "nsswitch.conf", "localtime", "timezone", "os-release", "hosts"),
    # Accelerators: the installed drivers.
    *("OpenCL", "vulkan", "glvnd", "nv_tegra_release", "nvidia*", "rocm*"),
)
"""Names or patterns below /etc."""
NETWORK_SETTINGS = ("resolv.conf", "ssl/certs", "ca-certificates", "pki", "gai.conf", "services")
"""Names below /etc, for a job that may use the network."""
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
"""Names below /dev, for every job."""


def system_paths(network: bool, hidden: Iterable[Path], root: Path = Path("/")) -> list[str]:
    """Return the existing paths that every job may read, without any that contain `hidden`."""
    names = (*SETTINGS, *(NETWORK_SETTINGS if network else ()))
    found = [root / path[1:] for path in SYSTEM]
    for name in names:
        found.extend(sorted((root / "etc").glob(name)))
    if network:
        # The target of resolv.conf.
        found.append((root / "etc/resolv.conf").resolve().parent)
    avoid = [Path(os.path.realpath(path)) for path in hidden]
    shown = (part for path in found if path.exists() for part in _without(path, avoid))
    return [str(path) for path in dict.fromkeys(shown)]


def python_paths(interpreter: str, hidden: Iterable[Path]) -> list[str]:
    """Return the paths that an interpreter needs: itself, its standard and shared libraries.

    If the interpreter has a prefix of its own, such as /opt/python, the whole prefix is returned.
    If the prefix contains other files of a user, only the needed parts are.
    """
    program = Path(os.path.realpath(interpreter))
    prefix = program.parent.parent
    if any(prefix.is_relative_to(path) for path in SYSTEM):
        return []
    # Without HOME and an entry in the password database, `~` stays as it is and matches nothing.
    home = Path(os.path.expanduser("~"))  # noqa: PTH111
    avoid = [Path(os.path.realpath(path)) for path in (*hidden, home)]
    libraries = sorted(prefix.glob("lib/python3*")) + sorted(prefix.glob("lib/libpython*"))
    if libraries and not any(path.is_relative_to(prefix) for path in avoid):
        return [str(prefix)]
    return [str(program), *map(str, libraries)]


def device_nodes(patterns: Iterable[str], root: Path = Path("/")) -> list[str]:
    """Return the nodes below /dev that match a component's patterns."""
    found: list[str] = []
    for pattern in patterns:
        for path in sorted(root.glob(pattern.lstrip("/"))):
            inside = Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root / "dev"))
            if inside and not path.is_file():
                found.append(str(path))
    return list(dict.fromkeys(found))


def _without(path: Path, hidden: list[Path]) -> Iterator[Path]:
    """Yield `path`, or only those of its parts that contain nothing hidden."""
    real = Path(os.path.realpath(path))
    if any(real.is_relative_to(secret) for secret in hidden):
        return
    if not any(secret.is_relative_to(real) for secret in hidden):
        yield path
        return
    for entry in sorted(path.iterdir()):
        yield from _without(entry, hidden)
