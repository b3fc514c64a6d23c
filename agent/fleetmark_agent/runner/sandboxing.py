"""Launch of a job in the sandbox that the device was proven to support."""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetmark_agent.cache.archives import archive_folder
from fleetmark_agent.cache.blob_cache import Cache, storage_error
from fleetmark_agent.cache.environments import python_folder
from fleetmark_agent.config.settings import AgentSettings
from fleetmark_agent.errors import Refusal
from fleetmark_agent.runner.context import RunnerContext
from fleetmark_agent.runner.prepare import Bundle, job_environment
from fleetmark_agent.runner.workspace import Workspace
from fleetmark_core import sandbox_levels
from fleetmark_core.atomic_file import write_atomic
from fleetmark_core.failure_cause import FailureCause
from fleetmark_core.resource_model import HELPERS_BYTES
from fleetmark_core.sandbox import control_groups
from fleetmark_core.sandbox.mounts import device_nodes, python_paths, system_paths
from fleetmark_core.sandbox.plan import (
    JobLimits,
    Launch,
    SandboxCapabilities,
    SandboxRequest,
    base_python,
    launch,
)
from fleetmark_core.sandbox.prove import means_of

_PROCESSES, _PROCESSES_PER_CORE = 512, 16
_LAUNCH = Path(__file__).with_name("launch.py")


@dataclass(frozen=True)
class SandboxedCommand:
    """Launch, limits and control group of a job; `provenance` describes its sandbox in the run."""

    launch: Launch
    limits: dict[str, int]
    scratch: list[str]
    control_group: str
    provenance: dict[str, Any]


def check(bundle: Bundle, site: RunnerContext) -> None:
    """Verify that the device's sandbox and settings permit the job.

    Raises:
        Refusal: the order requires a stronger sandbox than the device has, or the job needs the
            network and is not allowed to use it. The message says what would change that.
    """
    proven = site.capabilities.sandbox
    level = sandbox_levels.NONE if proven is None else proven.level
    wanted = bundle.order.min_sandbox
    if not sandbox_levels.at_least(level, wanted):
        raise Refusal(
            f"the job requires sandbox level {wanted} or stronger, this device has {level}: "
            "`agent doctor` shows how to raise it",
            retryable=False,
            cause=FailureCause.JOB,
        )
    program = bundle.lock.program
    if program.network and not site.settings.allow_network:
        raise Refusal(
            "the job requires network access, which its sandbox blocks: start the agent with "
            "--allow-network to allow it",
            retryable=False,
            cause=FailureCause.JOB,
        )


def confine(
    bundle: Bundle,
    command: list[str],
    environment: Path,
    site: RunnerContext,
    workspace: Workspace,
    available_bytes: int | None,
) -> SandboxedCommand:
    """Write the files that start the job in its sandbox, and give the job's user access to them.

    Args:
        bundle: the order, its lockfile and the interpreter.
        command: the expanded command of the job.
        environment: the folder of the job's environment.
        site: what all attempts on the device share.
        workspace: the workspace of the attempt.
        available_bytes: memory that is free now; None if unknown.

    Raises:
        Refusal: the files cannot be written.
    """
    settings, lock, cache = site.settings, bundle.lock, site.cache
    means = means_of(site.capabilities.sandbox)
    nodes = device_nodes(lock.program.devices)
    needs = SandboxRequest(
        command=tuple(command),
        environment=job_environment(lock, workspace, cache),
        folder=str(workspace.out),
        scratch=str(workspace.temporary),
        shared=str(workspace.shared),
        read=tuple(_read(bundle, command, environment, site, workspace)),
        write=(
            *map(str, (workspace.out, workspace.home, workspace.temporary)),
            *settings.allow_folders,
        ),
        devices=tuple(nodes),
        network=lock.program.network,
    )
    memory = _memory(settings, available_bytes, bundle.order.memory_bytes)
    processes = settings.job_processes or _PROCESSES + _PROCESSES_PER_CORE * (os.cpu_count() or 1)
    scratch = max(settings.job_scratch_bytes, 2 * bundle.order.output_bytes)
    group = "" if means.level == sandbox_levels.NONE else _group(site, workspace, memory, processes)
    made = launch(
        needs,
        JobLimits(
            # Drivers of accelerators reserve far more memory than they use.
            data_bytes=0 if nodes else memory,
            file_bytes=scratch,
            # The kernel counts all processes of a user; without a user of its own, the job shares
            # the count with the agent.
            processes=processes + (0 if means.user is not None else _own_tasks()),
        ),
        means,
        spec_path=str(workspace.sandbox),
        mark={"FLEETMARK_JOB": str(workspace.job)},
        groups=tuple(_groups(nodes)),
    )
    details = {
        "level": means.level,
        "network": "allowed" if needs.network else made.network,
        "user": means.user,
        "control_group": bool(group),
        "devices": nodes,
        "folders": list(settings.allow_folders),
    }
    limits = {"memory_bytes": memory, "processes": processes, "scratch_bytes": scratch}
    if means.level == sandbox_levels.NONE:
        return SandboxedCommand(made, {}, [], "", details)
    try:
        if made.spec is not None:
            write_atomic(workspace.sandbox, json.dumps(made.spec).encode(), durable=False)
        _hand_over(workspace, environment, cache, bundle, means)
    except OSError as error:
        raise storage_error(error, site.attempts, "the workspace of the job") from error
    paths = [*needs.write[:3], needs.shared]
    return SandboxedCommand(made, limits, paths, group, {**details, "limits": limits})


