"""Whole agents as processes, real jobs, a real wire."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetmark_agent.runner.prepare import NO_TELEMETRY
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.lockfile import DeclaredOutput
from fleetmark_core.records import record_digest, seal
from tests.support.agent_process import AgentProcess, assert_no_overlap
from tests.support.bundles import GATED, QUICK, make_lock, make_order, wheel
from tests.support.fake_controller import FakeController


async def held_is_empty(agent: AgentProcess) -> None:
    """Wait until the agent has forgotten everything."""
    path = agent.home / "ledger.json"
    while json.loads(path.read_text())["attempts"] or list(agent.home.glob("attempts/*")):
        await asyncio.sleep(0.02)


async def test_a_job_runs_and_its_records_arrive_once_and_sealed(
    agent: AgentProcess, controller: FakeController
) -> None:
    await agent.start("--label", "site=lab 1")
    hello = controller.hellos[0]
    assert (hello.name, hello.idle, dict(hello.labels)) == ("device", True, {"site": "lab 1"})
    assert hello.capabilities.cpu.logical_cores == os.cpu_count()
    order = make_order(
        controller, make_lock(controller, inputs={"model": ("m.onnx", b"weights")}), size=3
    )
    key = (order.job_id, order.epoch)
    controller.offer(order)
    final = await controller.final(key)
    assert (final.outcome, final.exit_code, final.reason) == ("completed", 0, "")
    box = controller.boxes[key]
    assert final.count == len(box.records) == box.received
    digests = [record_digest(seq, *box.records[seq]) for seq in range(1, final.count)]
    assert final.digest == seal(digests)
    files = {
        json.loads(p)["role"]: json.loads(p) for kind, p in box.records.values() if kind == "file"
    }
    result = json.loads(controller.blobs[files["result"]["sha256"]])
    assert result["parameters"] == {"size": 3}
    assert controller.blobs[files["stdout"]["sha256"]] == b"hello from the job\n"
    provenance = final.provenance
    assert provenance["program_result"] == result
    assert provenance["lock_sha256"] == order.lock_sha256
    assert provenance["sandbox"] == hello.capabilities.sandbox.level
    assert provenance["sandbox_details"]["level"] == provenance["sandbox"]
    assert provenance["peak_memory_bytes"] > 1_000_000
    states = controller.states(key)
    assert states[:1] == ["PREPARING"] and "RUNNING" in states
    await asyncio.wait_for(held_is_empty(agent), 20)
    assert_no_overlap(agent.trace())
    assert await agent.end() == 0
    assert controller.byes


async def test_a_killed_agent_adopts_its_running_job(
    agent: AgentProcess, controller: FakeController, tmp_path: Path
) -> None:
    await agent.start()
    gate = agent.gates / "gate"
    order = make_order(controller, make_lock(controller, GATED), gate=str(gate))
    key = (order.job_id, order.epoch)
    controller.offer(order)
    await controller.wait_for(lambda: "RUNNING" in controller.states(key))
    await agent.end(signal.SIGKILL)
    await agent.start()
    hello = controller.hellos[-1]
    assert not hello.idle
    assert [report.attempt.job_id for report in hello.attempts] == [order.job_id]
    assert hello.highest_epoch == 1
    gate.touch()
    final = await controller.final(key)
    assert final.outcome == "completed"
    assert len([line for line in agent.trace() if line["event"] == "started"]) == 1


async def test_a_job_that_ended_while_the_agent_was_away_is_collected(
    agent: AgentProcess, controller: FakeController, tmp_path: Path
) -> None:
    await agent.start()
    gate = agent.gates / "gate"
    order = make_order(controller, make_lock(controller, GATED), gate=str(gate))
    controller.offer(order)
    key = (order.job_id, order.epoch)
    await controller.wait_for(lambda: "RUNNING" in controller.states(key))
    await agent.end(signal.SIGKILL)
    gate.touch()
    outcome = agent.home / "attempts" / f"{order.job_id}.1" / "outcome.json"
    while not outcome.exists():
        await asyncio.sleep(0.02)
    await agent.start()
    assert (await controller.final(key)).outcome == "completed"
    assert_no_overlap(agent.trace())


@pytest.mark.parametrize("victims", ["supervisor", "supervisor and agent"])
async def test_a_killed_supervisor_fails_the_attempt_for_another_try(
    agent: AgentProcess, controller: FakeController, tmp_path: Path, victims: str
) -> None:
    await agent.start()
    # A child of the job that would survive it, and keep the device's lock.
    stubborn = """
