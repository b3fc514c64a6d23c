"""Drop privileges and become the job: `python -I -S -B confine.py SPEC`. Standard library only.

This is the last step before a job, inside bubblewrap where that is used. It replaces itself with
the job (execve), so that no part of it runs next to the job or between the job and the kernel. SPEC
is a JSON file:

command, environment, folder: arguments of execve; `folder` is the working directory.
limits: `processes`, `file_bytes`, `data_bytes`; 0 or absent means no limit.
user: number of the user and group to become, null to keep the current ones; groups: further groups.
guarded: whether the job must die with its parent process; otherwise bubblewrap ensures that.
isolate: whether to create a network namespace that contains only loopback.
landlock: null, or the lists of paths `read`, `write` and `devices`, and `no_tcp`.

If a privilege cannot be dropped, this process ends: a job never runs with more privileges than
planned.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import signal
import socket
import stat
import struct
import sys
from contextlib import suppress
from typing import Any

EXIT_FAILED = 127

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_CAPBSET_DROP = 1, 38, 24
_CLONE_NEWIPC, _CLONE_NEWUSER, _CLONE_NEWNET = 0x08000000, 0x10000000, 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1

# From linux/landlock.h; the numbers are the same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ABI_QUESTION, _PATH_BENEATH = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_FS_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""Number of file system rights in each version of the Landlock ABI."""
_ABI_TCP, _ABI_SCOPES = 4, 6
_BIND_AND_CONNECT, _ABSTRACT_SOCKETS_AND_SIGNALS = 3, 3


class CannotConfine(Exception):
    """Raised when a privilege cannot be dropped; the message names it and the cause."""


def main(path: str) -> int:
    """Become the job; return an exit code only on failure."""
    with open(path, "rb") as file:  # noqa: PTH123  (pathlib costs more to import than it gives here)
        spec = json.load(file)
    guardian = os.getppid() if spec["guarded"] else 0
    try:
        rules = _ruleset(spec["landlock"]) if spec["landlock"] else None
        if spec["isolate"]:
            _isolate()
        # When memory runs out, the kernel must kill the job, not the agent.
        with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123
            file.write("1000")
        _limit(spec["limits"])
        _become(spec["user"], spec["groups"])
        _drop_capabilities()
        if rules is not None:
            _check(_syscall(_RESTRICT_SELF, rules, 0), "landlock")
            os.close(rules)
        _die_with(guardian)
        os.chdir(spec["folder"])
        os.execve(spec["command"][0], spec["command"], spec["environment"])  # noqa: S606
    except CannotConfine as error:
        print(f"cannot confine the job: {error}", file=sys.stderr)  # noqa: T201
    except OSError as error:
        print(f"cannot start {spec['command'][0]}: {error}", file=sys.stderr)  # noqa: T201
    return EXIT_FAILED


# --- resources ---


def _limit(limits: dict[str, int]) -> None:
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: limits.get("processes"),
        resource.RLIMIT_FSIZE: limits.get("file_bytes"),
        resource.RLIMIT_DATA: limits.get("data_bytes"),
    }
    for which, asked in wanted.items():
        if not asked and which != resource.RLIMIT_CORE:
            continue
        _, hard = resource.getrlimit(which)
        value = asked or 0
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(which, (value, value))
        except (OSError, ValueError) as error:
            raise CannotConfine(f"resource limit of {value}: {error}") from error


# --- rights ---


def _become(user: int | None, groups: list[int]) -> None:
    if user is None:
        return
    try:
        os.setgroups(groups)
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    except OSError as error:
        raise CannotConfine(f"user {user}: {error.strerror}") from error


def _drop_capabilities() -> None:
    """Deny capabilities and set-user-ID privileges to everything executed from here on."""
    libc = ctypes.CDLL(None, use_errno=True)
    for number in range(64):
        # A failure is harmless: a capability that cannot be dropped here is not held either, and
        # no_new_privs prevents gaining it.
        libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
    _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def _die_with(guardian: int) -> None:
    """Arrange to be killed when the guardian ends; a change of user cleared the earlier setting."""
    if not guardian:
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != guardian:
        raise CannotConfine("its supervisor has ended")


def _isolate() -> None:
    """Move into a network namespace that contains only loopback."""
    user, group = os.geteuid(), os.getegid()
    flags = _CLONE_NEWNET | _CLONE_NEWIPC | (_CLONE_NEWUSER if user else 0)
    _check(ctypes.CDLL(None, use_errno=True).unshare(flags), "network namespace")
    try:
        if user:
            for name, text in (
                ("setgroups", "deny"),
                ("uid_map", f"{user} {user} 1"),
                ("gid_map", f"{group} {group} 1"),
            ):
                with open(f"/proc/self/{name}", "w") as file:  # noqa: PTH123
                    file.write(text)
        _raise_loopback()
    except OSError as error:
        raise CannotConfine(f"network namespace: {error}") from error


def _raise_loopback() -> None:
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        request = struct.pack("16sh14x", b"lo", 0)
        _, flags = struct.unpack("16sh14x", fcntl.ioctl(asker, _SIOCGIFFLAGS, request))
        fcntl.ioctl(asker, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))


# --- Landlock ---


def landlock_abi() -> int:
    """Return the version of the kernel's Landlock ABI; 0 if it is missing or disabled."""
    found = _syscall(_CREATE_RULESET, None, 0, _ABI_QUESTION)
    return max(0, found)


def _ruleset(allowed: dict[str, Any]) -> int:
    """Create a ruleset that allows only the listed paths; return its descriptor."""
    abi = landlock_abi()
    if abi < 1:
        raise CannotConfine("the kernel has no Landlock")
    every = (1 << _FS_RIGHTS.get(abi, max(_FS_RIGHTS.values()))) - 1
    tcp = _BIND_AND_CONNECT if allowed["no_tcp"] and abi >= _ABI_TCP else 0
    if allowed["no_tcp"] and not tcp:
        raise CannotConfine(f"Landlock {abi} does not support TCP rules")
    scopes = _ABSTRACT_SOCKETS_AND_SIGNALS if abi >= _ABI_SCOPES else 0
    attributes = struct.pack("QQQ", every, tcp, scopes)
    rules = _syscall(_CREATE_RULESET, attributes, len(attributes), 0)
    _check(rules, "landlock")
    read = _EXECUTE | _READ_FILE | _READ_DIR
    write = every & ~(_MAKE_CHAR | _MAKE_BLOCK)
    device = _READ_FILE | _WRITE_FILE | _IOCTL_DEV | _TRUNCATE
    for paths, rights in (
        (allowed["read"], read),
        (allowed["write"], write),
        (allowed["devices"], device),
    ):
        for path in paths:
            _allow(rules, path, rights & every)
    return rules


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return
        raise CannotConfine(f"landlock: {path}: {error.strerror}") from error
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _OF_FILES
        attributes = struct.pack("=Qi", rights, descriptor)
        _check(_syscall(_ADD_RULE, rules, _PATH_BENEATH, attributes, 0), f"landlock: {path}")
    finally:
        os.close(descriptor)


def _syscall(number: int, *arguments: int | bytes | None) -> int:
    if not hasattr(os, "O_PATH"):
        return -1
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    # A plain int is passed as 32 bits, which leaves the upper half of the register undefined.
    passed = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    return int(call(ctypes.c_long(number), *passed))


def _check(returned: int, what: str) -> None:
    if returned < 0:
        raise CannotConfine(f"{what}: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
