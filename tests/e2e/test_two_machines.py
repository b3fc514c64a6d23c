"""Two machines that share a network and nothing else: discovery, paste, approve, run.

The machines are network namespaces with a cable (veth) between them, made as root or, where users
may make namespaces, without.
"""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import noop_benchmark
from tests.support.processes import BIN, environment, until

pytestmark = pytest.mark.e2e
DESK, BOARD = "198.51.100.1", "198.51.100.2"
PORT = 31117


class Machine:
    """One namespace; commands run in it until `end`."""

    def __init__(self, outer: list[str], name: str, folder: Path) -> None:
        self.folder = folder / name
        self.folder.mkdir()
        # A process that does nothing keeps the namespace alive.
        self._keeper = subprocess.Popen([*outer, "unshare", "-n", "sleep", "600"])
        self._children = [self._keeper]
        self.pid = self._sleeper()
        self._enter = ["nsenter", "-t", str(self.pid), "-n"]
        if "-U" in outer or "-Ur" in outer:
            self._enter = ["nsenter", "-t", str(self.pid), "-U", "-n", "--preserve-credentials"]

    def _sleeper(self) -> int:
        import psutil

        end = time.monotonic() + 10
        while time.monotonic() < end:
            try:
                family = [psutil.Process(self._keeper.pid)]
                family += family[0].children(recursive=True)
                for process in family:
                    if process.name() == "sleep":
                        return process.pid
            except psutil.Error:
                pass
            time.sleep(0.02)
        raise AssertionError("no namespace")

    def environment(self) -> dict[str, str]:
        return {
            **environment(),
            "XDG_DATA_HOME": str(self.folder / "data"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
        }

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._enter, *command],
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )

    def spawn(self, *command: str, on: int | None = None) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            child = subprocess.Popen(
                [*self._enter, *command],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log if on is None else on,
                stderr=log,
            )
        self._children.append(child)
        return child

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def end(self) -> None:
        for child in reversed(self._children):
            child.terminate()
        for child in self._children:
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[tuple[Machine, Machine]]:
    if sys.platform != "linux":
        pytest.skip("network namespaces are Linux's")
    outer: list[str] = [] if os.geteuid() == 0 else ["unshare", "-Ur"]
    try:
        possible = subprocess.run(
            [*outer, "unshare", "-n", "true"], capture_output=True, check=False
        ).returncode
    except FileNotFoundError:
        possible = 1
    if possible:
        pytest.skip("this machine makes no network namespaces")
    if outer:
        pytest.skip("a cable between two namespaces needs root here")
    desk, board = Machine(outer, "desk", tmp_path), Machine(outer, "board", tmp_path)
    try:
        cable = f"fm{os.getpid() % 10000}"
        made = subprocess.run(
            [
                *("ip", "link", "add", f"{cable}a", "netns", str(desk.pid), "type", "veth"),
                *("peer", "name", f"{cable}b", "netns", str(board.pid)),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            pytest.skip(f"no cable between namespaces: {made.stderr.strip()}")
        for machine, end, address in ((desk, f"{cable}a", DESK), (board, f"{cable}b", BOARD)):
            for words in (
                f"ip address add {address}/24 dev {end}",
                f"ip link set {end} up",
                "ip link set lo up",
                f"ip route add default dev {end}",
            ):
                done = machine.run(*words.split())
                assert done.returncode == 0, done.stderr
        yield desk, board
    finally:
        print(*(machine.log() for machine in (desk, board) if (machine.folder / "log").exists()))
        desk.end()
        board.end()


class Terminal:
    """What a program prints on a terminal."""

    def __init__(self) -> None:
        self._own, self.theirs = pty.openpty()
        self.text = ""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            try:
                self.text += os.read(self._own, 65536).decode(errors="replace")
            except OSError:
                return


def fleet(desk: Machine) -> list[dict[str, object]]:
    done = desk.run(str(BIN / "controller"), "fleet", "list", "--json")
    return json.loads(done.stdout) if done.returncode == 0 else []  # type: ignore[no-any-return]


def test_paste_approve_run_and_find(machines: tuple[Machine, Machine], tmp_path: Path) -> None:
    desk, board = machines
    terminal = Terminal()
    desk.spawn(
        *(str(BIN / "controller"), "serve", "--listen", f"0.0.0.0:{PORT}"),
        *("--catalog", str(noop_benchmark.make_catalog(tmp_path / "catalog"))),
        on=terminal.theirs,
    )
    until(lambda: "agent start" in terminal.text, "the line to paste", 60)
    pasted = re.search(r"agent start .*", terminal.text)
    assert pasted is not None
    words = shlex.split(pasted.group())
    assert words[2:4] == ["--controller", f"{DESK}:{PORT}"]

    # The line as it stands, on the board.
    marks = tmp_path / "marks"
    marks.mkdir()
    marks.chmod(0o777)
    agent = board.spawn(
        str(BIN / "agent"), *words[1:], "--name", "board-1", "--allow-folder", str(marks)
    )
    until(lambda: fleet(desk), "the board's application", 60)
    assert fleet(desk)[0]["enrollment"] == "pending"
    approved = desk.run(str(BIN / "controller"), "fleet", "approve", "board-1")
    assert approved.returncode == 0, approved.stderr
    until(lambda: fleet(desk)[0]["presence"] == "online", "the board", 60)

    # It works, with no network but the cable: what a job needs comes from the desk.
    done = desk.run(
        *(str(BIN / "controller"), "schedule", "toy", "--fleet", "name=board-1"),
        *("--set", f"marks={marks}", "--wait"),
    )
    assert done.returncode == 0, done.stdout + done.stderr

    # A second board finds the controller by itself: it has a token and no address.
    created = desk.run(str(BIN / "controller"), "token", "create", "--approve", "--json")
    token = json.loads(created.stdout)["token"]
    other = board.folder / "second"
    found = board.spawn(
        *(str(BIN / "agent"), "start", "--home", str(other), "--name", "board-2"),
        *("--token", token),
    )
    until(
        lambda: (
            {d["name"] for d in fleet(desk) if d["presence"] == "online"} == {"board-1", "board-2"}
        ),
        "the board that looked for it",
        60,
    )
    assert f"found a controller at {DESK}:{PORT}" in board.log()
    assert agent.poll() is None and found.poll() is None

    # Nobody else on the cable gets in.
    stranger = board.run(
        *(str(BIN / "controller"), "fleet", "list", "--controller", f"{DESK}:{PORT}")
    )
    assert stranger.returncode == 4 and "no credential" in stranger.stderr