import subprocess
subprocess.Popen(["sleep", "600"], start_new_session=True, close_fds=False)
"""
    order = make_order(
        controller, make_lock(controller, stubborn + GATED), gate=str(agent.gates / "never")
    )
    controller.offer(order)
    key = (order.job_id, order.epoch)
    await controller.wait_for(lambda: "RUNNING" in controller.states(key))
    folder = agent.home / "attempts" / f"{order.job_id}.1"
    while not (folder / "out" / "result.json").exists():
        await asyncio.sleep(0.02)
    if "agent" in victims:
        await agent.end(signal.SIGKILL)
    os.kill(json.loads((folder / "started.json").read_text())["pid"], signal.SIGKILL)
    if "agent" in victims:
        await agent.start()
    final = await controller.final(key)
    assert (final.outcome, final.retryable) == ("failed", True)
    assert "supervisor was killed" in final.reason
    await controller.wait_for(lambda: controller.heartbeats[-1].idle)
    assert_no_overlap(agent.trace())
    # And the device takes new work.
    again = make_order(controller, make_lock(controller), epoch=2, job_id=order.job_id)
    controller.offer(again)
    assert (await controller.final((order.job_id, 2))).outcome == "completed"


async def test_a_killed_agent_resumes_a_preparation(
    agent: AgentProcess, controller: FakeController
) -> None:
    await agent.start()
    data = os.urandom(1 << 20)
    lock = make_lock(controller, inputs={"model": ("m", data)})
    order = make_order(controller, lock)
    model = lock.inputs["model"].sha256
    # The model's transfer is cut again and again, until the agent is killed in the midst of it.
    controller.cut_after = [1 << 20, 1 << 20, 300_000] + [0] * 50
    controller.offer(order)
    await controller.wait_for(lambda: "PREPARING" in controller.states((order.job_id, 1)))
    while len([d for d in controller.downloads if d[0] == model]) < 2:
        await asyncio.sleep(0.02)
    await agent.end(signal.SIGKILL)
    controller.cut_after = []
    await agent.start()
    assert (await controller.final((order.job_id, 1))).outcome == "completed"
    offsets = [offset for sha256, offset in controller.downloads if sha256 == model]
    assert offsets[0] == 0 and offsets[-1] >= 300_000


async def test_a_missing_declared_output_fails_the_attempt_and_is_named(
    agent: AgentProcess, controller: FakeController
) -> None:
    await agent.start()
    outputs = (
        DeclaredOutput("result.json", "result"),
        DeclaredOutput("samples.i64", "samples"),
        DeclaredOutput("extra.txt", "extra", required=False),
    )
    order = make_order(controller, make_lock(controller, outputs=outputs))
    controller.offer(order)
    final = await controller.final((order.job_id, 1))
    assert (final.outcome, final.exit_code, final.retryable) == ("failed", 0, False)
    assert "samples.i64" in final.reason and "extra.txt" not in final.reason


@pytest.mark.parametrize(
    ("source", "outcome", "words", "retryable"),
    [
        (
            "import sys; print('cannot load libfoo', file=sys.stderr); sys.exit(12)",
            "failed",
            "libfoo",
            False,
        ),
        ("raise ValueError('broken')", "failed", "ValueError: broken", True),
        ("import os; os.kill(os.getpid(), 9)", "failed", "killed by SIGKILL", True),
        ("import os; os.abort()", "failed", "crashed with SIGABRT", False),
        ("import time; time.sleep(600)", "timeout", "time limit of 1 s", False),
    ],
)
async def test_how_a_job_ends_badly(
    agent: AgentProcess,
    controller: FakeController,
    source: str,
    outcome: str,
    words: str,
    retryable: bool,
) -> None:
    await agent.start()
    limit = 1.0 if outcome == "timeout" else 60.0
    order = make_order(controller, make_lock(controller, source, outputs=()), timeout_s=limit)
    controller.offer(order)
    final = await controller.final((order.job_id, 1))
    assert (final.outcome, final.retryable) == (outcome, retryable)
    assert words in final.reason


async def test_stop_kills_the_job_reports_aborted_and_forgets_when_confirmed(
    agent: AgentProcess, controller: FakeController, tmp_path: Path
) -> None:
    await agent.start()
    order = make_order(controller, make_lock(controller, GATED), gate=str(agent.gates / "never"))
    key = (order.job_id, order.epoch)
    controller.offer(order)
    await controller.wait_for(lambda: "RUNNING" in controller.states(key))
    controller.order_stop(key, "cancelled by an operator")
    await controller.wait_for(lambda: "ABORTED" in controller.states(key))
    assert controller.reason(key) == "cancelled by an operator"
    await asyncio.wait_for(held_is_empty(agent), 20)
    assert_no_overlap(agent.trace())
    assert key not in controller.boxes


async def test_stop_during_preparation(agent: AgentProcess, controller: FakeController) -> None:
    await agent.start()
    lock = make_lock(controller, inputs={"model": ("m", os.urandom(1 << 18))})
    order = make_order(controller, lock)
    controller.cut_after = [1 << 20] + [0] * 1000
    controller.offer(order)
    await controller.wait_for(lambda: "PREPARING" in controller.states((order.job_id, 1)))
    controller.order_stop((order.job_id, 1))
    await controller.wait_for(lambda: "ABORTED" in controller.states((order.job_id, 1)))
    await asyncio.wait_for(held_is_empty(agent), 20)
    assert not (agent.home / "trace.jsonl").exists()


async def test_a_graceful_end_hands_the_attempt_back(
    agent: AgentProcess, controller: FakeController, tmp_path: Path
) -> None:
    await agent.start()
    order = make_order(controller, make_lock(controller, GATED), gate=str(agent.gates / "never"))
    key = (order.job_id, order.epoch)
    controller.offer(order)
    await controller.wait_for(lambda: "RUNNING" in controller.states(key))
    assert await agent.end(signal.SIGTERM) == 0
    assert controller.states(key)[-1] == "ABORTED"
    assert controller.reports[-1].retryable
    assert controller.byes
    assert_no_overlap(agent.trace())


async def test_lost_contact_never_stops_a_run(
    agent: AgentProcess, controller: FakeController, tmp_path: Path
) -> None:
    await agent.start()
    gate = agent.gates / "gate"
    order = make_order(controller, make_lock(controller, GATED), gate=str(gate))
    key = (order.job_id, order.epoch)
    controller.offer(order)
    await controller.wait_for(lambda: "RUNNING" in controller.states(key))
    await controller.stop()
    gate.touch()
    while not (agent.home / "spool" / f"{order.job_id}.1.spool").exists():
        await asyncio.sleep(0.02)
    await controller.start()
    assert (await controller.final(key)).outcome == "completed"
    assert controller.hellos[-1].attempts[0].state == 4  # UPLOADING


async def test_results_wait_while_the_controller_takes_nothing(
    agent: AgentProcess, controller: FakeController
) -> None:
    controller.credit = 0
    await agent.start()
    order = make_order(controller, make_lock(controller))
    controller.append_error = FleetmarkError(ErrorKind.BACK_PRESSURE, "not now")
    controller.offer(order)
    key = (order.job_id, 1)
    await controller.wait_for(lambda: "UPLOADING" in controller.states(key))
    controller.append_error = None
    controller.credit = 1 << 20
    assert (await controller.final(key)).outcome == "completed"
    await asyncio.wait_for(held_is_empty(agent), 20)


async def test_second_offer_while_busy_is_refused_and_the_same_one_is_answered(
    agent: AgentProcess, controller: FakeController, tmp_path: Path
) -> None:
    await agent.start()
    gate = agent.gates / "gate"
    lock = make_lock(controller, GATED)
    first = make_order(controller, lock, gate=str(gate))
    controller.offer(first)
    key = (first.job_id, 1)
    await controller.wait_for(lambda: "RUNNING" in controller.states(key))
    second = make_order(controller, lock, epoch=2, gate=str(gate))
    controller.offer(second)
    await controller.wait_for(lambda: "REFUSED" in controller.states((second.job_id, 2)))
    assert first.job_id in controller.reason((second.job_id, 2))
    controller.offer(first)
    gate.touch()
    assert (await controller.final(key)).outcome == "completed"
    await asyncio.wait_for(held_is_empty(agent), 20)
    # Everything is forgotten but the epochs: neither runs again.
    controller.offer(first)
    await controller.wait_for(lambda: controller.states(key)[-1] == "REFUSED")
    assert len([line for line in agent.trace() if line["event"] == "started"]) == 1


async def test_wheels_make_an_environment_that_a_second_job_shares(
    agent: AgentProcess, controller: FakeController
) -> None:
    await agent.start()
    wheels = (wheel("tiny", {"tiny/__init__.py": "def answer():\n    return 42\n"}),)
    source = """
