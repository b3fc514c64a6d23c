"""A fleet of real processes that faults strike, and what must hold of it afterwards."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from fleetmark_controller.evaluation.records import parse_sealed
from fleetmark_controller.identity.audit_chain import Row, find_break
from fleetmark_core.errors import FleetmarkError
from fleetmark_core.records import Record
from tests.support.log_lines import shown
from tests.support.noop_benchmark import NAME, make_catalog
from tests.support.processes import BIN, Fleet, environment, overlaps, until
from tests.support.wire import Wire

INJECT = Path(__file__).parent / "inject"
LEASE_S = 3.0
# A wire takes the connection and then drops it: to TLS that is a peer which closes.
AWAY = r"no controller answers|the server at .* closed the connection|stream to .* has ended"
"""Log lines of an agent whose controller does not answer."""
TERMINAL = ("SUCCEEDED", "INVALID", "FAILED", "CANCELLED")
_SAMPLE_S = 0.05


class FaultyDevice:
    """One agent's home and wire."""

    def __init__(self, name: str, home: Path, wire: Wire) -> None:
        self.name, self.home, self.wire = name, home, wire

    @property
    def trace(self) -> Path:
        return self.home / "trace.jsonl"

    def status(self) -> dict[str, object]:
        """Return the agent's status file; empty if there is none."""
        try:
            return json.loads((self.home / "status.json").read_text())
        except (OSError, ValueError):
            return {}

    def supervisor(self) -> psutil.Process | None:
        """Return the supervisor of the running attempt."""
        for mark in self.home.glob("attempts/*/started.json"):
            with suppress(OSError, ValueError, KeyError, psutil.Error):
                process = psutil.Process(json.loads(mark.read_text())["pid"])
                if any(word.endswith("supervisor.py") for word in process.cmdline()):
                    return process
        return None

    def job(self) -> psutil.Process | None:
        """Return the job's first process."""
        supervisor = self.supervisor()
        with suppress(psutil.Error):
            return next(iter(supervisor.children()), None) if supervisor else None
        return None


