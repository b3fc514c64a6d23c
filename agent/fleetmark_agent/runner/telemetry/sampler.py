"""Samples the board while a job runs: `python -I -m fleetmark_agent.runner.telemetry.sampler SPEC`.

A process of its own: the agent need not carry psutil, the sampling goes on while an agent is
restarted, and it ends with the supervisor. One JSON line a sample; what the board does not offer is
null, and a table between the samples says why, and what numbers mean. Where the board measures its
power, a second file gets those readings, more often. SPEC is a JSON file: `pid` of the supervisor,
`interval_s`, `rows` and `power` (the files to append to), `root` below which the board's files are
read, `energy_input` (the sensor of the whole board, if it is known), `cores` (where to run), `lock`
(held as long as this process may write).
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fleetmark_agent.runner.telemetry.device_condition import Condition
    from fleetmark_agent.runner.telemetry.power_sensors import PowerSensor

POWER_INTERVAL_S = 0.1
"""Ten times a second is unmeasurable in the latencies of a job beside it."""


class Sampler:
    """Takes samples of the board and of one process tree."""

    def __init__(self, root_pid: int, condition: Condition) -> None:
        import psutil

        self._psutil = psutil
        self._condition = condition
        self.sensors = [sensor.name for sensor in condition.thermometer.choice.used]
        """Names of the temperature sensors whose readings follow each row."""
        self.power_modes: list[str] = []
        """Each power mode that was seen, in the order in which they came."""
        self.root = psutil.Process(root_pid)
        self._tree_s: dict[int, float] = {}
        self._gone_s = 0.0
        self._last: tuple[float, float, float] | None = None
        self._begun = time.monotonic()
        self.begun_ns = int(self._begun * 1e9)
        """When `elapsed_ms` was 0, by the monotonic clock."""

    def is_running(self) -> bool:
        """Whether the supervisor is still there (and not another process with its number)."""
        with suppress(self._psutil.Error):
            return bool(self.root.is_running() and self.root.status() != self._psutil.STATUS_ZOMBIE)
        return False

    def sample(self) -> list[Any]:
        """One row, see `TELEMETRY_COLUMNS`; after it the readings of `sensors`, as a list.

        Which sensors are stuck is known only at the end: what collects the rows decides by these.
        """
        now = time.monotonic()
        memory, job_s = self._tree()
        times = self._psutil.cpu_times()
        busy_s = float(sum(times)) - times.idle - getattr(times, "iowait", 0.0)
        # On Linux, time of guests is counted within the user's.
        busy_s -= getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
        cpu = foreign = None
        if self._last is not None and now > self._last[0]:
            span = now - self._last[0]
            cpu = round(max(0.0, job_s - self._last[1]) / span * 100, 1)
            foreign = round(max(0.0, (busy_s - self._last[2]) / span * 100 - cpu), 1)
        self._last = (now, job_s, busy_s)
        board = self._condition.sample()
        return [
            round((now - self._begun) * 1000),
            board.temperature_c,
            board.frequency_hz or self._frequency(),
            cpu,
            memory,
            foreign,
            self._load(),
            board.swap_bytes,
            board.swapped_bytes,
            board.throttled,
            self._mode(board.power_mode),
            None if board.quota is None else board.quota.periods,
            None if board.quota is None else board.quota.throttled,
            [board.temperatures_c.get(name) for name in self.sensors],
        ]

    def _mode(self, words: str) -> int | None:
        if not words:
            return None
        if words not in self.power_modes:
            self.power_modes.append(words)
        return self.power_modes.index(words)

    def _tree(self) -> tuple[int | None, float]:
        """Memory of the job's processes, and the CPU seconds that they have used so far."""
        psutil = self._psutil
        memory = 0
        seconds: dict[int, float] = {}
        try:
            members = self.root.children(recursive=True)
        except psutil.Error:
            return None, self._gone_s + sum(self._tree_s.values())
        for process in members:
            with suppress(psutil.Error):
                with process.oneshot():
                    memory += process.memory_info().rss
                    times = process.cpu_times()
                seconds[process.pid] = times.user + times.system
        self._gone_s += sum(s for pid, s in self._tree_s.items() if pid not in seconds)
        self._tree_s = seconds
        # Before its first and after its last process a job has no memory: that is no reading of 0.
        return (memory if seconds else None), self._gone_s + sum(seconds.values())

    def _frequency(self) -> int | None:
        if self._condition.root != Path("/"):
            return None
        with suppress(Exception):
            found = self._psutil.cpu_freq()
            if found is not None and found.current > 0:
                return round(found.current * 1e6)
        return None

    def _load(self) -> float | None:
        with suppress(OSError):
            return round(os.getloadavg()[0], 2)
        return None


