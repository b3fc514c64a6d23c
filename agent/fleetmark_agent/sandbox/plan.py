"""From what a job needs and what a board can do to the command that starts it. Pure.

The agent makes a plan; the supervisor executes its command; `confine` gives up rights and becomes
the job. See these modules.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetmark_agent.sandbox.mounts import DEVICES
from fleetmark_core import sandbox_levels

CONFINE = Path(__file__).with_name("confine.py")
BUBBLEWRAP = "bwrap"
_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True)
class Needs:
    """What one job runs as. Paths are absolute and exist.

    `read`, `write`: files and folders; `folder` is the working directory, `scratch` becomes /tmp
    and `shared` /dev/shm where the job has a root of its own. `devices`: nodes below /dev.
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
class Limits:
    """Of one job; 0: none. Bytes of a process's data, of a file; processes with their threads."""

    data_bytes: int = 0
    file_bytes: int = 0
    processes: int = 0


@dataclass(frozen=True)
class Means:
    """What is used, as it was proven to work.

    `network`: how a job is kept from it: `namespace`, `tcp` (Landlock: no TCP, but UDP) or `open`.
    `user`: number of the job's own user, None for the agent's.
    """

    level: str = sandbox_levels.NONE
    network: str = "open"
    user: int | None = None
    bubblewrap: str = ""


@dataclass(frozen=True)
class Launch:
    """How to start a job: `command` with `environment`, once `spec` is in a file at `spec_path`."""

    command: list[str]
    environment: dict[str, str]
    spec: dict[str, Any] | None = None
    monitored: bool = False
    """Whether the command is not the job itself, but waits for it (and ends with 128 + signal)."""
    network: str = "open"
    """How the job is kept from the network, as in `Means`."""


def launch(
    needs: Needs,
    limits: Limits,
    means: Means,
    *,
    spec_path: str,
    mark: dict[str, str],
    python: str = "",
    groups: tuple[int, ...] = (),
    is_root: bool | None = None,
) -> Launch:
    """The launch of a job by the given means.

    `mark` are variables by which processes of the job are recognised, even before it begins.
    `groups` are those through which the job's own user reaches its devices. `python` runs
    `confine`: by default the interpreter under ours.
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
    """The interpreter under ours."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def _bubblewrap(needs: Needs, means: Means, spec_path: str, root: bool, network: str) -> list[str]:
    words = [means.bubblewrap, "--die-with-parent", "--new-session"]
    words += ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    if not root:
        words.append("--unshare-user")
    else:
        words += ["--cap-drop", "ALL"]
    if root and means.user is not None:
        # To become the job's own user; it has none any more then.
        words += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    if network == "namespace":
        words.append("--unshare-net")
    words += ["--proc", "/proc", "--dev", "/dev"]
    # First: whatever else lies below /tmp is shown in there.
    words += ["--bind", needs.scratch, "/tmp", "--bind", needs.shared, "/dev/shm"]  # noqa: S108
    read = _outermost([*needs.read, str(CONFINE), spec_path, "/sys"])
    write = _outermost(needs.write)
    for folder in _above([*read, *write]):
        # Those that it makes of itself are closed to the job's own user.
        words += ["--dir", folder]
    for path in read:
        # A link is made anew: what it leads to is shown under its own name.
        link = Path(path).is_symlink()
        words += ["--symlink", str(Path(path).readlink()), path] if link else []
        words += [] if link else ["--ro-bind", path, path]
    for path in write:
        words += ["--bind", path, path]
    for path in needs.devices:
        words += ["--dev-bind", path, path]
    # Not into the job's folder: `confine` goes there once it is the user whom it belongs to.
    return [*words, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/"]


def _above(paths: list[str]) -> list[str]:
    """The folders that lead to the paths, but for those that these show themselves."""
    found: dict[str, None] = {}
    for path in paths:
        parts = path.split("/")[1:-1]
        for depth in range(1, len(parts) + 1):
            found["/" + "/".join(parts[:depth])] = None
    shown = tuple(f"{path}/" for path in paths)
    return [folder for folder in found if not f"{folder}/".startswith(shown)]


def _outermost(paths: list[str] | tuple[str, ...]) -> list[str]:
    """Without those that lie within another, which shows them already."""
    kept: list[str] = []
    for path in sorted(set(paths)):
        if not any(path.startswith(f"{other}/") for other in kept if not Path(other).is_symlink()):
            kept.append(path)
    return kept