class FaultyFleet(Fleet):
    """Controller, agents with a wire each, and a campaign of short jobs."""

    def __init__(self, folder: Path, devices: int, dataset_bytes: int = 0) -> None:
        super().__init__(folder)
        self.catalog = make_catalog(folder / "catalog", dataset_bytes)
        self.devices: dict[str, FaultyDevice] = {}
        self.prefix: list[str] = []
        """Put before each command line: to run it in a namespace, say."""
        self.extra: dict[str, dict[str, str]] = {}
        """Further environment variables of one process, by its name."""
        self.excused: set[tuple[str, int]] = set()
        """Attempts whose job a fault has killed: not complete, whatever marks they left."""
        self.measured: dict[str, float] = {}
        self.notes: list[str] = []
        """What commands said that a fault made fail."""
        self.at_end: list[Callable[[], object]] = []
        """Called after the last process has ended."""
        self._over_at: float | None = None
        self._history: list[tuple[float, int]] = []
        self._watching = threading.Event()
        for number in range(1, devices + 1):
            name = f"device{number}"
            (folder / name).mkdir()
            self.devices[name] = FaultyDevice(name, folder / name, Wire(self.address))

    # --- processes ---

    def up(self) -> None:
        """Start everything."""
        self.start_controller()
        for name in self.devices:
            self.spawn_agent(name)
        for name in self.devices:
            self.await_agent(name)
        threading.Thread(target=self._watch, daemon=True).start()

    def start_controller(self, *arguments: str) -> None:
        """Start it and wait until it serves."""
        self.spawn_controller(*arguments)
        until(self.serves, "the controller", 30)

    def spawn_controller(self, *arguments: str) -> subprocess.Popen[bytes]:
        home, catalog = str(self.home), str(self.catalog)
        self._start(
            *("controller", "serve", "--home", home, "--listen", self.address),
            *("--catalog", catalog, *arguments),
        )
        return self.children["controller"]

    def serves(self) -> bool:
        """Return whether the controller that was started last answers."""
        child = self.children["controller"]
        assert child.poll() is None, f"the controller ended: {self.log('controller')[-2000:]}"
        with suppress(OSError, ValueError):
            return json.loads((self.home / "endpoint.json").read_text())["pid"] == child.pid
        return False

    def spawn_agent(self, name: str) -> None:
        device = self.devices[name]
        address = self.address if self.prefix else device.wire.address
        self._start(
            *("agent", "start", "--home", str(device.home), "--controller", address),
            *("--name", name, "--allow-folder", str(self.marks)),
            called=name,
            token="" if (device.home / "identity" / "certificate.pem").exists() else self.token,
        )

    def await_agent(self, name: str) -> None:
        """Wait until the agent is connected."""
        child = self.children[name]

        def connected() -> bool:
            assert child.poll() is None, f"{name} ended: {self.log(name)[-2000:]}"
            output = self.devices[name].status()
            return output.get("pid") == child.pid and output.get("connected") is True

        until(connected, f"{name} to connect", 60)

    def restart(self, name: str) -> float:
        """Start a process that has ended, at which its fault is over; returns how long it took."""
        self.over()
        began = time.monotonic()
        if name == "controller":
            self.start_controller()
        else:
            self.spawn_agent(name)
            self.await_agent(name)
        return time.monotonic() - began

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one `controller` command."""
        return subprocess.run(
            [*self.prefix, str(BIN / "controller"), *arguments],
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def kill_device(self, name: str) -> None:
        """Kill the agent and all its children, as a power failure does."""
        device = self.devices[name]
        supervisor, job = device.supervisor(), device.job()
        self.strike_job(name)
        for process in (psutil.Process(self.children[name].pid), supervisor, job):
            if process is not None:
                with suppress(psutil.Error):
                    process.kill()
        self.children[name].wait(30)

    def strike_job(self, name: str) -> None:
        """Note that the job that runs on this device will not complete."""
        for mark in self.devices[name].home.glob("attempts/*/started.json"):
            if not (mark.parent / "outcome.json").exists():
                job_id, _, epoch = mark.parent.name.rpartition(".")
                self.excused.add((job_id, int(epoch)))

    def stop(self) -> None:
        """End all that this test started."""
        self._watching.set()
        for child in self.children.values():
            with suppress(ProcessLookupError):
                child.send_signal(signal.SIGCONT)
        for name in (*self.devices, "controller"):
            child = self.children.get(name)
            if child is not None and child.poll() is None:
                child.terminate()
        super().stop()
        for device in self.devices.values():
            for process in (device.job(), device.supervisor()):
                if process is not None:
                    with suppress(psutil.Error):
                        process.kill()
            device.wire.close()
        while self.at_end:
            self.at_end.pop()()

    def _start(
        self,
        program: str,
        *arguments: str,
        called: str = "",
        token: str = "",
        prefix: Sequence[str] = (),
    ) -> None:
        name = called or program
        extra = dict(self.extra.get(name, {}))
        if token:
            extra["FLEETMARK_TOKEN"] = token
        with (self.folder / f"{name}.log").open("ab") as log:
            self.children[name] = subprocess.Popen(
                [*self.prefix, *prefix, str(BIN / program), *arguments],
                env={**environment(), **extra},
                stdout=log,
                stderr=log,
            )

    # --- the campaign ---

    def submit(
        self, jobs: int, *, duration_s: float, anywhere: bool, tries: int = 5, **parameters: int
    ) -> None:
        """Schedule short jobs."""
        values = {"marks": self.marks, "duration_s": duration_s, **parameters}
        words = [word for key, value in values.items() for word in ("--param", f"{key}={value}")]
        done = self.run(
            *("schedule", NAME, "--repeat", str(jobs), "--max-attempts", str(tries), *words),
            *(["--any-device"] if anywhere else []),
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def query(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        """Return rows of the store, read beside the controller."""
        store = self.home / "results.db"
        connection = sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True, timeout=5)
        try:
            return connection.execute(sql, values).fetchall()
        finally:
            connection.close()

    def await_state(self, state: str, patience_s: float = 60) -> tuple[str, str, int]:
        """Wait until an attempt is in this state; return its device, job and epoch."""
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            rows = self.query(
                "SELECT device, job_id, epoch FROM attempts WHERE state = ?"
                " ORDER BY epoch DESC LIMIT 1",
                state,
            )
            if rows:
                return rows[0]  # type: ignore[return-value]
            time.sleep(0.001)
        raise AssertionError(f"no attempt became {state}")

    def await_runs(self, count: int, patience_s: float = 60) -> None:
        """Wait until so many runs are stored."""
        until(lambda: self.query("SELECT count(*) FROM runs")[0][0] >= count, "runs", patience_s)

    def ended(self) -> bool:
        """Return whether every job is terminal."""
        try:
            rows = self.query("SELECT DISTINCT state FROM jobs")
        except sqlite3.Error:
            return False
        return {row[0] for row in rows} <= set(TERMINAL)

    def settled(self) -> bool:
        """Return whether all results are delivered and all runs evaluated, late ones too."""
        output = [device.status() for device in self.devices.values()]
        handed_over = all(
            values.get("connected") is True and not values["attempts"] for values in output
        )
        waiting = "SELECT 1 FROM attempt WHERE final_seq NOT NULL AND verified = 0"
        return self.ended() and handed_over and not self.query(waiting)

    # --- recovery ---

    def over(self) -> None:
        """End the fault; what follows is recovery. The last call counts."""
        self._over_at = time.monotonic()

    def recovery_s(self) -> float:
        """Return the seconds from the end of the fault to the next end of a job, or 0."""
        assert self._over_at is not None
        before = max((n for at, n in self._history if at <= self._over_at), default=0)
        after = [at for at, n in self._history if at > self._over_at and n > before]
        return after[0] - self._over_at if after else 0.0

    @property
    def is_over(self) -> bool:
        return self._over_at is not None

    def _watch(self) -> None:
        marks = ",".join(f"'{state}'" for state in TERMINAL)
        while not self._watching.wait(_SAMPLE_S):
            with suppress(sqlite3.Error):
                rows = self.query(f"SELECT count(*) FROM jobs WHERE state IN ({marks})")
                self._history.append((time.monotonic(), int(str(rows[0][0]))))

    # --- what an operator sees ---

    def logged(self) -> Iterator[str]:
        """Yield reasons of jobs and attempts, log lines, and output of commands."""
        for table in ("jobs", "attempts"):
            for (reason,) in self.query(f"SELECT DISTINCT reason FROM {table} WHERE reason <> ''"):
                yield f"jobs show: {reason}"
        for name in ("controller", *self.devices):
            for line in self.log(name).splitlines():
                yield f"{'controller' if name == 'controller' else 'agent'}: {shown(line)}"
        yield from self.notes
        for (kind,) in self.query("SELECT DISTINCT kind FROM events"):
            yield f"event: {kind}"


@dataclass
class Tally:
    """What was wrong in one repetition; all empty is what we want."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    double_run: list[str] = field(default_factory=list)
    unsound: list[str] = field(default_factory=list)

    def all(self) -> list[str]:
        return [*self.lost, *self.doubled, *self.double_run, *self.unsound]


