"""Real controllers and agents as processes, with homes in a temporary folder."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from tests.support.log_lines import LogLine, parse_log

BIN = Path(sys.executable).parent
BYTECODE = Path(sys.prefix) / "test-bytecode"
PATIENCE_S = 120.0


def environment() -> dict[str, str]:
    """Like a fresh user's, with no home that could be written to.

    As in an installed package, each module is compiled once, but not beside the sources.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("PIP_", "SSL_", "LANG", "LC_", "PATH", "TMP"))
    }
    return {**kept, "HOME": "/dev/null", "PYTHONPYCACHEPREFIX": str(BYTECODE)}


_PORTS = count(20200 + os.getpid() % 550 * 20, 2)


def free_port() -> int:
    """Return a free port of loopback that no other test gets.

    Each process begins at another number, below the range of ephemeral ports: a controller that is
    killed and started again must find its port free. The next port, on which devices enroll, is
    free, too.
    """
    for port in _PORTS:
        with socket.socket() as probe, socket.socket() as next_probe:
            try:
                probe.bind(("127.0.0.1", port))
                next_probe.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
    raise AssertionError("unreachable: the count has no end")


def until(look: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait until `look` is true."""
    end = time.monotonic() + patience_s
    while not look():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.05)


class Fleet:
    """One controller and any number of agents."""

    def __init__(self, folder: Path, quarantine_after: int = 0) -> None:
        self.folder = folder
        self.home = folder / "controller"
        self.address = f"127.0.0.1:{free_port()}"
        self._token = ""
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.home.mkdir(parents=True)
        # Outside of the agents' homes, and yet open to jobs, whatever user they run as.
        self.marks = folder / "marks"
        self.marks.mkdir()
        self.marks.chmod(0o777)
        (self.home / "config.toml").write_text(
            "heartbeat_idle_s = 0.5\nheartbeat_running_s = 0.5\nlease_s = 3.0\n"
            # Tests kill what they like; only those of quarantine want it.
            f"quarantine_after = {quarantine_after}\n"
        )

    def start_controller(self, *arguments: str, prefix: Sequence[str] = ()) -> None:
        """Start it and wait until it answers; `prefix` comes before its command line."""
        self._start(
            *("controller", "serve", "--home", str(self.home), "--listen", self.address),
            *arguments,
            prefix=prefix,
        )
        until(lambda: self.run("fleet", "list").returncode == 0, "the controller")

    def start_agent(
        self,
        name: str,
        *arguments: str,
        home: Path | None = None,
        address: str = "",
        prefix: Sequence[str] = (),
        shown_as: str = "",
    ) -> None:
        """Start one and wait until it is online; `prefix` comes before its command line.

        `shown_as` is the name that an operator gave the device.
        """
        home = home or self.folder / name
        address = address or self.address
        self._start(
            "agent",
            *("start", "--home", str(home), "--controller", address, "--name", name),
            *("--allow-folder", str(self.marks)),
            *arguments,
            called=name,
            prefix=prefix,
            token=self.token,
        )
        until(lambda: self.presence(shown_as or name) == "online", f"agent {name}")

    @property
    def token(self) -> str:
        """Return a join token that needs no approval, for any number of devices."""
        if not self._token:
            done = self.run("token", "create", "--approve", "--uses", "1000", "--json")
            assert done.returncode == 0, done.stderr
            self._token = json.loads(done.stdout)["token"]
        return self._token

    @property
    def credentials(self) -> str:
        """Return the credentials file of the administrator."""
        return str(self.home / "identity" / "admin.json")

    def environment(self) -> dict[str, str]:
        """Of a command on the controller's host."""
        return {
            **environment(),
            "FLEETMARK_CONTROLLER": self.address,
            "FLEETMARK_CONTROLLER_HOME": str(self.home),
        }

    def presence(self, name: str) -> str:
        """Return online, suspect, offline, or an empty string."""
        done = self.run("fleet", "list", "--json")
        found = json.loads(done.stdout) if done.returncode == 0 else []
        return next((d["presence"] for d in found if d["name"] == name), "")

    def run(
        self, *arguments: str, timeout_s: float = PATIENCE_S
    ) -> subprocess.CompletedProcess[str]:
        """Run one `controller` command."""
        return subprocess.run(
            [str(BIN / "controller"), *arguments],
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a `controller` command in the background; its output is piped."""
        return subprocess.Popen(
            [str(BIN / "controller"), *arguments],
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal and wait for the end."""
        self.children[name].send_signal(number)
        self.children[name].wait(30)

    def log(self, name: str) -> str:
        """Return the output of a child."""
        return (self.folder / f"{name}.log").read_text()

    def logged(self, name: str) -> list[LogLine]:
        """Return the lines of a child's log."""
        return parse_log(self.log(name))

    def query(self, sql: str) -> list[tuple[object, ...]]:
        """Return rows of the store."""
        with sqlite3.connect(self.home / "results.db") as connection:
            return connection.execute(sql).fetchall()

    def stop(self) -> None:
        """End all children."""
        for child in self.children.values():
            if child.poll() is None:
                child.terminate()
        for child in self.children.values():
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _start(
        self,
        program: str,
        *arguments: str,
        called: str = "",
        token: str = "",
        prefix: Sequence[str] = (),
    ) -> None:
        with (self.folder / f"{called or program}.log").open("ab") as log:
            self.children[called or program] = subprocess.Popen(
                [*prefix, str(BIN / program), *arguments],
                env={**environment(), **({"FLEETMARK_TOKEN": token} if token else {})},
                stdout=log,
                stderr=log,
            )


@contextmanager
def fleet_in(folder: Path, quarantine_after: int = 0) -> Iterator[Fleet]:
    """Yield a fleet whose processes end with the block."""
    fleet = Fleet(folder, quarantine_after)
    try:
        yield fleet
    finally:
        fleet.stop()


def overlaps(trace: Path) -> list[str]:
    """Return attempts that ran at the same time, by the device's own trace."""
    running: set[str] = set()
    found = []
    for line in trace.read_text().splitlines():
        event = json.loads(line)
        attempt = f"{event['job_id']}.{event['epoch']}"
        if event["event"] == "started":
            if running:
                found.append(f"{attempt} began while {running} ran")
            running.add(attempt)
        elif event["event"] == "ended":
            running.discard(attempt)
    return found
