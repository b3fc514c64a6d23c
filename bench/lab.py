"""Real processes for the benches: a controller and agents in a scratch folder, on loopback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

BIN = Path(sys.executable).parent
PATIENCE_S = 120.0
_PORTS = iter(range(23000, 32000, 2))


def free_port() -> int:
    """Return an unused port of loopback, below the range of ephemeral ports.

    The next port is unused as well: the enrollment service listens there.
    """
    for port in _PORTS:
        with socket.socket() as probe, socket.socket() as entry:
            try:
                probe.bind(("127.0.0.1", port))
                entry.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
    raise OSError("no port is free")


def until(
    look: Callable[[], object], what: str, patience_s: float = PATIENCE_S, every_s: float = 0.05
) -> None:
    """Wait until `look` returns a true value.

    Raises:
        TimeoutError: it did not in time.
    """
    end = time.monotonic() + patience_s
    while not look():
        if time.monotonic() > end:
            raise TimeoutError(f"waited in vain for {what}")
        time.sleep(every_s)


class Lab:
    """A scratch folder and the processes started in it, which end with the `with` block."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`, which must be empty."""
        self.folder = folder
        self.address = f"127.0.0.1:{free_port()}"
        self.children: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name in reversed(list(self.children)):
            self.stop(name)

    def environment(self) -> dict[str, str]:
        """Return the user's environment with a private folder for compiled modules.

        On a device, modules are compiled already. Compiling them here would count as memory, and
        would write to the source tree.
        """
        dropped = ("PYTHON", "FLEETMARK_", "MALLOC_")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
        return {**kept, "PYTHONPYCACHEPREFIX": str(self.folder / "pycache")}

    def start(self, name: str, command: Sequence[str], token: str = "") -> subprocess.Popen[bytes]:
        """Start a program under a name; its output is appended to its log."""
        extra = {"FLEETMARK_TOKEN": token} if token else {}
        with (self.folder / f"{name}.log").open("ab") as log:
            self.children[name] = subprocess.Popen(
                [*command],
                env={**self.environment(), **extra},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self.children[name]

    def stop(self, name: str) -> None:
        """Stop a program and wait for its end."""
        child = self.children.pop(name)
        child.terminate()
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def start_controller(self, settings: str = "") -> None:
        """Start a controller with a new home and `settings` as its config.toml."""
        home = self.folder / "controller"
        home.mkdir(exist_ok=True)
        (home / "config.toml").write_text(settings)
        self.start(
            "controller",
            [str(BIN / "controller"), "serve", "--home", str(home), "--listen", self.address],
        )
        host, _, port = self.address.rpartition(":")

        def answers() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex((host, int(port))) == 0

        until(lambda: answers() or self._ended("controller"), "the controller")

    def start_agent(self, name: str, settings: str = "") -> float:
        """Start an agent with the home `name`; return the seconds until it was registered.

        A new home first enrolls in a separate start, which is not measured.
        """
        home = self.folder / name
        home.mkdir(exist_ok=True)
        (home / "config.toml").write_text(settings)
        if not (home / "identity" / "certificate.pem").exists():
            words = ("token", "create", "--approve", "--json")
            self._start_agent(name, home, json.loads(self.controller(*words))["token"])
            self.stop(name)
        return self._start_agent(name, home)

    def _start_agent(self, name: str, home: Path, token: str = "") -> float:
        words = ("start", "--home", str(home), "--controller", self.address, "--name", name)
        began = time.monotonic()
        child = self.start(name, [str(BIN / "agent"), *words], token)

        def registered() -> bool:
            # The agent writes this file after the controller's welcome.
            try:
                status = json.loads((home / "status.json").read_bytes())
            except (OSError, ValueError):
                return self._ended(name)
            return self._ended(name) or (status["connected"] and status["pid"] == child.pid)

        until(registered, f"agent {name}", every_s=0.002)
        return time.monotonic() - began

    def controller(self, *words: str, may_end_with: Sequence[int] = (0,)) -> str:
        """Run a `controller` command; return its output.

        Raises:
            RuntimeError: it ended with an unexpected exit code.
        """
        done = subprocess.run(
            [str(BIN / "controller"), *words],
            env={
                **self.environment(),
                "FLEETMARK_CONTROLLER": self.address,
                "FLEETMARK_CONTROLLER_HOME": str(self.folder / "controller"),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in may_end_with:
            raise RuntimeError(f"controller {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def _ended(self, name: str) -> bool:
        code = self.children[name].poll()
        if code is None:
            return False
        words = (self.folder / f"{name}.log").read_text(errors="replace").strip().splitlines()
        raise RuntimeError(f"{name} ended with {code}: {words[-1] if words else 'no word'}")