import json, sys, tiny
outside = [p for p in sys.path if "site-packages" in p]
with open("result.json", "w") as file:
    json.dump({"answer": tiny.answer(), "outside": outside, "cached": tiny.__cached__}, file)
"""
    lock = make_lock(controller, source, wheels=wheels)
    for epoch in (1, 2):
        order = make_order(controller, lock, epoch=epoch)
        controller.offer(order)
        final = await controller.final((order.job_id, epoch))
        assert final.outcome == "completed", final.reason
        result = final.provenance["program_result"]
        assert (result["answer"], result["outside"]) == (42, [])
        assert Path(result["cached"]).exists()
        await asyncio.wait_for(held_is_empty(agent), 20)
    assert len(list((agent.home / "cache" / "envs").iterdir())) == 1
    downloads = [sha256 for sha256, _ in controller.downloads]
    assert len(downloads) == len(set(downloads))


async def test_a_blob_with_other_bytes_is_refused_by_name(
    agent: AgentProcess, controller: FakeController
) -> None:
    await agent.start()
    lock = make_lock(controller, inputs={"model": ("model.onnx", b"weights")})
    order = make_order(controller, lock)
    controller.blobs[lock.inputs["model"].sha256] = b"wEights"
    controller.offer(order)
    await controller.wait_for(lambda: "REFUSED" in controller.states((order.job_id, 1)))
    assert controller.reason((order.job_id, 1)).startswith("model.onnx: sha256 is ")
    await asyncio.wait_for(held_is_empty(agent), 20)


async def test_the_environment_of_a_job_is_clean(
    agent: AgentProcess, controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "token")
    await agent.start()
    source = """