def _read(
    bundle: Bundle, command: list[str], environment: Path, site: RunnerContext, workspace: Workspace
) -> list[str]:
    """Return the paths that the job may read but not change."""
    lock, cache = bundle.lock, site.cache
    hidden = [site.settings.home]
    paths = [str(path) for path in (environment, workspace.program, workspace.inputs, _LAUNCH)]
    paths += [str(workspace.job), str(workspace.sandbox)]
    paths += [str(cache.environments / archive_folder(a)) for a in lock.environment.archives]
    provided = lock.environment.provided
    if provided is not None:
        paths.append(str(cache.environments / python_folder(provided)))
    else:
        paths += python_paths(bundle.interpreter.path, hidden)
    paths += python_paths(base_python(), hidden)
    return [*system_paths(lock.program.network, hidden), *paths]


def _memory(settings: AgentSettings, available_bytes: int | None, needed_bytes: int) -> int:
    """Return the memory limit of the job: the free memory without what agent and helpers need."""
    if settings.job_memory_bytes:
        return settings.job_memory_bytes
    if available_bytes is None:
        return 0
    return max(available_bytes - HELPERS_BYTES, needed_bytes)


def _group(site: RunnerContext, workspace: Workspace, memory: int, processes: int) -> str:
    """Create the job's control group; return "" if that fails, because other limits still apply."""
    proven = site.capabilities.sandbox
    if proven is None or proven.control_group is None:
        return ""
    folder = Path(proven.control_group)
    with suppress(OSError):
        control_groups.prepare(folder)
        name = f"fleetmark-{workspace.key.name}"
        return str(control_groups.make(folder, name, memory, processes))
    return ""


def _groups(nodes: list[str]) -> set[int]:
    """Return the groups that may read the nodes, for a user that is in no group."""
    found: set[int] = set()
    for node in nodes:
        with suppress(OSError):
            state = Path(node).stat()
            if state.st_mode & stat.S_IRGRP and state.st_gid != 0:
                found.add(state.st_gid)
    return found


def _own_tasks() -> int:
    """Return the number of threads of all processes of this user."""
    own, count = os.getuid(), 0
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if entry.stat().st_uid == own:
                count += sum(1 for _ in (entry / "task").iterdir())
    return count


def _hand_over(
    workspace: Workspace,
    environment: Path,
    cache: Cache,
    bundle: Bundle,
    means: SandboxCapabilities,
) -> None:
    """Make the job's own user the owner of its folders, and let it read what it runs."""
    if means.user is None:
        return
    for folder in (workspace.out, workspace.home, workspace.temporary, workspace.shared):
        os.chown(folder, means.user, means.user)
        # Mounts below /tmp appear in the scratch folder, so other users must be able to pass
        # through.
        folder.chmod(0o711 if folder in (workspace.temporary, workspace.shared) else 0o700)
    workspace.root.chmod(0o711)
    for path in (workspace.job, workspace.sandbox):
        path.chmod(0o644)
    for folder in (workspace.program, workspace.inputs):
        open_to_all(folder)
    provided = bundle.lock.environment.provided
    folders = [archive_folder(package) for package in bundle.lock.environment.archives]
    folders += [] if provided is None else [python_folder(provided)]
    for folder in (environment, *(cache.environments / name for name in folders)):
        open_to_all(folder)
    # Parent folders must be passable even without bubblewrap, but not listable.
    for folder in (cache.root, cache.environments, workspace.root.parent):
        folder.chmod(stat.S_IMODE(folder.stat().st_mode) | 0o111)


def open_to_all(folder: Path) -> None:
    """Make everything below the folder world-readable; the folder itself last, as a marker."""
    if stat.S_IMODE(folder.stat().st_mode) & 0o005 == 0o005:
        return
    for parent, folders, files in os.walk(folder):
        for name in files:
            path = Path(parent, name)
            mode = stat.S_IMODE(path.lstat().st_mode)
            if not path.is_symlink() and mode & 0o444 != 0o444:
                path.chmod(mode | 0o444 | (0o111 if mode & 0o100 else 0))
        for name in folders:
            Path(parent, name).chmod(0o755)
    folder.chmod(0o755)
