"""Watchers and readers: one subscription each, coalesced; a device is asked once."""

from __future__ import annotations

import asyncio

from fleetmark_controller.api.watch_stream import track_job
from fleetmark_controller.cli.progress_text import DeviceProgress, phase
from fleetmark_controller.engine.log_tail import LogTailHub
from fleetmark_controller.engine.pubsub import Hub
from fleetmark_controller.operations.effects import TailEffect
from fleetmark_controller.planning.estimates import (
    DurationHistory,
    JobEstimate,
    by_profile,
    left_s,
    size_of,
)
from fleetmark_controller.store.jobs.attempts import AttemptKey
from fleetmark_controller.store.jobs.listings import JobLine
from fleetmark_protos.v1 import common_pb2, jobs_pb2

KEY = AttemptKey("d1", "job-1", 1)


async def test_a_slow_watcher_keeps_the_newest_of_each_thing() -> None:
    hub: Hub[int] = Hub()
    with hub.subscribe("c") as slow, hub.subscribe("c") as other:
        for number in range(1000):
            hub.publish("c", number % 3, number)
        hub.publish("elsewhere", 0, -1)
        assert [await slow.get() for _ in range(3)] == [997, 998, 999]
        hub.publish("c", 0, 7)
        hub.close()
        assert [await slow.get(), await slow.get()] == [7, None], "what waits comes before the end"
        assert await other.get() == 997
    assert not hub.listened("c")


async def test_a_watcher_that_waits_is_woken() -> None:
    hub: Hub[str] = Hub()
    with hub.subscribe("c") as watcher:
        waiting = asyncio.ensure_future(watcher.get())
        await asyncio.sleep(0)
        hub.publish("c", 1, "news")
        assert await waiting == "news"


async def test_a_device_is_asked_once_however_many_read() -> None:
    asked: list[TailEffect] = []
    logs = LogTailHub(asked.append)
    with logs.reading(KEY) as first:
        logs.written(KEY, "stdout", 0, b"one\n", end=False)
        with logs.reading(KEY) as second:
            logs.written(KEY, "stdout", 4, b"two\n", end=False)
            assert [(await second.get()).data for _ in range(2)] == [b"one\n", b"two\n"]
        # The device came back and begins with its last bytes again: nothing is said twice.
        logs.is_back("d1")
        logs.written(KEY, "stdout", 0, b"one\ntwo\nthree\n", end=False)
        assert [(await first.get()).data for _ in range(3)] == [b"one\n", b"two\n", b"three\n"]
        logs.ended("job-1")
        assert (await first.get()).end
    assert [effect.wanted for effect in asked] == [True, True, False]
    logs.written(KEY, "stdout", 0, b"without readers", end=False)


def test_a_job_that_runs_before_it_is_published_keeps_the_watch_open() -> None:
    """A repetition may be assigned before it is published; stale news may follow."""

    def line(job_id: str, state: str) -> JobLine:
        return JobLine(job_id, "c", "d", "", state, "", 1, "", "", "")

    open_jobs: set[str] = set()
    ended: set[str] = set()
    track_job(open_jobs, ended, line("one", "ACTIVE"))
    track_job(open_jobs, ended, line("two", "ACTIVE"))
    track_job(open_jobs, ended, line("one", "SUCCEEDED"))
    assert open_jobs == {"two"}
    track_job(open_jobs, ended, line("one", "QUEUED"))
    track_job(open_jobs, ended, line("two", "INVALID"))
    assert not open_jobs


def test_estimates() -> None:
    profile = {"warmup_ms": 100, "calibration_ms": 200, "Offline": {"min_duration_ms": 1000}}
    assert by_profile(profile, "Offline", "performance") == 6.3
    assert by_profile(profile, "Offline", "accuracy") == 5.3
    earlier = DurationHistory({(("k", "performance"), "d1"): 10.0}, {("k", "performance"): 20.0})
    assert earlier.longest_s(("k", "performance"), ["d1"]) == 10.0
    assert earlier.longest_s(("k", "performance"), ["d2"]) == 20.0
    assert earlier.longest_s(("k", "accuracy"), ["d1"]) is None
    size = size_of(
        [JobEstimate(("a",), 5, True), JobEstimate(("a",), 5, False), JobEstimate(("b",), 3, True)]
    )
    assert (size.jobs, size.devices, size.longest_s, size.longest_device) == (3, 2, 10, "a")
    assert (size.total_s, size.by_earlier_runs) == (13, 2)
    spread = size_of([JobEstimate(("a", "b"), 4, True)] * 6)
    assert (spread.longest_s, spread.longest_device) == (12, "")


def test_time_left() -> None:
    assert left_s(None, 5, "load", 0, 0) is None
    assert left_s(20, 5, "load", 0, 0) == 15
    assert left_s(20, 50, "load", 0, 0) == 0, "never negative"
    assert left_s(20, 30, "run", 3, 4) == 10, "what it says itself is better than the estimate"
    assert left_s(20, 5, "run", 1, 10) == 15, "but not at its very beginning"


def test_progress_in_words() -> None:
    progress = jobs_pb2.JobProgress(
        job_id="j1",
        state=common_pb2.ATTEMPT_STATE_RUNNING,
        progress=common_pb2.Progress(phase="run", done=2, total=5),
        temperature_c=61.4,
        time_left_ns=12 * 10**9,
    )
    assert phase(progress) == "run 40 %, 61 °C, 12 s left"
    assert phase(jobs_pb2.JobProgress(state=common_pb2.ATTEMPT_STATE_PREPARING)) == "preparing"
    device = DeviceProgress()
    device.jobs = {
        "j0": jobs_pb2.Job(job_id="j0", state="SUCCEEDED"),
        "j1": jobs_pb2.Job(job_id="j1", state="ACTIVE", expected_ns=30 * 10**9),
        "j2": jobs_pb2.Job(job_id="j2", state="QUEUED", expected_ns=5 * 10**9),
    }
    assert (device.done, device.left_s()) == (1, 35)
    device.now = progress
    assert device.left_s() == 17