import json, os
fds = sorted(int(n) for n in os.listdir("/proc/self/fd"))
with open("result.json", "w") as file:
    json.dump({"environment": dict(os.environ), "cwd": os.getcwd(), "fds": fds}, file)
"""
    lock = make_lock(controller, source, environment={"OMP_NUM_THREADS": "1", "PATH": "/evil"})
    order = make_order(controller, lock)
    controller.offer(order)
    result = (await controller.final((order.job_id, 1))).provenance["program_result"]
    names = {
        "FLEETMARK_JOB",
        "FLEETMARK_OUT",
        *NO_TELEMETRY,
        "PATH",
        "LANG",
        "TMPDIR",
        "HOME",
    }
    assert set(result["environment"]) - {"LC_CTYPE"} == names | {"OMP_NUM_THREADS"}
    assert result["environment"]["PATH"] == "/usr/local/bin:/usr/bin:/bin"
    assert result["cwd"] == result["environment"]["FLEETMARK_OUT"]
    # Standard streams, progress, the lock, and what listing them opened.
    assert result["fds"][:5] == [0, 1, 2, 3, 4] and len(result["fds"]) == 6


async def test_once_ends_after_a_job(agent: AgentProcess, controller: FakeController) -> None:
    await agent.start("--once")
    order = make_order(controller, make_lock(controller, QUICK))
    controller.offer(order)
    assert agent.process is not None
    assert await asyncio.wait_for(agent.process.wait(), 60) == 0
    assert controller.boxes[order.job_id, 1].final.outcome == "completed"


@pytest.fixture
def small_disk(agent: AgentProcess) -> Iterator[Path]:
    """The agent's home becomes a file system of 12 MB."""
    config = (agent.home / "config.toml").read_text()
    command = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(agent.home)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    (agent.home / "config.toml").write_text(config)
    yield agent.home
    subprocess.run(["umount", "-l", str(agent.home)], check=True)