class PowerLog:
    """Writes what the board's sensors of power and energy say, as they say it.

    The first line is a table with the sensors; then one list a line: nanoseconds since the first
    line's time, and each sensor's reading.
    """

    def __init__(self, path: Path, found: PowerSensor) -> None:
        """Nothing is written where there is nothing to read, or no room."""
        self._sources = found.sources
        self._file = None
        self._begun_ns = time.monotonic_ns()
        head = {
            "format": 1,
            "began_unix_ns": time.time_ns(),
            "sources": [source.plain() for source in found.sources],
        }
        if found.sources:
            with suppress(OSError):
                self._file = path.open("a", buffering=1)
                self._file.write(json.dumps(head) + "\n")

    def sample(self) -> None:
        """Add a line. Its time is the middle of the reading."""
        if self._file is None:
            return
        before_ns = time.monotonic_ns()
        values = [source.read() for source in self._sources]
        at_ns = (before_ns + time.monotonic_ns()) // 2 - self._begun_ns
        with suppress(OSError):
            self._file.write(json.dumps([at_ns, *values]) + "\n")


def main(spec_path: str) -> int:
    """Sample until the supervisor ends."""
    from fleetmark_agent.runner.telemetry import power_sensors
    from fleetmark_agent.runner.telemetry.device_condition import Condition
    from fleetmark_agent.state.file_locks import try_lock

    spec = json.loads(Path(spec_path).read_bytes())
    root = Path(spec["root"])
    lock = try_lock(Path(spec["lock"]))  # freed by the end of this process
    if lock is None:
        return 0
    with suppress(OSError, AttributeError, ValueError):
        # Beside the job's cores, where there is room.
        os.sched_setaffinity(0, spec["cores"])
    try:
        sampler = Sampler(int(spec["pid"]), Condition(root))
    except Exception:
        return 0
    found = power_sensors.find(root, str(spec["energy_input"]))
    interval_s = float(spec["interval_s"])
    pause_s = min(interval_s, POWER_INTERVAL_S) if found.sources else interval_s
    with Path(spec["rows"]).open("a", buffering=1) as file, suppress(OSError):
        power = PowerLog(Path(spec["power"]), found)
        _note(file, sampler, Condition(root), found)
        due = row_due = time.monotonic()
        modes = 0
        running = True
        while running:
            # Looked at first: one more sample follows the end, for what was measured until then.
            running = sampler.is_running()
            power.sample()
            if not running or time.monotonic() >= row_due:
                row_due = max(row_due + interval_s, time.monotonic())
                # A full disk: the run goes on with fewer samples.
                with suppress(OSError):
                    if running:
                        file.write(json.dumps(sampler.sample()) + "\n")
                    if len(sampler.power_modes) > modes:
                        modes = len(sampler.power_modes)
                        file.write(json.dumps({"power_modes": sampler.power_modes}) + "\n")
            due = max(due + pause_s, time.monotonic())
            if running:
                time.sleep(max(0.0, due - time.monotonic()))
    return 0


def _note(file: Any, sampler: Sampler, condition: Condition, found: PowerSensor) -> None:
    """Say once when the rows begin, and what cannot be read here."""
    unavailable = condition.unavailable()
    table = {
        "began_unix_ns": time.time_ns() - (time.monotonic_ns() - sampler.begun_ns),
        "unavailable": unavailable,
        "energy_unavailable": list(found.unavailable),
        "temperature_sensors": sampler.sensors,
        "temperature_left_out": dict(condition.thermometer.choice.left_out),
    }
    with suppress(OSError):
        file.write(json.dumps(table) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
