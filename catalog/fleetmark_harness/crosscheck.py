"""Mode crosscheck: the parts of a latency, measured in short blocks that take turns.

Each round has a block of the bare loop (`run` only), one of the bare loop with the answer, one of
the system under test under LoadGen, and one of the runtime's own benchmark tool if the device has
it. The order of the blocks is reversed in every second round, so that a drift of the device affects
all kinds of blocks equally. The figures are not a result: no block is as long as a run.

In Server, queries arrive at the rate of the run, in each block in another order of times. The block
under LoadGen then also has service times, which separate the time in the queue (`server_block`).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from fleetmark_harness.adapters import Adapter
from fleetmark_harness.calibrate import Calibration
from fleetmark_harness.exit_codes import LOADGEN_FAILED, JobError
from fleetmark_harness.job import JobSpec
from fleetmark_harness.loadgen_test import (
    DETAIL,
    LOGS,
    ObservedTest,
    Test,
    check_logs,
    read_details,
    read_settings,
)
from fleetmark_harness.native_tool import (
    NativeTool,
    NativeToolUnavailable,
    choose_tool,
    run_tool,
)
from fleetmark_harness.progress import ProgressReporter
from fleetmark_harness.results import Measured
from fleetmark_harness.server_block import block_figures, plan_block
from fleetmark_harness.settings import (
    RequestedSettings,
    expected_samples,
    server_rate,
    user_conf,
    wanted_of,
)
from fleetmark_harness.task import Task

FORMAT = 1
ROUNDS = 9
_BLOCK_MS = 250
_MIN_CALLS = 8
_KEPT_SAMPLES = 64
_TIME_SHARE = 0.5
"""The rounds take at most this share of the time limit."""
_FOLDER = "crosscheck"
_PERCENTILES = {
    "SingleStream": (
        "result_50.00_percentile_latency_ns",
        "result_90.00_percentile_latency_ns",
    ),
    "MultiStream": (
        "result_50.00_percentile_per_query_latency_ns",
        "result_99.00_percentile_per_query_latency_ns",
    ),
    "Server": (
        "result_50.00_percentile_latency_ns",
        "result_99.00_percentile_latency_ns",
    ),
}
"""LoadGen's median latency, and the percentile of the explained figure, by scenario.

The figure is the official one; in Server, the latency that must not exceed the limit.
"""


class _Blocks:
    """The blocks of one kind each. Times are nanoseconds per query, in Offline per sample."""

    def __init__(
        self,
        loadgen: Any,
        job: JobSpec,
        task: Task,
        calibration: Calibration,
        batch_size: int,
        left_s: float,
        has_tool: bool,
    ) -> None:
        self._loadgen, self._job, self._task = loadgen, job, task
        self._offline, self._server = job.scenario == "Offline", job.scenario == "Server"
        self._batch_size = batch_size
        self.block_ms = max(_BLOCK_MS, -(-_MIN_CALLS * calibration.latency_ns // 1_000_000))
        count = min(task.performance_count, max(_KEPT_SAMPLES, batch_size))
        data = task.prepare(np.arange(count, dtype=np.int64))
        places = np.arange(batch_size) % count
        turns = min(count, max(2, _KEPT_SAMPLES // batch_size))
        self._batches = [data[(places + turn * batch_size) % count] for turn in range(turns)]
        wanted = RequestedSettings(self.block_ms)
        least = batch_size if self._offline else _MIN_CALLS
        loadgen_s, others_s = self.block_ms / 1e3, (3 if has_tool else 2) * self.block_ms / 1e3
        if self._server:
            own = wanted_of(job)
            rate = server_rate(calibration, own)
            service_s = calibration.latency_ns / 1e9
            block = plan_block(rate, service_s, loadgen_s, others_s, _TIME_SHARE * left_s, ROUNDS)
            least, loadgen_s = block.queries, block.duration_s
            wanted = RequestedSettings(self.block_ms, rate, own.target_latency_ms)
        self.rounds = planned_rounds(left_s, others_s + loadgen_s)
        table = job.profile_settings[job.scenario]
        self.user_conf = user_conf(job.scenario, table, calibration, wanted, least)
        self._settings = read_settings(loadgen, job, self.user_conf)
        self._seed = int(self._settings.schedule_rng_seed)
        self._expected = expected_samples(job.scenario, calibration, wanted)
        self.last: ObservedTest | None = None

    def loop(self, *, answers: bool) -> dict[str, float]:
        """Call the model, with `answers` also the program's answer; nothing else is timed."""
        run, answer, clock = self._task.run, self._task.answer, time.perf_counter_ns
        batches = self._batches
        taken: list[int] = []
        end = clock() + self.block_ms * 1_000_000
        while True:
            batch = batches[len(taken) % len(batches)]
            start = clock()
            if answers:
                answer(run(batch))
            else:
                run(batch)
            stop = clock()
            taken.append(stop - start)
            if stop >= end and len(taken) >= _MIN_CALLS:
                break
        size = self._batch_size if self._offline else 1
        p50, mean = float(np.median(taken)) / size, float(np.mean(taken)) / size
        if not answers:
            return {"loop_p50_ns": p50, "loop_mean_ns": mean}
        return {"answer_ns": mean if self._offline else p50}

    def under_loadgen(self, number: int) -> dict[str, float]:
        """Run the system under test of this scenario under LoadGen; the last logs are kept.

        `number` is that of the round.
        """
        if self._server:
            # With one seed, all blocks would have the same arrivals, and agree by that alone.
            self._settings.schedule_rng_seed = (self._seed + number) % 2**64
        folder = self._job.out / _FOLDER
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        parts = (self._loadgen, self._job, self._task, self._batch_size, self._expected)
        one = Test(*parts, timed=self._server)
        self.last = ran = one.run(self._settings, folder)
        check_logs(folder, accuracy=False)
        logged = read_details(folder / DETAIL)
        try:
            if self._offline:
                total_ns = float(ran.samples.max())
                per_sample = 1e9 / float(logged["result_samples_per_second"])
                return {
                    "harness_ns": total_ns / ran.sample_count,
                    "loadgen_ns": per_sample,
                    "official_ns": per_sample,
                }
            middle, official = _PERCENTILES[self._job.scenario]
            if ran.service_times is not None:
                inside = block_figures(ran.service_times, ran.samples)
            else:
                inside = {"harness_ns": float(np.median(ran.samples))}
            return {
                **inside,
                "loadgen_ns": float(logged[middle]),
                "official_ns": float(logged[official]),
            }
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise JobError(
                LOADGEN_FAILED, f"a value in LoadGen's log is missing or not valid: {error!r}"
            ) from error

    def keep_logs(self) -> None:
        """Move the logs of the last block under LoadGen to the logs of the job."""
        folder = self._job.out / _FOLDER
        for name in LOGS:
            shutil.move(folder / name, self._job.out / name)
        shutil.rmtree(folder)


