"""Decides from the facts of a device whether and how the agent runs there. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fleetmark_agent.front.transport import device_error
from fleetmark_core.capabilities import Interpreter

NEEDED_KIB = 300 * 1024
"""Free space that the agent's files, its transfer and its home need."""
_MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
_PYTHONS = range(10, 14)
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9/._@+-]{0,200}")
_LEAST_GLIBC = 17


class DeviceFacts(NamedTuple):
    """What the agent needs to know of a device that it fits."""

    interpreter: Interpreter
    is_ours: bool
    """True if the device has the folder of this front already."""
    is_enrolled: bool
    versions: tuple[str, ...]
    """Versions of the agent's files that are there."""
    agent_pid: str
    """Process id of the running agent; empty if none runs."""

    @property
    def python_version(self) -> str:
        """Return the version of the device's Python, such as 3.11."""
        return self.interpreter.version


def check_facts(facts: Mapping[str, Sequence[str]], front: str, where: str) -> DeviceFacts:
    """Return what to do with a device.

    Args:
        facts: the answer of the probe script.
        front: the line that marks the folder of this front.
        where: the device, for messages.

    Raises:
        FleetmarkError: the agent cannot run there, or the folder belongs to something else.
    """
    one = {key: values[0] for key, values in facts.items() if values}
    home = one.get("home", "")
    why, advice = _folder_fault(one, front, home) or _platform_fault(one) or ("", "")
    if not why:
        why, advice = _storage_fault(one, home) or ("", "")
    if why:
        raise device_error(why, where, advice)
    machine = _MACHINES[one["machine"]]
    python = _choose_python(facts.get("python", ()))
    if python is None:
        found = ", ".join(sorted({_shown(text) for text in facts.get("python", ())})) or "none"
        raise device_error(
            f"it has no usable Python 3.10 to 3.13 (found: {found})",
            where,
            "Install one of them on the device",
        )
    minor, path = python
    glibc = int(one["glibc"].split(".")[1])
    platforms = [f"manylinux_2_{number}_{machine}" for number in range(glibc, _LEAST_GLIBC - 1, -1)]
    platforms += [f"manylinux2014_{machine}", f"linux_{machine}"]
    return DeviceFacts(
        Interpreter(path, f"3.{minor}", "cpython", (f"cp3{minor}",), tuple(platforms)),
        is_ours=one.get("folder") == "front",
        is_enrolled=one.get("enrolled") == "yes",
        versions=tuple(facts.get("version", ())),
        agent_pid=one.get("agent", ""),
    )


def _folder_fault(one: Mapping[str, str], front: str, home: str) -> tuple[str, str] | None:
    folder = f"{home}/.fleetmark-agent"
    if not _PLAIN_PATH.fullmatch(home):
        return f"its home folder {home!r} has characters that a tunnel's path cannot have", ""
    kind = one.get("folder", "")
    if kind == "link":
        return f"{folder} is a link", "Remove it on the device"
    if kind in ("file", "foreign"):
        return f"{folder} exists and is not that of a front", "Move it away on the device"
    other = one.get("front", "")
    if kind == "front" and other != front:
        name = other.partition(" ")[2] or "another one"
        return (
            f"another front has this device: {name}",
            "Remove it there with `agent front remove NAME --wipe`",
        )
    return None


def _platform_fault(one: Mapping[str, str]) -> tuple[str, str] | None:
    if one.get("system") != "Linux":
        return f"it runs {one.get('system') or 'an unknown system'}, and agents need Linux", ""
    machine = one.get("machine", "")
    if machine not in _MACHINES:
        return f"no agent is built for its architecture {machine!r}", "Use x86_64 or aarch64"
    if one.get("elf_class") != "2":
        return "its programs are 32-bit, and the agent's libraries need a 64-bit system", ""
    glibc = one.get("glibc", "")
    if not re.fullmatch(r"2\.[0-9]{1,3}(\..*)?", glibc):
        libc = "musl" if one.get("musl") else "not glibc"
        return f"its C library is {libc}, and the agent's libraries need glibc", ""
    if int(glibc.split(".")[1]) < _LEAST_GLIBC:
        return f"its glibc is {glibc}, and the agent's libraries need 2.{_LEAST_GLIBC}", ""
    return None


def _storage_fault(one: Mapping[str, str], home: str) -> tuple[str, str] | None:
    free = one.get("free_kib", "")
    # Files that are there already need no space again.
    if free.isdecimal() and int(free) < NEEDED_KIB and not one.get("version"):
        needed, left = NEEDED_KIB >> 10, int(free) >> 10
        return f"the agent needs {needed} MiB in {home}, and {left} MiB are free", "Free some space"
    if one.get("writable") != "yes":
        return f"cannot write to {home}: {one.get('unwritable') or 'unknown reason'}", ""
    if one.get("executable") != "yes":
        return f"no program can run in {home}", "Mount its file system without noexec"
    return None


def _choose_python(found: Sequence[str]) -> tuple[int, str] | None:
    """Return the minor version and the path of the first Python that fits."""
    for text in found:
        words = text.split(" ", 5)
        if len(words) != 6 or not words[1].isdecimal() or int(words[1]) not in _PYTHONS:
            continue
        major, minor, bits, implementation, free_threaded, path = words
        fits = (major, bits, implementation, free_threaded) == ("3", "64", "cpython", "0")
        if fits and _PLAIN_PATH.fullmatch(path):
            return int(minor), path
    return None


def _shown(text: str) -> str:
    words = text.split(" ", 5)
    return ".".join(words[:2]) if len(words) == 6 else "unknown"