async def test_a_bundle_that_will_not_fit_is_refused_before_any_transfer(
    agent: AgentProcess, controller: FakeController, small_disk: Path
) -> None:
    await agent.start()
    lock = make_lock(controller, inputs={"model": ("m", b"x" * 53_100_000)})
    order = make_order(controller, lock)
    controller.offer(order)
    await controller.wait_for(lambda: "REFUSED" in controller.states((order.job_id, 1)))
    reason = controller.reason((order.job_id, 1))
    assert "needs 53.1 MB, 12." in reason and str(small_disk) in reason
    assert [sha256 for sha256, _ in controller.downloads] == [order.lock_sha256]
    # It is not the end of the device.
    order = make_order(controller, make_lock(controller), epoch=2)
    controller.offer(order)
    assert (await controller.final((order.job_id, 2))).outcome == "completed"


async def test_results_of_a_job_that_filled_the_disk_arrive_once_there_is_room(
    agent: AgentProcess, controller: FakeController, small_disk: Path
) -> None:
    await agent.start()
    source = """
import os
data = os.urandom(1 << 16)
with open("result.json", "w") as file:
    file.write('{"format": 1}')
try:
    with open("filler", "wb", buffering=0) as file:
        while True:
            file.write(data)
except OSError:
    pass
try:
    with open("../filler", "wb", buffering=0) as file:
        while True:
            file.write(b"x")
except OSError:
    os._exit(0)
"""
    order = make_order(controller, make_lock(controller, source))
    key = (order.job_id, 1)
    controller.offer(order)
    await controller.wait_for(lambda: "RUNNING" in controller.states(key))
    while "results not stored" not in agent.events():
        await asyncio.sleep(0.05)
    # The agent is there all the while.
    seen = len(controller.heartbeats)
    await controller.wait_for(lambda: len(controller.heartbeats) > seen + 2)
    for filler in small_disk.rglob("filler"):
        filler.unlink()
    final = await controller.final(key)
    assert final.outcome == "completed"
    await asyncio.wait_for(held_is_empty(agent), 20)
    assert list((small_disk / "spool").iterdir()) == []


async def test_a_full_spool_refuses_new_runs_and_drops_nothing(
    agent: AgentProcess, controller: FakeController
) -> None:
    with (agent.home / "config.toml").open("a") as config:
        config.write("spool_limit_bytes = 1024\n")
    await agent.start()
    controller.append_error = FleetmarkError(ErrorKind.BACK_PRESSURE, "not now")
    first = make_order(controller, make_lock(controller))
    controller.offer(first)
    await controller.wait_for(lambda: "UPLOADING" in controller.states((first.job_id, 1)))
    second = make_order(controller, make_lock(controller), epoch=2)
    controller.offer(second)
    await controller.wait_for(lambda: "REFUSED" in controller.states((second.job_id, 2)))
    assert "wait for upload, the limit is 1024" in controller.reason((second.job_id, 2))
    controller.append_error = None
    assert (await controller.final((first.job_id, 1))).outcome == "completed"


