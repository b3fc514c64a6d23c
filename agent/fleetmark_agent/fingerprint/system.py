"""The operating system and the architecture of its programs."""

from __future__ import annotations

import os
import platform
import re
import struct
import sys
from pathlib import Path

from fleetmark_agent.fingerprint import sysfs
from fleetmark_core.capabilities import Os

_SPELLINGS = {
    "amd64": "x86_64",
    "arm64": "aarch64",
    "i386": "i686",
    "i586": "i686",
    "armv8l": "armv7l",
}
_HALVES = {"x86_64": "i686", "aarch64": "armv7l"}


def probe(root: Path = Path("/")) -> Os:
    """Return the OS family, distribution, kernel and C library."""
    release = _os_release(root)
    family = {"linux": "linux", "darwin": "macos", "win32": "windows"}.get(
        sys.platform, sys.platform
    )
    if family == "linux" and (root / "system/build.prop").exists():
        family = "android"
    libc, libc_version = _libc(root)
    return Os(
        family=family,
        name=release.get("NAME") or platform.system() or family,
        version=release.get("VERSION_ID") or platform.release(),
        kernel=sysfs.text(root / "proc/sys/kernel/osrelease") or platform.release(),
        libc=libc,
        libc_version=libc_version,
    )


def arch(machine: str | None = None, pointer_bytes: int | None = None) -> str:
    """Return the architecture of the agent's programs as in `uname -m`, in one spelling.

    The pointer size decides, not the kernel's answer: a 64-bit kernel runs 32-bit programs, and
    reports a 32-bit machine to programs that run under a 32-bit personality (`linux32`).
    """
    found = (machine or platform.machine()).lower()
    found = _SPELLINGS.get(found, found)
    if (pointer_bytes or struct.calcsize("P")) == 4:
        return _HALVES.get(found, found)
    return {half: whole for whole, half in _HALVES.items()}.get(found, found)


def _os_release(root: Path) -> dict[str, str]:
    content = sysfs.text(root / "etc/os-release") or sysfs.text(root / "usr/lib/os-release") or ""
    pairs = (line.partition("=") for line in content.splitlines() if "=" in line)
    return {key.strip(): value.strip().strip("\"'") for key, _, value in pairs}


def _libc(root: Path) -> tuple[str | None, str | None]:
    if root == Path("/"):
        try:
            name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        except (AttributeError, ValueError, OSError):
            name = version = ""
        if name:
            return name, version or None
    for loader in sorted((root / "lib").glob("ld-musl-*.so.1")):
        found = re.search(rb"\b(1\.\d+\.\d+)\0", loader.read_bytes()[: 4 << 20])
        return "musl", found.group(1).decode() if found else None
    return None, None
