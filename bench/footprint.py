"""Measures what an idle, connected agent costs its device: `make bench-agent`.

A real controller, real agents and bare grpc.aio clients run at the same time, in several
repetitions. Figures are medians with minimum and maximum. Ratios are computed within one
repetition, so that a busy machine affects both sides alike. Nothing is written outside a scratch
folder.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import readings
from baseline_client import NAME
from certificate import write_certificate
from lab import Lab, free_port, until
from markdown import spread, table
from supervisor_cost import Cost, measure_supervisor

HEARTBEAT_S = 15.0
TWO_HOURS_S = 7200.0
GOAL_RATIO, GOAL_CPU_PERCENT, GOAL_START_S = 1.15, 0.2, 1.0
BENCH = Path(__file__).parent
BARE = {
    "bare client, TLS": ("tls", "bytes"),
    "bare client, no TLS": ("plain", "bytes"),
    "bare client, TLS, agent's messages": ("tls", "messages"),
    "bare client, no TLS, agent's messages": ("plain", "messages"),
}
AGENT = "agent, idle"
REFERENCE = "bare client, TLS"


class Idle:
    """Readings of one process in one repetition."""

    def __init__(self, pid: int) -> None:
        """Begin the window in which the process should be idle."""
        self.pid = pid
        self._began = time.monotonic(), readings.cpu_s(pid)

    def end(self) -> Idle:
        """End the window."""
        self.memory = readings.memory_kib(self.pid)
        elapsed_s = time.monotonic() - self._began[0]
        self.cpu_percent = 100 * (readings.cpu_s(self.pid) - self._began[1]) / elapsed_s
        return self


class Written:
    """Bytes and files that an agent wrote within a window, from the kernel and from its home."""

    def __init__(self, lab: Lab, name: str) -> None:
        """Begin the window."""
        self._pid, self._home = lab.children[name].pid, lab.folder / name
        self._before = readings.written_bytes(self._pid), readings.files_in(self._home)

    def end(self) -> tuple[int, int, list[str]]:
        """Return the bytes written to disk, the bytes in write calls, and the changed files."""
        after, files = readings.written_bytes(self._pid), readings.files_in(self._home)
        before, files_before = self._before
        changed = sorted(set(files.items()) ^ set(files_before.items()))
        return (
            after["disk"] - before["disk"],
            after["calls"] - before["calls"],
            sorted({name for name, _ in changed}),
        )


class Footprint:
    """The figures of all repetitions."""

    def __init__(self) -> None:
        self.idle: dict[str, list[Idle]] = {AGENT: [], **{name: [] for name in BARE}}
        self.first_start_s: list[float] = []
        self.next_start_s: list[float] = []
        self.start_cpu_s: list[float] = []
        self.written: list[tuple[int, int, list[str]]] = []
        self.hours: tuple[int, int, list[str]] = (0, 0, [])
        self.hours_heartbeats = 0
        self.supervisor: list[Cost] = []

    def ratios(self, field: str, to: str, of: str = AGENT) -> list[float]:
        """Return the ratios of `of` to `to`, one per repetition."""
        pairs = zip(self.idle[of], self.idle[to], strict=True)
        return [one.memory[field] / other.memory[field] for one, other in pairs]


def measure(options: argparse.Namespace) -> Footprint:
    """Measure everything in a scratch folder."""
    found = Footprint()
    with (
        tempfile.TemporaryDirectory(prefix="fleetmark-bench-") as scratch,
        Lab(Path(scratch)) as lab,
    ):
        certificate, key = write_certificate(lab.folder, NAME)
        ports = {"plain": free_port(), "tls": free_port()}
        program = [sys.executable, str(BENCH / "baseline_server.py")]
        files = [str(certificate), str(key)]
        lab.start("server", [*program, str(ports["plain"]), str(ports["tls"]), *files])
        lab.start_controller()
        security = {"plain": "plain", "tls": str(certificate)}
        client = [sys.executable, str(BENCH / "baseline_client.py")]
        commands = {
            name: [*client, f"127.0.0.1:{ports[way]}", str(HEARTBEAT_S), security[way], kind]
            for name, (way, kind) in BARE.items()
        }
        # The first repetition compiles the imported modules, and is not counted.
        for number in range(options.repeat + 1):
            _repetition(lab, found, commands, options, f"agent-{number}", count=number > 0)
        found.supervisor = [
            measure_supervisor(lab.folder / f"job-{number}", options.idle_s)
            for number in range(options.repeat)
        ]
        lab.stop("controller")
        _two_hours(lab, found, options)
    return found


def _repetition(
    lab: Lab,
    found: Footprint,
    commands: dict[str, list[str]],
    options: argparse.Namespace,
    agent: str,
    *,
    count: bool,
) -> None:
    first_s = lab.start_agent(agent)
    for name, command in commands.items():
        lab.start(name, command)
    _wait_until_detected(lab, agent)
    idle_s = options.idle_s if count else 1.0
    time.sleep(min(3.0, idle_s))
    written = Written(lab, agent)
    windows = {name: Idle(lab.children[name].pid) for name in commands}
    windows[AGENT] = Idle(lab.children[agent].pid)
    time.sleep(idle_s)
    for window in windows.values():
        window.end()
    wrote = written.end()
    lab.stop(agent)
    next_s = lab.start_agent(agent)
    start_cpu_s = readings.spent_s(lab.children[agent].pid)
    for name in (agent, *commands):
        lab.stop(name)
    if count:
        for name, window in windows.items():
            found.idle[name].append(window)
        found.first_start_s.append(first_s)
        found.next_start_s.append(next_s)
        found.start_cpu_s.append(start_cpu_s)
        found.written.append(wrote)


def _wait_until_detected(lab: Lab, agent: str) -> None:
    """Wait until the helper that detects software, and its children, have ended."""
    pid = lab.children[agent].pid
    until((lab.folder / agent / "software.json").exists, "the detection")
    until(lambda: not readings.children_of(pid), "the end of the helpers")


def _two_hours(lab: Lab, found: Footprint, options: argparse.Namespace) -> None:
    """Let an agent send the heartbeats of two hours in less time."""
    period_s = 0.05
    count = round(TWO_HOURS_S / HEARTBEAT_S) if options.idle_s >= 10 else 20
    lab.start_controller(
        f"heartbeat_idle_s = {period_s}\nheartbeat_running_s = {period_s}\nlease_s = 1.0\n"
    )
    lab.start_agent("hours")
    _wait_until_detected(lab, "hours")
    time.sleep(1.0)
    written = Written(lab, "hours")
    time.sleep(count * period_s)
    found.hours, found.hours_heartbeats = written.end(), count
    # The lease is shorter than the wait: without heartbeats the agent would be offline.
    listed = json.loads(lab.controller("fleet", "list", "--json"))
    if next(device["presence"] for device in listed if device["name"] == "hours") != "online":
        raise RuntimeError("the agent sent no heartbeats")


def report(found: Footprint) -> str:
    """Return the tables as Markdown."""
    rows = []
    for name, windows in found.idle.items():
        cells = [name]
        for field in ("rss", "pss", "private"):
            cells.append(spread([window.memory[field] / 1024 for window in windows], 1))
            if field != "private":
                cells.append(f"{statistics.median(found.ratios(field, REFERENCE, name)):.3f}")
        cells.append(spread([window.cpu_percent for window in windows], 3))
        rows.append(cells)
    heads = ["process", "RSS MiB", "to TLS", "PSS MiB", "to TLS", "private MiB", "CPU %"]
    lines = [f"Machine: {readings.machine()}", "", table(heads, rows), ""]
    beside = [
        [name, spread(found.ratios("rss", name), 3), spread(found.ratios("pss", name), 3)]
        for name in BARE
    ]
    lines += [table(["agent beside", "RSS ratio", "PSS ratio"], beside), ""]
    disk, calls, changed = (
        max(wrote[0] for wrote in found.written),
        max(wrote[1] for wrote in found.written),
        sorted({name for wrote in found.written for name in wrote[2]}),
    )
    costs = found.supervisor
    quantities = [
        ["start to registered, new home, s", spread(found.first_start_s, 3)],
        ["start to registered, known home, s", spread(found.next_start_s, 3)],
        ["CPU seconds of that, measuring the device included", spread(found.start_cpu_s, 2)],
        ["idle: bytes to disk / files changed", f"{disk} / {len(changed)}"],
        ["idle: bytes in write calls (wake-ups)", f"{calls}"],
        [
            f"two idle hours ({found.hours_heartbeats} heartbeats): bytes to disk / files changed",
            f"{found.hours[0]} / {len(found.hours[2])}",
        ],
        ["supervisor: RSS MiB", spread([cost.rss_kib / 1024 for cost in costs], 1)],
        ["supervisor: private MiB", spread([cost.private_kib / 1024 for cost in costs], 1)],
        ["supervisor: CPU % while a job runs", spread([cost.cpu_percent for cost in costs], 3)],
        ["supervisor: spawned to job started, ms", spread([cost.start_ms for cost in costs], 1)],
        ["supervisor: job ended to outcome, ms", spread([cost.end_ms for cost in costs], 1)],
        ["telemetry at 1 Hz: RSS MiB", spread([cost.sampler_rss_kib / 1024 for cost in costs], 1)],
        ["telemetry at 1 Hz: CPU %", spread([cost.sampler_cpu_percent for cost in costs], 2)],
    ]
    lines += [table(["an agent and its jobs", "median (least–most)"], quantities), ""]
    lines += _verdicts(found, disk, changed)
    return "\n".join(lines)


def missed(found: Footprint) -> list[str]:
    """Return the missed goals, each as a sentence."""
    ratio = statistics.median(found.ratios("rss", REFERENCE))
    cpu = statistics.median(window.cpu_percent for window in found.idle[AGENT])
    start_s = statistics.median(found.next_start_s + found.first_start_s)
    wrote = [*found.written, found.hours]
    checks = [
        (ratio <= GOAL_RATIO, f"resident memory is {ratio:.3f} of {REFERENCE}'s"),
        (cpu < GOAL_CPU_PERCENT, f"an idle agent takes {cpu:.3f} % of a core"),
        (start_s < GOAL_START_S, f"an agent is registered after {start_s:.2f} s"),
        (not any(disk for disk, _, _ in wrote), "an idle agent writes to disk"),
        (not any(names for _, _, names in wrote), "files of an idle agent's home change"),
    ]
    return [text for good, text in checks if not good]


def _verdicts(found: Footprint, disk: int, changed: list[str]) -> list[str]:
    failed = missed(found)
    goals = (
        f"Goals: RSS at most {GOAL_RATIO} of {REFERENCE}; CPU under {GOAL_CPU_PERCENT} %; "
        f"registered within {GOAL_START_S:g} s; nothing written while idle."
    )
    names = [f"Changed while idle: {', '.join(changed)}"] if changed else []
    return [goals, *names, f"Missed: {'; '.join(failed)}." if failed else "All are met."]


def main() -> int:
    """Run the command; return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="bench/footprint.py")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--idle-s", type=float, default=32.0, help="length of each idle window")
    found = measure(parser.parse_args())
    print(report(found))
    return 1 if missed(found) else 0


if __name__ == "__main__":
    sys.exit(main())