async def test_links_and_devices_among_the_outputs_are_not_followed(
    agent: AgentProcess, controller: FakeController
) -> None:
    await agent.start()
    source = "import os; os.symlink('/etc/passwd', 'result.json')"
    order = make_order(controller, make_lock(controller, source))
    controller.offer(order)
    final = await controller.final((order.job_id, 1))
    assert (final.outcome, final.reason) == ("failed", "a declared output is missing: result.json")


async def test_a_controller_that_restarts_every_moment_gets_everything_once(
    agent: AgentProcess, controller: FakeController
) -> None:
    await agent.start()
    lock = make_lock(controller)
    for epoch in range(1, 6):
        await asyncio.wait_for(controller.online.wait(), 60)
        order = make_order(controller, lock, epoch=epoch, job_id=f"job-{epoch}")
        controller.offer(order)
        await controller.wait_for(lambda key=(order.job_id, epoch): controller.states(key))
        await controller.stop()
        await asyncio.sleep(0.1 * epoch)
        await controller.start()
        final = await controller.final((order.job_id, epoch))
        assert final.outcome == "completed" and controller.boxes[order.job_id, epoch].conflicts == 0
    assert_no_overlap(agent.trace())


async def test_an_agent_killed_at_any_moment_loses_and_doubles_nothing(
    agent: AgentProcess, controller: FakeController
) -> None:
    """Kill after kill, a little later each time, until the job is through."""
    source = "import time; time.sleep(0.3); open('result.json', 'w').write('{}'); print('x')"
    wheels = (wheel("tiny", {"tiny.py": "X = 1\n"}),)
    lock = make_lock(controller, source, wheels=wheels)
    await agent.start()
    order = make_order(controller, lock)
    key = (order.job_id, 1)
    controller.offer(order)
    for moment in range(8):
        await asyncio.sleep(0.08 * moment)
        await agent.end(signal.SIGKILL)
        await agent.start()
        if not controller.states(key):
            controller.offer(order)
    final = await controller.final(key)
    assert final.outcome == "completed", final.reason
    box = controller.boxes[key]
    assert final.count == len(box.records) and box.conflicts == 0
    await asyncio.wait_for(held_is_empty(agent), 20)
    assert [line["event"] for line in agent.trace()] == ["started", "ended"]


async def test_telemetry_of_a_job_is_in_its_records(
    agent: AgentProcess, controller: FakeController, tmp_path: Path
) -> None:
    await agent.start()
    gate = agent.gates / "gate"
    busy = GATED.replace("time.sleep(0.02)", "sum(range(20000))")
    order = make_order(controller, make_lock(controller, busy), gate=str(gate))
    key = (order.job_id, 1)
    controller.offer(order)
    rows = agent.home / "attempts" / f"{order.job_id}.1" / "telemetry.jsonl"
    while not rows.exists() or rows.read_text().count("\n") < 5:
        await asyncio.sleep(0.02)
    progress = await controller.wait_for(
        lambda: [r.progress for r in controller.reports if r.progress.phase == "run"]
    )
    assert (progress[0].done, progress[0].total) == (1, 2)
    gate.touch()
    await controller.final(key)
    (payload,) = [p for kind, p in controller.boxes[key].records.values() if kind == "telemetry"]
    table = json.loads(payload)
    rows_taken = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    # The first and the last may have been taken when the job's processes were not there.
    last = [row for row in rows_taken if row["memory_bytes"] is not None and row["cpu_percent"]][-1]
    assert last["elapsed_ms"] > 0 and last["memory_bytes"] > 1 << 20
    assert last["cpu_percent"] > 0 and last["foreign_cpu_percent"] >= 0
    assert all(row["memory_bytes"] != 0 for row in rows_taken)
    if not list(Path("/sys/class/thermal").glob("thermal_zone*/temp")):
        assert last["temperature_c"] is None
