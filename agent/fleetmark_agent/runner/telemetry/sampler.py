"""Sampler of the device while a job runs.

Usage: `python -I -m fleetmark_agent.runner.telemetry.sampler SPEC`.

It is a separate process, so that the agent does not load psutil, sampling continues while an agent
restarts, and sampling ends with the supervisor. It writes one JSON line per sample. Figures that
the device does not offer are null; a table between the samples gives the reasons and explains the
figures. If the device measures its power, a second file gets those readings at a higher rate.

SPEC is a JSON file: `pid` of the supervisor, `interval_s`, `rows` and `power` (the files to append
to), `root` below which the device's files are read, `energy_input` (the sensor of the whole device,
if known), `cores` (on which to run), `lock` (held as long as this process may write), `ready_fd`
(inherited pipe, closed after the first readings; the job starts then).
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
    from fleetmark_agent.runner.telemetry.accelerator_readings import AcceleratorReadings
    from fleetmark_agent.runner.telemetry.device_condition import Condition
    from fleetmark_agent.runner.telemetry.power_sensors import PowerSensor

POWER_INTERVAL_S = 0.1
"""Ten samples per second have no measurable effect on the latencies of the job."""


class Sampler:
    """Sampler of the device and of one process tree."""

    def __init__(self, root_pid: int, condition: Condition) -> None:
        import psutil

        self._psutil = psutil
        self._condition = condition
        self.sensors = [sensor.name for sensor in condition.thermometer.choice.used]
        """Names of the temperature sensors whose readings follow each row."""
        self.power_modes: list[str] = []
        """Each power mode that occurred, in order of first occurrence."""
        self.root = psutil.Process(root_pid)
        self._tree_s: dict[int, float] = {}
        self._gone_s = 0.0
        self._last: tuple[float, float, float] | None = None
        self._begun = time.monotonic()
        self.begun_ns = int(self._begun * 1e9)
        """Reading of the monotonic clock at which `elapsed_ms` was 0."""

    def is_running(self) -> bool:
        """Return whether the supervisor still runs (and not another process with its pid)."""
        with suppress(self._psutil.Error):
            return bool(self.root.is_running() and self.root.status() != self._psutil.STATUS_ZOMBIE)
        return False

    def sample(self) -> list[Any]:
        """Return one row, see `TELEMETRY_COLUMNS`, followed by the readings of `sensors` as a list.

        Stuck sensors are known only at the end, when the collector evaluates these readings.
        """
        now = time.monotonic()
        memory, job_s = self._tree()
        times = self._psutil.cpu_times()
        busy_s = float(sum(times)) - times.idle - getattr(times, "iowait", 0.0)
        # On Linux, user time includes the time of guests.
        busy_s -= getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
        cpu = foreign = None
        if self._last is not None and now > self._last[0]:
            span = now - self._last[0]
            cpu = round(max(0.0, job_s - self._last[1]) / span * 100, 1)
            foreign = round(max(0.0, (busy_s - self._last[2]) / span * 100 - cpu), 1)
        self._last = (now, job_s, busy_s)
        condition = self._condition.sample()
        return [
            round((now - self._begun) * 1000),
            condition.temperature_c,
            condition.frequency_hz or self._frequency(),
            cpu,
            memory,
            foreign,
            self._load(),
            condition.swap_bytes,
            condition.swapped_bytes,
            condition.throttled,
            self._mode(condition.power_mode),
            None if condition.quota is None else condition.quota.periods,
            None if condition.quota is None else condition.quota.throttled,
            [condition.temperatures_c.get(name) for name in self.sensors],
        ]

    def _mode(self, words: str) -> int | None:
        if not words:
            return None
        if words not in self.power_modes:
            self.power_modes.append(words)
        return self.power_modes.index(words)

    def _tree(self) -> tuple[int | None, float]:
        """Return the memory of the job's processes and the CPU seconds they have used so far."""
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
        # Before its first and after its last process a job has no memory; this is not a reading of
        # 0.
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
    """Writer of the raw readings of the device's power and energy sensors.

    The first line is a table with the sensors. Each further line is a list: nanoseconds since the
    time of the first line, and each sensor's reading.
    """

    def __init__(self, path: Path, found: PowerSensor) -> None:
        """Write the first line, unless there are no sensors or the disk is full."""
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

    def sample(self, *, last: bool = False) -> None:
        """Append one line of readings. Its time is the middle of the reading.

        Sensors that are read rarely are read for the last line, too, so that they cover the job.
        """
        if self._file is None:
            return
        before_ns = time.monotonic_ns()
        values = [((last and source.read_last) or source.read)() for source in self._sources]
        at_ns = (before_ns + time.monotonic_ns()) // 2 - self._begun_ns
        with suppress(OSError):
            self._file.write(json.dumps([at_ns, *values]) + "\n")


def main(spec_path: str) -> int:
    """Sample until the supervisor ends."""
    from fleetmark_agent.runner.telemetry import power_sensors
    from fleetmark_agent.runner.telemetry.accelerator_readings import AcceleratorReadings
    from fleetmark_agent.runner.telemetry.device_condition import Condition
    from fleetmark_agent.state.file_locks import try_lock

    spec = json.loads(Path(spec_path).read_bytes())
    root = Path(spec["root"])
    lock = try_lock(Path(spec["lock"]))  # released when this process ends
    if lock is None:
        return 0
    with suppress(OSError, AttributeError, ValueError):
        # Run on other cores than the job, if there are any.
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
        accelerators = AcceleratorReadings(root)
        due = row_due = time.monotonic()
        modes = 0
        running = True
        ready_fd: int | None = int(spec["ready_fd"])
        while running:
            # Check before sampling, so that one more sample follows the job's end and covers its
            # last interval.
            running = sampler.is_running()
            power.sample(last=not running)
            if not running or time.monotonic() >= row_due:
                row_due = max(row_due + interval_s, time.monotonic())
                # If the disk is full, the run continues with fewer samples.
                with suppress(OSError):
                    if running:
                        file.write(json.dumps(sampler.sample()) + "\n")
                        accelerators.sample()
                        if accelerators.is_due():
                            _note_accelerators(file, accelerators)
                    if len(sampler.power_modes) > modes:
                        modes = len(sampler.power_modes)
                        file.write(json.dumps({"power_modes": sampler.power_modes}) + "\n")
            if ready_fd is not None:
                os.close(ready_fd)
                ready_fd = None
            due = max(due + pause_s, time.monotonic())
            if running:
                time.sleep(max(0.0, due - time.monotonic()))
        _note_accelerators(file, accelerators)
    return 0


def _note_accelerators(file: Any, accelerators: AcceleratorReadings) -> None:
    """Write the readings so far, if there are any; a later line replaces an earlier one."""
    summary = accelerators.summary()
    if summary:
        file.write(json.dumps({"accelerators": summary}) + "\n")


def _note(file: Any, sampler: Sampler, condition: Condition, found: PowerSensor) -> None:
    """Write once when the rows begin and which figures cannot be read."""
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