def check(
    fleet: FaultyFleet, states: Sequence[str] = ("SUCCEEDED",), alarms: Sequence[str] = ()
) -> Tally:
    """Check the invariants against the store, the devices' traces and the jobs' marks.

    `states`: in which jobs may end. `alarms`: alarms that belong to the fault.
    """
    tally = Tally()
    runs: dict[tuple[str, int], int] = {}
    official: dict[str, int] = {}
    for job_id, epoch, is_official in fleet.query("SELECT job_id, epoch, official FROM runs"):
        key = (str(job_id), int(str(epoch)))
        runs[key] = runs.get(key, 0) + 1
        official[key[0]] = official.get(key[0], 0) + int(bool(is_official))
    jobs = fleet.query("SELECT job_id, state, reason FROM jobs")
    for job_id, state, reason in jobs:
        count = official.get(str(job_id), 0)
        if state not in states:
            tally.lost.append(f"I5 job {job_id} is {state}: {reason}")
        if state in ("SUCCEEDED", "INVALID") and count < 1:
            tally.lost.append(f"I4 job {job_id} has no official run")
        if count > 1:
            tally.doubled.append(f"I4 job {job_id} has {count} official runs")
    tally.doubled += [f"I2 {count} runs of {key}" for key, count in runs.items() if count > 1]
    _records(fleet, tally)
    _devices(fleet, tally, runs)
    for (kind,) in fleet.query("SELECT kind FROM events WHERE kind LIKE 'alarm%'"):
        if kind not in alarms:
            tally.unsound.append(f"I2 {kind}")
    answer = fleet.query("PRAGMA integrity_check")
    if answer != [("ok",)]:
        tally.unsound.append(f"I7 {answer[:3]}")
    chain = [Row(*row) for row in fleet.query("SELECT * FROM audit ORDER BY seq")]  # type: ignore[arg-type]
    seq, head = str(
        fleet.query("SELECT value FROM key_value WHERE key = 'audit_head'")[0][0]
    ).split()
    broken = find_break(chain, int(seq), head)
    if broken:
        tally.unsound.append(f"I7 audit: {broken}")
    return tally


