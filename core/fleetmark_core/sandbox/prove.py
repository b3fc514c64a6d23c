"""Detection of the device's sandbox level by running each sandbox, strongest level first.

An installed program or an existing system call proves nothing: containers, kernels and security
modules forbid namespaces in many ways. So a small job runs in each sandbox in turn and reports what
it can do. The first sandbox whose guarantees hold becomes the level of the device.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fleetmark_core import sandbox_levels
from fleetmark_core.capabilities import Sandbox, Shortfall
from fleetmark_core.sandbox import confine, control_groups
from fleetmark_core.sandbox.mounts import python_paths, system_paths
from fleetmark_core.sandbox.plan import (
    BUBBLEWRAP,
    JobLimits,
    SandboxCapabilities,
    SandboxRequest,
    base_python,
    launch,
)

PROGRAMS = "/usr/local/bin:/usr/bin:/bin"
_TIMEOUT_S = 60.0
_PROCESSES = 4000
_FIRST_USER, _USERS = 1_879_048_192, 268_000_000
"""User numbers that no distribution assigns: see `Users, Groups, UIDs and GIDs` of systemd."""

_QUESTION = """
import json, os, resource, socket, sys
asked = json.loads(sys.argv[1])
def works(do):
    try:
        do()
    except OSError:
        return False
    return True
def refused():
    with socket.socket() as caller:
        caller.settimeout(5)
        try:
            caller.connect(tuple(asked["listener"]))
        except PermissionError:
            return True
        except OSError:
            return False
    return False
