"""Damages each file of real homes in each way, and starts the program on the result."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.security.damage.damages import DAMAGES
from tests.security.damage.programs import Homes
from tests.support import noop_benchmark
from tests.support.processes import BIN, Fleet, environment, fleet_in, free_port, until

START_S = 30.0
"""How long a start may take on a machine that does other work, too."""
END_S = 15.0
WORKERS = 2
_EXIT_CODES = (2, 4)
"""Of `fleetmark_core.errors`: a file that is not valid, or a home that is refused."""
_CONNECTED = "controller connected"
_ADVICE = re.compile(
    r"\b(Restore|restore|Remove|remove|Mend|Repair|Correct|Create|Give|Free|Make|Name|Choose|Run|Move)\b"
)


@dataclass
class End:
    """How a start went: `code` is None if the program served until it was asked to end."""

    code: int | None
    output: str
    seconds: float
    fault: str = ""


def record(folder: Path) -> Homes:
    """Run both programs: one job that finishes, and one whose results wait on the device."""
    with fleet_in(folder) as fleet:
        catalog = noop_benchmark.make_catalog(folder / "added")
        fleet.start_controller()
        _command(fleet, "catalog", "add", str(catalog))
        fleet.start_agent("bench1")
        agent = folder / "bench1"
        until((agent / "software.json").exists, "the detected software")
        schedule = ("schedule", noop_benchmark.NAME, "--param", f"marks={fleet.marks}")
        _command(fleet, *schedule, "--wait")
        _command(fleet, *schedule, "--param", "duration_s=2.0")
        until(lambda: len(list(fleet.marks.glob("*.begin"))) == 2, "the second job")
        fleet.kill("controller")
        until(lambda: _attempt_states(agent) == ["ended"], "results that wait")
        fleet.kill("bench1")
    with (fleet.home / "config.toml").open("a") as config:
        config.write("advertise = false\n")
    (agent / "config.toml").write_text("detect_interval_s = 0\n")
    return Homes(fleet.home, agent)


def files_of(home: Path) -> list[str]:
    """Return the names of all files of a home."""
    return sorted(
        str(path.relative_to(home))
        for path in home.rglob("*")
        if path.is_file() and not path.is_symlink()
    )


def sweep(home: Path, scratch: Path, start: Callable[[Path], End]) -> Iterator[tuple[str, End]]:
    """Start a program on a copy of its home for each file and each damage; yield what happened."""
    numbers = iter(range(1 << 20))

    def attempt(name: str, damage: str) -> tuple[str, End]:
        copy = scratch / str(next(numbers)) / home.name
        shutil.copytree(home, copy, symlinks=True)
        try:
            DAMAGES[damage](copy / name)
            before = ca_of(copy)
            end = start(copy)
            end.fault = (
                end.fault or _fault_of_end(end, Path(name)) or _fault_of_home(copy, before, end)
            )
            return f"{name} is {damage}", end
        finally:
            shutil.rmtree(copy.parent)

    with ThreadPoolExecutor(WORKERS) as pool:
        futures = [pool.submit(attempt, name, how) for name in files_of(home) for how in DAMAGES]
        for future in futures:
            yield future.result()


def start_controller(home: Path) -> End:
    """Run a controller until it serves or ends."""
    words = ["serve", "--home", str(home), "--listen", f"127.0.0.1:{free_port()}"]
    return _start("controller", words, lambda line: line.startswith("Controller ready"))


def start_agent(home: Path, address: str) -> End:
    """Run an agent until it is connected to the controller at `address`, or ends."""
    words = ["start", "--home", str(home), "--controller", address, "--name", "bench1"]
    return _start("agent", words, lambda line: _CONNECTED in line)


@contextmanager
def served(home: Path, scratch: Path) -> Iterator[str]:
    """Run a controller on a copy of a home, and yield its address."""
    copy = scratch / "served"
    shutil.copytree(home, copy)
    address = f"127.0.0.1:{free_port()}"
    with (scratch / "served.log").open("wb") as log:
        words = [str(BIN / "controller"), "serve", "--home", str(copy), "--listen", address]
        child = subprocess.Popen(words, env=environment(), stdout=log, stderr=log)
    try:
        until(lambda: "Controller ready" in (scratch / "served.log").read_text(), "the controller")
        yield address
    finally:
        child.terminate()
        child.wait(END_S)


def _start(program: str, words: list[str], is_ready: Callable[[str], bool]) -> End:
    began = time.monotonic()
    child = subprocess.Popen(
        [str(BIN / program), *words],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    output: list[str] = []
    ready = threading.Event()

    def listen() -> None:
        assert child.stdout is not None
        for line in child.stdout:
            output.append(line)
            if is_ready(line):
                ready.set()
        ready.set()

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        fault = "" if ready.wait(START_S) else f"neither ended nor served within {START_S:g} s"
        took = time.monotonic() - began
        served_ = any(map(is_ready, output))
        if served_ and not fault:
            time.sleep(0.5)
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        try:
            code = child.wait(0 if fault else END_S)
        except subprocess.TimeoutExpired:
            fault = fault or "did not end after SIGTERM"
            child.kill()
            code = child.wait()
    finally:
        if child.poll() is None:
            child.kill()
        listener.join()
        assert child.stdout is not None
        child.stdout.close()
    return End(None if served_ and code == 0 else code, "".join(output), took, fault)


def _fault_of_end(end: End, name: Path) -> str:
    if "Traceback" in end.output:
        return "shows a traceback"
    if end.code is None:
        return ""
    if end.code not in _EXIT_CODES:
        return f"ends with status {end.code}"
    lines = [
        line
        for line in end.output.splitlines()
        if line and not line.startswith(("{", "Controller ", "Start "))
    ]
    if len(lines) != 1:
        return f"says {len(lines)} lines"
    if name.name not in lines[0]:
        return "does not name the file"
    return "" if _ADVICE.search(lines[0]) else "does not say what to do"


def _fault_of_home(home: Path, ca: bytes | None, end: End) -> str:
    now = ca_of(home)
    if now != ca:
        return "has another CA"
    store = home / "results.db"
    if end.code is None and home.name == "controller":
        with closing(sqlite3.connect(store)) as connection:
            (devices,) = connection.execute("SELECT count(*) FROM device").fetchone()
        return "" if devices else "serves an empty store"
    return ""


def ca_of(home: Path) -> bytes | None:
    """Return the bytes of a home's CA; None if there is no such file."""
    path = home / "identity" / "ca.pem"
    return path.read_bytes() if path.is_file() else None


def _attempt_states(home: Path) -> list[str]:
    values = json.loads((home / "ledger.json").read_text())
    return [entry["standing"] for entry in values["attempts"]]


def _command(fleet: Fleet, *words: str) -> None:
    done = fleet.run(*words)
    assert done.returncode == 0, done.stderr
