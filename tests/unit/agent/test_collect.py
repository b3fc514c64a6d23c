"""The files of a job become records: deterministic, resumable, checked by fixed rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fleetmark_agent.runner.collect import make_plan, spool_plan
from fleetmark_agent.runner.job_result import evaluate_exit
from fleetmark_agent.runner.workspace import Workspace
from fleetmark_agent.state.attempt_key import LocalAttemptKey
from fleetmark_agent.state.files import RealFiles
from fleetmark_agent.state.spool import Spool
from fleetmark_core.digest import sha256_file
from fleetmark_core.lockfile import DeclaredOutput
from fleetmark_core.records import MAX_PAYLOAD_BYTES, parse_final, record_digest, seal
from fleetmark_core.telemetry_columns import TELEMETRY_COLUMNS

KEY = LocalAttemptKey("job", 1)
OUTPUTS = (
    DeclaredOutput("result.json", "result"),
    DeclaredOutput("log.txt", "log", required=False),
)


def outcome(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "outcome": "exited",
        "exit_code": 0,
        "signal": None,
        "started_unix_ns": 5,
        "duration_ns": 7,
        "peak_memory_bytes": 9,
        "user_s": 1.0,
        "system_s": 0.5,
    }
    return {**values, **changes}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "attempts", KEY)
    made.make_fresh()
    (made.out / "result.json").write_text('{"answer": 42}')
    made.stdout.write_text("hello\n")
    made.stderr.write_text("")
    made.outcome.write_text(json.dumps(outcome()) + " " * 50)
    event = {"at_unix_ns": 1, "phase": "prepare", "detail": "accepted"}
    made.context.write_text(
        json.dumps({"events": [event], "temperature_c": 41.5, "provenance": {"sandbox": "none"}})
    )
    rows = [[n * 1000, 40.0 + n, None, 100.0, 1 << 20, 3.0, 0.5] for n in range(2500)]
    lines = [json.dumps(row) for row in rows]
    made.telemetry.write_text("\n".join([*lines, "nonsense", "[1]"]) + "\n[999, 99.0, nul")
    return made


def test_power_readings_are_kept_as_they_were(workspace: Workspace) -> None:
    """The process that takes them may write on while they are hashed and sent."""
    workspace.power.write_text('{"format": 1}\n[1, 2]\n[3, ')
    make_plan(workspace, OUTPUTS, 60, {})
    with workspace.power.open("a") as file:
        file.write("4]\n[5, 6]\n")
    entries = [json.loads(line) for line in workspace.plan.read_text().splitlines()]
    payload = next(p for kind, p in entries if kind == "file" and "board_power" in p)
    path, sha256, size_bytes = workspace.file_of(payload.encode())
    assert path.read_text() == '{"format": 1}\n[1, 2]\n'
    assert (sha256, size_bytes) == (sha256_file(path), path.stat().st_size)


def test_a_program_cannot_speak_for_the_devices_sensors(workspace: Workspace) -> None:
    (workspace.out / "lie.jsonl").write_text("{}")
    make_plan(workspace, (*OUTPUTS, DeclaredOutput("lie.jsonl", "board_power")), 60, {})
    assert "lie.jsonl" not in workspace.plan.read_text()


def test_rows_of_an_older_agent_are_read(workspace: Workspace) -> None:
    """A job may be older than the agent that collects it; times count from the job's start."""
    note = json.dumps({"began_unix_ns": 250_000_005, "unavailable": {"throttled": "no"}})
    workspace.telemetry.write_text(f"{note}\n[0, 40.0, null, 1.0, 5, 3.0, 0.5]\n")
    make_plan(workspace, OUTPUTS, 60, {})
    entries = [json.loads(line) for line in workspace.plan.read_text().splitlines()]
    rows = next(json.loads(p)["rows"] for kind, p in entries if kind == "telemetry")
    assert rows == [[250, 40.0, None, 1.0, 5, 3.0, 0.5, *[None] * (len(TELEMETRY_COLUMNS) - 7)]]
    final = parse_final(entries[-1][1].encode())
    assert final.provenance["telemetry"]["unavailable"] == {"throttled": "no"}


