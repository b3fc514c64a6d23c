"""A lack of memory is recognized on every path, with what was asked and what there is."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_agent.runner import memory_failure, resource_usage
from fleetmark_agent.runner.job_result import evaluate_exit
from fleetmark_core.failure_cause import FailureCause
from fleetmark_core.memory_failure import (
    MOST_BYTES,
    OUT_OF_MEMORY,
    MemoryFailure,
    is_out_of_memory,
    parse_memory_failure,
    requested_bytes,
)
from fleetmark_harness import exit_codes

GIB = 1 << 30
ORT = (
    "Non-zero status code returned while running Expand node. Name:'big' Status Message: "
    "/onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* "
    "onnxruntime::BFCArena::AllocateRawInternal(size_t, bool) Failed to allocate memory for "
    "requested buffer of size 4294967296"
)
MESSAGES = [
    (ORT, 4 * GIB),
    ("std::bad_alloc", None),
    (
        "terminate called after throwing an instance of 'std::bad_alloc' what(): std::bad_alloc",
        None,
    ),
    ("MemoryError", None),
    ("Unable to allocate 4.00 GiB for an array with shape (1024, 1048576)", 4 * GIB),
    ("Error in XNNPACK: failed to allocate 4294967296 bytes for convolution operator", 4 * GIB),
    ("could not allocate memory", None),
    ("Exception from src/inference: Can not allocate 4294967296 bytes", 4 * GIB),
    (
        "(-4:Insufficient memory) Failed to allocate 123456789 bytes in 'OutOfMemoryError'",
        123456789,
    ),
    ("not enough memory: you tried to allocate 4294967296 bytes.", 4 * GIB),
    ("[Errno 12] Cannot allocate memory", None),
    ("memory allocation failed for 2.5 MB", 2_500_000),
]


@pytest.mark.parametrize(("message", "size"), MESSAGES)
def test_a_message_of_a_runtime_is_known(message: str, size: int | None) -> None:
    assert is_out_of_memory(message)
    assert requested_bytes(message) == size
    assert exit_codes.code_of(RuntimeError(message), exit_codes.FAULT) == exit_codes.NO_MEMORY


@pytest.mark.parametrize(
    "message",
    ["Please fix the inputs of the model", "failed to allocate tensors", "remember 4 bytes", ""],
)
def test_another_message_is_no_lack_of_memory(message: str) -> None:
    assert not is_out_of_memory(message)
    assert exit_codes.code_of(RuntimeError(message), exit_codes.FAULT) == exit_codes.FAULT


def test_the_harness_knows_the_same_messages() -> None:
    assert exit_codes.OUT_OF_MEMORY == OUT_OF_MEMORY


@given(st.text())
def test_any_text_gives_a_size_or_none(text: str) -> None:
    found = requested_bytes(f"alloc{text}")
    assert found is None or found >= 0


def outcome(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        **{"outcome": "exited", "exit_code": 0, "signal": None},
        **{"started_unix_ns": 5, "duration_ns": 7, "peak_memory_bytes": 78_100_000},
        **{"passed": {}, "memory_limit_bytes": GIB, "oom_kill": None},
    }
    return {**values, **changes}


KILLED = {"outcome": "signaled", "exit_code": None, "signal": int(signal.SIGKILL)}
ABORTED = {**KILLED, "signal": int(signal.SIGABRT)}
PATHS: dict[str, tuple[dict[str, Any], str, str]] = {
    "the harness says so": (
        outcome(exit_code=14),
        f"fleetmark: answering a query: {ORT}",
        "out of memory: it requested 4.3 GB at once, used up to 78.1 MB and may use 1.1 GB"
        " (the program ended with exit code 14: ",
    ),
    "a program of another kind": (
        outcome(exit_code=1),
        "MemoryError",
        "out of memory: it used up to 78.1 MB and may use 1.1 GB"
        " (the program ended with exit code 1: MemoryError)",
    ),
    "an exception that nothing catches": (
        outcome(**ABORTED),
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "out of memory: it used up to 78.1 MB and may use 1.1 GB (crashed with SIGABRT: ",
    ),
    "a library that reports it before the last error": (
        outcome(exit_code=11, memory_limit_bytes=None),
        "Error in XNNPACK: failed to allocate 4294967296 bytes for a workspace\n"
        "fleetmark: job failed: Node number 7 (XNNPACK) failed to prepare",
        "out of memory: it requested 4.3 GB at once, used up to 78.1 MB and started with 2.0 GB"
        " available (the program ended with exit code 11: ",
    ),
    "the kernel, for a control group": (
        outcome(**KILLED, oom_kill={"processes": 1, "limit_bytes": 500_000_000}),
        "",
        "out of memory: it used up to 78.1 MB and may use 500.0 MB (killed by SIGKILL)",
    ),
    "the kernel, for a process of the job": (
        outcome(exit_code=3, oom_kill={"processes": 1, "limit_bytes": GIB, "own_group": 1}),
        "a worker has ended",
        "out of memory: it used up to 78.1 MB and may use 1.1 GB"
        " (the program ended with exit code 3: a worker has ended)",
    ),
    "the kernel, for the device": (
        outcome(**KILLED, oom_kill={"processes": 1, "limit_bytes": None}),
        "",
        "out of memory: it used up to 78.1 MB and started with 2.0 GB available"
        " (killed by SIGKILL)",
    ),
    "the limit of the sandbox": (
        outcome(
            outcome="limit",
            exit_code=None,
            signal=9,
            passed={"memory_bytes": 600_000_000, "memory_bytes_limit": 500_000_000},
        ),
        "",
        "out of memory: it used up to 600.0 MB and may use 500.0 MB (ended by its sandbox)",
    ),
}


@pytest.mark.parametrize("path", PATHS)
def test_every_path_names_it_with_figures(path: str) -> None:
    ended, written, words = PATHS[path]
    reported = written.splitlines()[-1] if written else ""
    lack = memory_failure.find(ended, reported, written, 2_000_000_000)
    result = evaluate_exit(ended, [], 60, reported, lack)
    assert result.reason.startswith(words), result.reason
    assert (result.outcome, result.cause, result.retryable) == ("failed", FailureCause.JOB, False)
    assert result.memory is not None
    assert parse_memory_failure(result.memory.as_provenance()) == result.memory


@pytest.mark.parametrize(
    ("ended", "written"),
    [
        (outcome(), "std::bad_alloc in a part that the program gave up"),
        (outcome(**KILLED), ""),
        (outcome(**{**KILLED, "signal": int(signal.SIGSEGV)}), "boom"),
        (outcome(outcome="timeout"), "MemoryError"),
        (outcome(outcome="stopped"), "MemoryError"),
        (outcome(exit_code=3, oom_kill=None), "boom"),
        # Another program of the device was killed meanwhile.
        (outcome(exit_code=3, oom_kill={"processes": 1, "limit_bytes": None}), "boom"),
        (outcome(**ABORTED, oom_kill={"processes": 1, "limit_bytes": GIB, "own_group": 0}), "boom"),
        (outcome(outcome="limit", passed={"processes": 5, "processes_limit": 5}), ""),
    ],
)
def test_another_end_is_no_lack_of_memory(ended: dict[str, Any], written: str) -> None:
    assert memory_failure.find(ended, written, written, 2_000_000_000) is None
    assert memory_failure.find(None, written, written, None) is None


def test_the_memory_of_an_accelerator_has_no_limit_here() -> None:
    text = "CUDA out of memory. Tried to allocate 2.00 GiB"
    lack = memory_failure.find(outcome(exit_code=14), text, text, None)
    assert lack is not None and lack.needed_bytes() is None
    assert lack.text() == (
        "the memory of an accelerator is exhausted: it requested 2.1 GB at once"
        " and used up to 78.1 MB"
    )


def test_the_need_is_above_limit_and_request() -> None:
    assert MemoryFailure(4 * GIB, 100, GIB).needed_bytes() == 4 * GIB + 100
    assert MemoryFailure(None, 100, GIB).needed_bytes() == GIB
    assert MemoryFailure(MOST_BYTES + 1, 100, GIB).needed_bytes() == GIB
    assert MemoryFailure(None, 100, None, GIB).needed_bytes() is None


@given(
    st.dictionaries(
        st.sampled_from(["requested_bytes", "used_bytes", "limit_bytes", "is_accelerator"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    )
    | st.none()
    | st.integers()
)
def test_figures_of_a_device_are_bounded(values: Any) -> None:
    found = parse_memory_failure(values)
    assert (found is None) == (not isinstance(values, dict))
    if found is not None:
        needed = found.needed_bytes()
        assert needed is None or 0 < needed <= 2 * MOST_BYTES
        json.dumps(found.as_provenance())


def test_counters_of_both_versions_of_control_groups(tmp_path: Path) -> None:
    two, one, none = tmp_path / "two", tmp_path / "one", tmp_path / "none"
    for folder in (two, one, none, tmp_path / "proc"):
        folder.mkdir()
    (two / "memory.events").write_text("low 0\nhigh 0\nmax 7\noom 2\noom_kill 2\n")
    (two / "memory.max").write_text("1073741824\n")
    (one / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    (one / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    (none / "memory.max").write_text("max\n")
    (tmp_path / "proc/vmstat").write_text("nr_free_pages 5\noom_kill 9\nswap_ra 0\n")
    found = resource_usage.oom_kills([str(two), str(one), str(none)], str(tmp_path))
    assert found == {str(two): 2, str(one): 3, "": 9}
    assert resource_usage.memory_limit(str(two)) == GIB
    assert resource_usage.memory_limit(str(one)) is None
    assert resource_usage.memory_limit(str(none)) is None
    assert resource_usage.oom_kills([str(none)], str(none)) == {}
