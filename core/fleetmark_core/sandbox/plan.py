"""Derivation of a job's start command from the job's needs and the device's sandbox. Pure.

The agent makes a plan, the supervisor executes its command, and `confine` drops privileges and
becomes the job. See these modules.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetmark_core import sandbox_levels
from fleetmark_core.sandbox.mounts import DEVICES

CONFINE = Path(__file__).with_name("confine.py")
BUBBLEWRAP = "bwrap"
_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True)
class SandboxRequest:
    """Requirements of one job. Paths are absolute and exist.

    Attributes:
        folder: the working directory.
        scratch: becomes /tmp if the job has its own root.
        shared: becomes /dev/shm if the job has its own root.
        read: readable files and folders.
        write: writable files and folders.
        devices: nodes below /dev.
        network: whether the job may use the network.
    """

    command: tuple[str, ...]
    environment: dict[str, str]
    folder: str
    scratch: str
    shared: str
    read: tuple[str, ...]
    write: tuple[str, ...]
    devices: tuple[str, ...] = ()
    network: bool = False


@dataclass(frozen=True)
class JobLimits:
    """Limits of one job; 0 means no limit.

    Attributes:
        data_bytes: data segment of one process.
        file_bytes: size of one file.
        processes: processes, including their threads.
    """

    data_bytes: int = 0
    file_bytes: int = 0
    processes: int = 0


@dataclass(frozen=True)
class SandboxCapabilities:
    """The sandbox means to use, as proven on the device.

    Attributes:
        level: the sandbox level.
        network: how the job's network access is blocked: `namespace`, `tcp` (Landlock blocks TCP
            but not UDP) or `open`.
        user: number of the job's own user; None for the agent's.
        bubblewrap: path of the program.
    """

    level: str = sandbox_levels.NONE
    network: str = "open"
    user: int | None = None
    bubblewrap: str = ""


@dataclass(frozen=True)
class Launch:
    """Command that starts the job with `environment`, after `spec` was written to `spec_path`."""

    command: list[str]
    environment: dict[str, str]
    spec: dict[str, Any] | None = None
    monitored: bool = False
    """True if the command is a parent that waits for the job (and exits with 128 + signal)."""
    network: str = "open"
    """Method by which the job's network access is blocked, as in `SandboxCapabilities`."""


def launch(
    needs: SandboxRequest,
    limits: JobLimits,
    means: SandboxCapabilities,
    *,
    spec_path: str,
    mark: dict[str, str],
    python: str = "",
    groups: tuple[int, ...] = (),
    is_root: bool | None = None,
) -> Launch:
    """Plan the launch of a job by the given means.

    Args:
        needs: the needs of the job.
        limits: the limits of the job.
        means: the sandbox means.
        spec_path: the path of the file for `Launch.spec`.
        mark: environment variables that identify the job's processes, even before the job begins.
        python: the interpreter that runs `confine`; by default the agent's base interpreter.
        groups: groups through which the job's own user may access its devices.
        is_root: whether the agent runs as root; by default determined from the process.
    """
    if means.level == sandbox_levels.NONE:
        return Launch(list(needs.command), needs.environment)
    root = os.geteuid() == 0 if is_root is None else is_root
    python = python or base_python()
    bubblewrap = means.level == sandbox_levels.BUBBLEWRAP
    network = "open" if needs.network else means.network
    spec: dict[str, Any] = {
        "command": list(needs.command),
        "environment": needs.environment,
        "folder": needs.folder,
        "limits": {
            "data_bytes": limits.data_bytes,
            "file_bytes": limits.file_bytes,
            "processes": limits.processes,
        },
        "user": means.user,
        "groups": list(groups),
        "guarded": not bubblewrap,
        "isolate": network == "namespace" and not bubblewrap,
        "landlock": None,
    }
    if means.level == sandbox_levels.LANDLOCK:
        devices = [*(f"/dev/{name}" for name in DEVICES), *needs.devices]
        spec["landlock"] = {
            "read": [*needs.read, "/proc", "/sys"],
            "write": list(needs.write),
            "devices": devices,
            "no_tcp": network == "tcp",
        }
    command = [python, "-I", "-S", "-B", str(CONFINE), spec_path]
    if bubblewrap:
        command = [*_bubblewrap(needs, means, spec_path, root, network), "--", *command]
    return Launch(command, {"PATH": _PATH, **mark}, spec, bubblewrap, network)


def base_python() -> str:
    """Return the base interpreter of this process, outside any virtual environment."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def _bubblewrap(
    needs: SandboxRequest, means: SandboxCapabilities, spec_path: str, root: bool, network: str
) -> list[str]:
    words = [means.bubblewrap, "--die-with-parent", "--new-session"]
    words += ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    if not root:
        words.append("--unshare-user")
    else:
        words += ["--cap-drop", "ALL"]
    if root and means.user is not None:
        # Needed to become the job's own user, which then has no capabilities.
        words += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    if network == "namespace":
        words.append("--unshare-net")
    words += ["--proc", "/proc", "--dev", "/dev"]
    # First, so that later mounts below /tmp appear in it.
    words += ["--bind", needs.scratch, "/tmp", "--bind", needs.shared, "/dev/shm"]  # noqa: S108
    read = _outermost([*needs.read, str(CONFINE), spec_path, "/sys"])
    write = _outermost(needs.write)
    for folder in _above([*read, *write]):
        # Folders that bubblewrap creates implicitly are not accessible to the job's own user.
        words += ["--dir", folder]
    for path in read:
        # A symbolic link is recreated; its target is mounted under its own name.
        link = Path(path).is_symlink()
        words += ["--symlink", str(Path(path).readlink()), path] if link else []
        words += [] if link else ["--ro-bind", path, path]
    for path in write:
        words += ["--bind", path, path]
    for path in needs.devices:
        words += ["--dev-bind", path, path]
    # Not the job's folder: `confine` enters it after it has become the folder's owner.
    return [*words, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/"]


def _above(paths: list[str]) -> list[str]:
    """Return the parent folders of the paths, except those that are inside one of the paths."""
    found: dict[str, None] = {}
    for path in paths:
        parts = path.split("/")[1:-1]
        for depth in range(1, len(parts) + 1):
            found["/" + "/".join(parts[:depth])] = None
    shown = tuple(f"{path}/" for path in paths)
    return [folder for folder in found if not f"{folder}/".startswith(shown)]


def _outermost(paths: list[str] | tuple[str, ...]) -> list[str]:
    """Return the paths that are not inside another one of them."""
    kept: list[str] = []
    for path in sorted(set(paths)):
        if not any(path.startswith(f"{other}/") for other in kept if not Path(other).is_symlink()):
            kept.append(path)
    return kept