print(json.dumps({
    "works": works(lambda: open("proof", "w").write("x")),
    "reads": works(lambda: open(asked["secret"]).read()),
    "tried": works(lambda: open(asked["outside"], "w").write("x")),
    "user": os.getuid(),
    "pid": os.getpid(),
    "interfaces": [name for _, name in socket.if_nameindex()],
    "refused": refused(),
    "processes": resource.getrlimit(resource.RLIMIT_NPROC)[0],
}))
"""
_NAMESPACES = (
    "allow namespaces to ordinary users: sysctl -w user.max_user_namespaces=10000, and where they "
    "exist kernel.unprivileged_userns_clone=1 and kernel.apparmor_restrict_unprivileged_userns=0"
)


def prove(home: Path, strongest: str = sandbox_levels.BUBBLEWRAP) -> Sandbox:
    """Return the sandbox of jobs on this device, and what prevents a stronger one.

    Args:
        home: the agent's home; jobs run below it.
        strongest: the strongest level that the operator allows.
    """
    shortfalls: list[Shortfall] = []
    group, why = control_groups.usable()
    if strongest != sandbox_levels.BUBBLEWRAP:
        reason = f"the setting sandbox = {strongest!r} does not allow it"
        shortfalls.append(
            Shortfall(sandbox_levels.BUBBLEWRAP, reason, "remove that line from config.toml")
        )
    if strongest == sandbox_levels.NONE or sys.platform == "win32":
        return Sandbox(sandbox_levels.NONE, "open", None, None, tuple(shortfalls))
    with _workspace(home) as folder:
        proof = _Proof(folder)
        for level in reversed(sandbox_levels.LEVELS[1 : sandbox_levels.rank(strongest) + 1]):
            means, reasons = proof.best(level)
            if means is None:
                shortfalls.append(Shortfall(level, reasons[-1], _remedy(level, reasons[-1])))
                continue
            if why:
                shortfalls.append(Shortfall("control group", why, control_groups.REMEDY))
            shortfalls.extend(_weak_points(means, reasons))
            return Sandbox(level, means.network, means.user, group, tuple(shortfalls))
    return Sandbox(sandbox_levels.NONE, "open", None, None, tuple(shortfalls))


def means_of(proven: Sandbox | None) -> SandboxCapabilities:
    """Return the means to start a job in the proven sandbox."""
    if proven is None:
        return SandboxCapabilities()
    program = shutil.which(BUBBLEWRAP, path=PROGRAMS) or ""
    return SandboxCapabilities(proven.level, proven.network, proven.user, program)


def own_user(home: Path) -> int:
    """Return the user number with which a root agent with this home runs its jobs."""
    return _FIRST_USER + zlib.crc32(os.fsencode(os.path.realpath(home))) % _USERS


class _Proof:
    """Test that runs one small job in each sandbox in turn."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "out"
        self.secret = folder / "secret"
        self.outside = folder / "outside"
        self.python = base_python()
        read = system_paths(network=False, hidden=[folder.parent])
        self.read = (*read, *python_paths(self.python, hidden=[folder.parent]))

    def best(self, level: str) -> tuple[SandboxCapabilities | None, list[str]]:
        """Return the best working means of a level, or None; and why better ones failed."""
        reasons: list[str] = []
        for means in self._candidates(level, reasons):
            reason = self._try(means)
            if not reason:
                return means, reasons
            reasons.append(reason)
        return None, reasons

    def _candidates(self, level: str, reasons: list[str]) -> Iterator[SandboxCapabilities]:
        users = (own_user(self.folder.parent), None) if os.geteuid() == 0 else (None,)
        networks: tuple[str, ...] = ("namespace", "tcp", "open")
        program = ""
        if level == sandbox_levels.BUBBLEWRAP:
            program = shutil.which(BUBBLEWRAP, path=PROGRAMS) or ""
            if not program:
                reasons.append(f"{BUBBLEWRAP} is not installed")
                return
            networks = ("namespace",)
        elif level == sandbox_levels.LANDLOCK:
            abi = confine.landlock_abi()
            if abi < 1:
                reasons.append("the kernel has no Landlock, or it is disabled")
                return
            networks = networks if abi >= 4 else ("namespace", "open")
        elif level == sandbox_levels.LIMITS:
            networks = ("namespace", "open")
        for user in users:
            for network in networks:
                yield SandboxCapabilities(level, network, user, program)

    def _try(self, means: SandboxCapabilities) -> str:
        """Run the small job; return the first violated guarantee, or an empty string."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            asked = {
                "secret": str(self.secret),
                "outside": str(self.outside),
                "listener": listener.getsockname(),
            }
            answer = self._run(means, json.dumps(asked))
        if isinstance(answer, str):
            return answer
        # Inside the sandbox the path may be a private one: only a file that exists outside counts.
        answer["writes"] = self.outside.exists()
        self.outside.unlink(missing_ok=True)
        confined = means.level in (sandbox_levels.LANDLOCK, sandbox_levels.BUBBLEWRAP)
        faults = {
            "the job cannot write its results": not answer["works"],
            "the job can read other files": answer["reads"]
            and (confined or means.user is not None),
            "the job can write outside its folders": answer["writes"]
            and (confined or means.user is not None),
            "the job runs as another user": means.user is not None and answer["user"] != means.user,
            "the job can see other processes": means.level == sandbox_levels.BUBBLEWRAP
            and answer["pid"] > 10,
            "the job has network access": means.network == "namespace"
            and answer["interfaces"] != ["lo"],
            "the job can use TCP": means.network == "tcp" and not answer["refused"],
            "the resource limits have no effect": answer["processes"] != _PROCESSES,
        }
        return next((f"{means.level}: {what}" for what, fault in faults.items() if fault), "")

    def _make_folders(self, user: int | None) -> None:
        for path in (self.out, self.folder / "tmp", self.folder / "shm"):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir()
            # The same modes as an attempt's folders: private, but with passage through tmp and shm.
            path.chmod(0o700 if path == self.out else 0o711)
            if user is not None:
                os.chown(path, user, user)

    def _run(self, means: SandboxCapabilities, asked: str) -> dict[str, Any] | str:
        try:
            self._make_folders(means.user)
        except OSError as error:
            # In a user namespace that maps only root, no other user exists.
            return f"cannot create a folder for user {means.user}: {error.strerror}"
        needs = SandboxRequest(
            command=(self.python, "-I", "-S", "-B", "-c", _QUESTION, asked),
            environment={"PATH": PROGRAMS},
            folder=str(self.out),
            scratch=str(self.folder / "tmp"),
            shared=str(self.folder / "shm"),
            read=self.read,
            write=(str(self.out), str(self.folder / "tmp")),
        )
        path = self.folder / "sandbox.json"
        made = launch(needs, JobLimits(processes=_PROCESSES), means, spec_path=str(path), mark={})
        path.write_text(json.dumps(made.spec))
        try:
            done = subprocess.run(
                made.command,
                env=made.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT_S,
                check=False,
                umask=0o022,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"the test job does not run: {error}"
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines()
            return (
                lines[-1][:300] if lines else f"the test job ended with exit code {done.returncode}"
            )
        try:
            values: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            return f"the test job printed {done.stdout[:80]!r}"
        return values


@contextmanager
def _workspace(home: Path) -> Iterator[Path]:
    """Create a folder below the home, where jobs run too, or elsewhere if there is no home yet."""
    parent: Path | None = home
    if not os.access(home, os.W_OK) or home == Path("/"):
        parent = None
    folder = Path(tempfile.mkdtemp(prefix=".proof-", dir=parent))
    try:
        # As accessible as an attempt's folder: the parent folders keep other users out.
        folder.chmod(0o755)
        (folder / "secret").write_text("secret")
        (folder / "secret").chmod(0o600)
        yield folder
    finally:
        with suppress(OSError):
            shutil.rmtree(folder)


def _weak_points(means: SandboxCapabilities, reasons: list[str]) -> Iterator[Shortfall]:
    """Yield the weaknesses within the level that was reached."""
    if os.geteuid() == 0 and means.user is None:
        yield Shortfall(
            "own user",
            f"jobs run as root: {reasons[0] if reasons else 'no other user is available'}",
            "run the agent as a dedicated user (deploy/install-agent.sh does), or give other users"
            " access to the folders above its home and its Python: chmod o+x",
        )
    if means.network != "namespace":
        kept = "only TCP is blocked" if means.network == "tcp" else "it is not blocked"
        yield Shortfall(
            "network",
            f"jobs have network access, {kept}: a network namespace cannot be created",
            _NAMESPACES,
        )


def _remedy(level: str, reason: str) -> str:
    if level == sandbox_levels.BUBBLEWRAP and "not installed" in reason:
        return (
            "install it: apt-get install bubblewrap, dnf install bubblewrap, "
            "or apk add bubblewrap; then restart the agent"
        )
    if level == sandbox_levels.BUBBLEWRAP:
        return _NAMESPACES
    if level == sandbox_levels.LANDLOCK:
        return "use a kernel from 5.13 with CONFIG_SECURITY_LANDLOCK, and landlock among its lsm="
    return "use a system that enforces resource limits (setrlimit)"