def test_all_records_of_a_run(workspace: Workspace, tmp_path: Path) -> None:
    make_plan(workspace, OUTPUTS, 60, {"agent_version": "1"})
    spool = Spool(RealFiles(tmp_path), 1 << 30)
    last = spool_plan(workspace, spool)
    records = spool.read(KEY, 0, 1 << 30)
    assert [r.kind for r in records] == ["event", *["telemetry"] * 3, "file", "file", "final"]
    telemetry = [json.loads(r.payload) for r in records if r.kind == "telemetry"]
    assert [len(part["rows"]) for part in telemetry] == [1000, 1000, 500]
    assert (
        tuple(telemetry[0]["columns"]) == TELEMETRY_COLUMNS and telemetry[0]["rows"][0][2] is None
    )
    assert [json.loads(r.payload)["role"] for r in records if r.kind == "file"] == [
        "result",
        "stdout",
    ]
    path, sha256, size = workspace.file_of(records[4].payload)
    assert path.read_text() == '{"answer": 42}' and size == 14 and len(sha256) == 64
    final = parse_final(records[-1].payload)
    assert (final.count, final.outcome, final.started_unix_ns) == (last, "completed", 5)
    assert final.digest == seal(record_digest(r.seq, r.kind, r.payload) for r in records[:-1])
    assert final.provenance["temperatures"] == {
        **{"start_c": 41.5, "max_c": 40.0 + 2499},
        **{"sensors": [], "left_out": {}},
    }
    assert final.provenance["competing_load"] == {"mean_percent": 3.0, "max_percent": 3.0}
    assert final.provenance["program_result"] == {"answer": 42}
    assert final.provenance["sandbox"] == "none" and final.provenance["cpu_s"] == 1.5


def test_collecting_goes_on_where_it_was_cut(workspace: Workspace, tmp_path: Path) -> None:
    make_plan(workspace, OUTPUTS, 60, {})
    whole = Spool(RealFiles(tmp_path / "whole"), 1 << 30)
    spool_plan(workspace, whole)
    records = whole.read(KEY, 0, 1 << 30)
    for have in range(len(records) + 1):
        files = RealFiles(tmp_path / f"cut-{have}")
        if have:
            Spool(files, 1 << 30).extend(KEY, [(r.kind, r.payload) for r in records[:have]])
        spool = Spool(files, 1 << 30)
        assert spool_plan(workspace, spool) == len(records)
        assert spool.read(KEY, 0, 1 << 30) == records
        assert spool_plan(workspace, spool) == len(records)


def test_a_spool_with_something_else_under_the_name_is_not_added_to(
    workspace: Workspace, tmp_path: Path
) -> None:
    make_plan(workspace, OUTPUTS, 60, {})
    spool = Spool(RealFiles(tmp_path), 1 << 30)
    spool.append(KEY, "event", b"something else")
    with pytest.raises(RuntimeError, match=r"record 1 of job\.1 is not the planned one"):
        spool_plan(workspace, spool)
    assert spool.last_seq(KEY) == 1


def test_a_huge_or_broken_account_of_the_program_is_left_out(workspace: Workspace) -> None:
    for content in ("{", "NaN", "[" * 100_000, '"' + "x" * MAX_PAYLOAD_BYTES + '"', ""):
        (workspace.out / "result.json").write_text(content)
        make_plan(workspace, OUTPUTS, 60, {"capabilities": "x" * MAX_PAYLOAD_BYTES})
        kind, payload = json.loads(workspace.plan.read_text().splitlines()[-1])
        final = parse_final(payload.encode())
        assert kind == "final" and len(payload) <= MAX_PAYLOAD_BYTES
        assert final.provenance["program_result"] is None


def test_a_run_without_telemetry_has_none_and_no_zeros(workspace: Workspace) -> None:
    workspace.telemetry.unlink()
    make_plan(workspace, OUTPUTS, 60, {})
    final = parse_final(json.loads(workspace.plan.read_text().splitlines()[-1])[1].encode())
    assert final.provenance["temperatures"]["max_c"] is None
    assert final.provenance["competing_load"] == {"mean_percent": None, "max_percent": None}


@pytest.mark.parametrize(
    ("found", "missing", "kind", "words", "retryable"),
    [
        (None, [], "failed", "supervisor was killed", True),
        (outcome(), [], "completed", "", False),
        (outcome(), ["a.txt"], "failed", "a declared output is missing: a.txt", False),
        (outcome(), ["a", "b"], "failed", "declared outputs are missing: a, b", False),
        (outcome(exit_code=1), [], "failed", "exit code 1: boom", True),
        (outcome(exit_code=10), [], "failed", "(the job file is not valid)", False),
        (outcome(exit_code=14), ["a"], "failed", "(out of memory)", False),
        (outcome(exit_code=15), [], "failed", "(no space left)", False),
        (outcome(exit_code=99), [], "failed", "exit code 99: boom", False),
        (
            outcome(outcome="signaled", exit_code=None, signal=9),
            [],
            "failed",
            "killed by SIGKILL: boom",
            True,
        ),
        (
            outcome(outcome="signaled", exit_code=None, signal=11),
            [],
            "failed",
            "crashed with SIGSEGV: boom",
            False,
        ),
        (outcome(outcome="timeout", exit_code=None), [], "timeout", "60 s", False),
        (outcome(outcome="stopped", exit_code=None), [], "stopped", "asked to end", True),
    ],
)
def test_the_verdict(
    found: dict[str, Any] | None, missing: list[str], kind: str, words: str, retryable: bool
) -> None:
    result = evaluate_exit(found, missing, 60, "boom")
    assert (result.outcome, result.retryable) == (kind, retryable)
    assert words in result.reason