def _records(fleet: FaultyFleet, tally: Tally) -> None:
    """Check I1: every acknowledged record is stored, with its files."""
    for job_id, epoch, through, final in fleet.query(
        "SELECT job_id, epoch, through_seq, final_seq FROM attempt"
    ):
        rows = fleet.query(
            "SELECT seq, kind, payload FROM record WHERE job_id = ? AND epoch = ? ORDER BY seq",
            job_id,
            epoch,
        )
        seqs = [row[0] for row in rows]
        if seqs[: int(str(through))] != list(range(1, int(str(through)) + 1)):
            tally.lost.append(f"I1 records of {job_id}.{epoch}: {seqs}, through {through}")
        if final is not None and seqs == list(range(1, int(str(final)) + 1)):
            try:
                parse_sealed([Record(*row) for row in rows])  # type: ignore[arg-type]
            except FleetmarkError as error:
                tally.lost.append(f"I1 records of {job_id}.{epoch}: {error}")
    for (sha256,) in fleet.query("SELECT DISTINCT sha256 FROM run_file"):
        name = str(sha256)
        if not (fleet.home / "blobs" / "sha256" / name[:2] / name).exists():
            tally.lost.append(f"I1 blob {name} is not there")


def _devices(fleet: FaultyFleet, tally: Tally, runs: dict[tuple[str, int], int]) -> None:
    """Check I3 and I6 against the devices' own traces."""
    tally.double_run += [f"I3 twin: {mark.name}" for mark in fleet.marks.glob("*.twin")]
    for device in fleet.devices.values():
        if not device.trace.exists():
            continue
        tally.double_run += [f"I3 {device.name}: {text}" for text in overlaps(device.trace)]
        for line in device.trace.read_text().splitlines():
            event = json.loads(line)
            key = (event["job_id"], event["epoch"])
            whole = (fleet.marks / f"{device.home.name}.{key[0]}.{key[1]}.end").exists()
            if event["event"] != "ended" or event["by"] != "supervisor" or not whole:
                continue
            # A job that was stopped in its very last line, after its mark, has not completed.
            if event["outcome"] == "exited" and key not in runs and key not in fleet.excused:
                tally.lost.append(f"I6 {device.name} completed {key}, which has no run")


@dataclass(frozen=True)
class Fault:
    """One kind of fault. See `fault`."""

    name: str
    strike: Callable[[FaultyFleet, random.Random], None]
    logged: str
    devices: int = 2
    jobs: int = 8
    duration_s: float = 0.4
    anywhere: bool = True
    ballast_kib: int = 0
    dataset_bytes: int = 0
    states: tuple[str, ...] = ("SUCCEEDED",)
    alarms: tuple[str, ...] = ()
    needs: Callable[[], str] = str
    before: Callable[[FaultyFleet], None] | None = None
    patience_s: float = 90.0


FAULTS: list[Fault] = []
Strike = Callable[[FaultyFleet, random.Random], None]


def fault(name: str, logged: str, **options: object) -> Callable[[Strike], Strike]:
    """Add a kind of fault: a function that strikes a fleet in the middle of a campaign.

    It is called when the first run is stored. Where it waits for something to come back it calls
    `fleet.over()` (as `restart` does); otherwise the fault is over when it returns.

    Args:
        name: the name in the table.
        logged: a pattern of the line that reports the fault to the operator; empty if the fault
            changes nothing that an operator must know.
        options: further fields of `Fault`: `devices`, `jobs` of `duration_s`, `anywhere`
            (on any device), `ballast_kib` of output each, `dataset_bytes` to fetch, `states` in
            which jobs may end, `alarms` that belong to it, `needs` (says why it cannot be done
            here), `before` (prepares the fleet before its start).
    """

    def add(strike: Strike) -> Strike:
        FAULTS.append(Fault(name, strike, logged, **options))  # type: ignore[arg-type]
        return strike

    return add


@contextmanager
def paused(process: psutil.Process | subprocess.Popen[bytes]) -> Iterator[None]:
    """Stop the process for the block, and continue it after it."""
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGCONT)