def crosscheck(
    loadgen: Any,
    job: JobSpec,
    adapter: Adapter,
    task: Task,
    calibration: Calibration,
    batch_size: int,
    progress: ProgressReporter,
    left_s: float,
) -> Measured:
    """Measure the parts of the latency in rounds of blocks.

    Args:
        loadgen: the module of LoadGen.
        job: the job.
        adapter: the loaded model.
        task: the loaded task.
        calibration: the measured latency.
        batch_size: number of samples per call.
        progress: receives the progress.
        left_s: time until the limit of the job.

    Raises:
        JobError: BAD_JOB: in Server, the time that is left is too short for a block;
            LOADGEN_FAILED, NO_SPACE.
        OSError: the logs cannot be written.
    """
    tool, why = _tool(job, adapter, batch_size)
    blocks = _Blocks(loadgen, job, task, calibration, batch_size, left_s, tool is not None)
    block_s, planned = blocks.block_ms / 1e3, blocks.rounds
    calls = max(_MIN_CALLS, int(block_s * 1e9 / calibration.latency_ns))
    native: list[float] = []
    rounds: list[dict[str, float]] = []
    for number in range(planned):
        progress.report("crosscheck", number, planned)
        kinds: list[Callable[[], dict[str, float]]] = [
            lambda: blocks.loop(answers=False),
            lambda: blocks.loop(answers=True),
            lambda number=number: blocks.under_loadgen(number),  # type: ignore[misc]
        ]
        if tool is not None:
            kinds.append(lambda tool=tool: _native(tool, job, calls, block_s))  # type: ignore[misc]
        found: dict[str, float] = {}
        for kind in kinds if number % 2 == 0 else reversed(kinds):
            try:
                found.update(kind())
            except NativeToolUnavailable as error:
                tool, why = None, str(error)
        if tool is not None:
            native.append(found.pop("native_ns"))
        found.pop("native_ns", None)
        rounds.append(found)
    blocks.keep_logs()
    if tool is not None:
        rounds = [{**one, "native_ns": value} for one, value in zip(rounds, native, strict=True)]
    last = blocks.last
    assert last is not None
    return Measured(
        query_count=last.query_count,
        sample_count=last.sample_count,
        samples=last.samples,
        calibration=calibration,
        accuracy=None,
        user_conf=blocks.user_conf,
        audit_config="",
        start_unix_ns=last.start_unix_ns,
        duration_ns=last.duration_ns,
        short_batches=last.short_batches,
        crosscheck={
            "format": FORMAT,
            "block_ms": blocks.block_ms,
            "batch_size": batch_size,
            "rounds": rounds,
            "native": None if tool is None else asdict(tool),
            "native_unavailable": why,
        },
    )


def planned_rounds(left_s: float, round_s: float) -> int:
    """Return how many rounds of `round_s` fit into a share of the time that is left; at least 1."""
    return max(1, min(ROUNDS, int(_TIME_SHARE * left_s / round_s)))


def _tool(job: JobSpec, adapter: Adapter, batch_size: int) -> tuple[NativeTool | None, str | None]:
    try:
        return choose_tool(job, adapter, batch_size), None
    except NativeToolUnavailable as error:
        return None, str(error)


def _native(tool: NativeTool, job: JobSpec, calls: int, block_s: float) -> dict[str, float]:
    return {"native_ns": run_tool(tool, job.input("model"), job.parameters, calls, block_s)}
