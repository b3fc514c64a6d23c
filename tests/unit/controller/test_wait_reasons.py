"""Why jobs wait, as watchers see it: groups of reasons, only what changed, piped and live."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping

import pytest
from rich.console import Console

from fleetmark_controller.cli import watch
from fleetmark_controller.cli.live_display import LiveDisplay
from fleetmark_controller.cli.progress_text import DeviceProgress
from fleetmark_controller.cli.wait_summary import BUSY, group_of, in_words, summarize
from fleetmark_controller.engine import wait_reasons
from fleetmark_controller.engine.wait_reasons import WaitingJobs, WaitReasons
from fleetmark_controller.scheduling.model import (
    DeviceState,
    Policy,
    PresenceSnapshot,
    SchedulerState,
    WaitingJob,
)
from fleetmark_controller.scheduling.planner import Planner
from fleetmark_controller.store.jobs.listings import JobLine
from fleetmark_protos.v1 import jobs_pb2

S = 1_000_000_000


def reasons(*devices: DeviceState, any_device: bool = False, **job: object) -> list[str]:
    """Reasons of six jobs, by the real scheduler."""
    names = [device.device_id for device in devices]
    waiting = [
        WaitingJob(
            f"job-{n}",
            n,
            0,
            dict.fromkeys(names if any_device else [names[n % len(names)]], "lock"),
            **job,  # type: ignore[arg-type]
        )
        for n in range(6)
    ]
    view = SchedulerState(waiting, {device.device_id: device for device in devices}, 100 * S)
    return list(Planner(Policy(quarantine_after=3)).plan(view).waits.values())


def device(name: str, status: str = "online", **more: object) -> DeviceState:
    return DeviceState(name, name, PresenceSnapshot(status), **more)  # type: ignore[arg-type]


def test_reasons_of_the_scheduler_fall_into_few_groups() -> None:
    away = device("b2", "offline")
    assert summarize(reasons(device("b1", busy_with="job-x"), away)) == {
        "b2 is offline": 3,
        BUSY: 3,
    }
    assert summarize(reasons(device("b1"))) == {BUSY: 5}, "the others wait for the first"
    assert summarize(reasons(device("b1", drained=True, drain_reason="new fan"))) == {
        "b1 is drained (new fan)": 6
    }
    resting = DeviceState("b1", "b1", PresenceSnapshot(rested_ns=1, refusals=1))
    assert summarize(reasons(resting)) == {"b1 refused its last job: the next offer follows": 6}
    cooling = DeviceState("b1", "b1", PresenceSnapshot(rested_ns=1))
    assert summarize(reasons(cooling, cool_down_ns=60 * S)) == {BUSY: 6}
    turns = reasons(device("b1"), interleave_group="s")
    assert summarize(turns) == {BUSY: len(turns)}
    both = reasons(device("b1", busy_with="x"), away, any_device=True)
    assert summarize(both) == {"none of 2 devices is free: 1 busy, 1 offline": 6}
    busy = reasons(device("b1", busy_with="x"), device("b2", busy_with="y"), any_device=True)
    assert summarize(busy) == {BUSY: 6}
    assert group_of("its campaign is paused") == "its campaign is paused"


def test_a_sentence_counts_in_singular_and_plural() -> None:
    assert in_words({"b is offline": 1, "c is drained": 2}) == (
        "1 job waits: b is offline; 2 jobs wait: c is drained"
    )


def job(name: str, state: str = "QUEUED", waiting: str = "", **more: object) -> jobs_pb2.Job:
    return jobs_pb2.Job(
        job_id=name,
        state=state,
        wait_reason=waiting,
        **{"device": "b2", "configuration": "toy", **more},  # type: ignore[arg-type]
    )


def test_piped_output_has_a_line_when_the_reasons_change(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = watch.Lines(2)

    def sent(*jobs: jobs_pb2.Job) -> list[str]:
        for one in jobs:
            lines.job(one)
        lines.reasons_complete()
        return capsys.readouterr().out.splitlines()

    offline = "b2 is offline"
    assert sent(
        job("a", waiting=offline), job("b", waiting=f"{offline}; 1 queued job for it runs first")
    )
    assert sent(job("b", waiting=offline)) == [], "the same reason"
    assert sent(job("a", waiting="b2 is drained")) == [
        "[0/2] 1 job waits: b2 is drained; 1 job waits: b2 is offline"
    ]
    assert sent(job("a", "ACTIVE"), job("b", waiting="b2 runs job a")) == ["[0/2] b2 toy active"]
    assert sent(job("b", waiting=offline)) == ["[0/2] 1 job waits: b2 is offline"]
    assert sent(job("b", "CANCELLED")) == ["[1/2] b2 toy cancelled"]


def test_the_count_never_passes_the_total(capsys: pytest.CaptureFixture[str]) -> None:
    """Repetitions and retries come while the campaign is followed."""
    lines = watch.Lines(1)
    for number in range(1, 4):
        lines.job(job(f"j{number}", "SUCCEEDED"))
    lines.job(job("j4", "FAILED", reason="no"))
    lines.drop(job("j4", "FAILED", reason="no", retried_as="j5"))
    lines.job(job("j5", "SUCCEEDED"))
    counts = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert counts == ["[1/1]", "[2/2]", "[3/3]", "[4/4]", "[4/4]"]


def test_a_device_without_a_running_job_shows_why_its_jobs_wait() -> None:
    dut = DeviceProgress()
    dut.jobs = {"a": job("a", waiting="b2 is offline"), "b": job("b", waiting="b2 is offline")}
    assert dut.what() == "waits: b2 is offline"
    dut.jobs["c"] = job("c", "ACTIVE")
    assert dut.what() == "toy"


@pytest.mark.parametrize("columns", [80, 140])
def test_live_lines_keep_name_and_count_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    bars = LiveDisplay()
    name = "a-device-with-a-rather-long-name"
    why = f"{name} is quarantined: 3 jobs failed on it one after another"
    bars.job(job("a", waiting=why, device=name))
    bars.job(job("b", "SUCCEEDED", device=name))
    text = io.StringIO()
    Console(file=text, width=columns).print(bars.progress_table())
    (line,) = text.getvalue().rstrip().splitlines()
    assert len(line) <= columns
    assert line.startswith(f"{name} ") and " 1/2 " in line and "waits: " in line
    bars.drop(job("b", "SUCCEEDED", device=name, retried_as="c"))
    text = io.StringIO()
    Console(file=text, width=columns).print(bars.progress_table())
    assert " 0/1 " in text.getvalue()


def test_logs_of_failed_jobs_are_pointed_to() -> None:
    failed = [job(f"01a2-0000000{n}", "FAILED", attempts=1) for n in range(7)]
    hints = list(watch.log_hints([job("never-ran", "FAILED"), *failed]))
    assert hints[0] == "  `controller jobs logs 00000000`: b2 toy"
    assert hints[-1] == "  and 2 more: `controller jobs list --state FAILED`"
    assert len(hints) == 6 and not any("never" in hint for hint in hints)


def line(name: str, state: str = "QUEUED") -> JobLine:
    return JobLine(name, "c", "d", "", state, "", 0, "", "", "")


def test_a_watcher_is_sent_a_reason_once_and_again_after_news() -> None:
    waiting = WaitingJobs()
    for name in ("a", "b"):
        waiting.update(line(name))
    output = {"a": "b2 is offline", "b": "b2 is offline"}
    assert [reason for _, reason in waiting.changed(output)] == ["b2 is offline"] * 2
    assert not waiting.changed(output)
    assert [x.job_id for x, _ in waiting.changed({**output, "b": "b2 is drained"})] == ["b"]
    waiting.update(line("a"))  # queued anew: the watcher has it without a reason now
    assert [x.job_id for x, _ in waiting.changed(output)] == ["a", "b"]
    for name in ("a", "b"):
        waiting.update(line(name, "ACTIVE"))
    assert not waiting and not waiting.changed(output)


async def test_many_watchers_ask_the_scheduler_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0]
    asked: list[int] = []
    monkeypatch.setattr(wait_reasons, "now_monotonic_ns", lambda: now[0])

    async def read() -> Mapping[str, str]:
        asked.append(now[0])
        now[0] += S  # the scheduler takes a second
        return {"a": str(len(asked))}

    kept = WaitReasons(read)
    found = await asyncio.gather(*(kept.current() for _ in range(10)))
    assert found == [{"a": "1"}] * 10 and len(asked) == 1
    now[0] += 19 * S
    assert await kept.current() == {"a": "1"}, "at most a twentieth of the time"
    now[0] += 2 * S
    assert await kept.current() == {"a": "2"}
