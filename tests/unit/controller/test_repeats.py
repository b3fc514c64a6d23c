"""Stable campaigns: when a configuration runs once more, and what is said when it need not."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from fleetmark_controller.lifecycle.repeat_policy import RepeatDecision, Runs, next_step
from fleetmark_controller.lifecycle.retry_policy import AttemptOutcome
from fleetmark_controller.operations import campaigns, results
from fleetmark_controller.operations.results import Evaluation
from fleetmark_controller.planning.model import JobOption, NewCampaign, NewJob
from fleetmark_controller.store.jobs import attempts
from fleetmark_controller.store.jobs.attempts import AttemptKey
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.digest import sha256_hex
from fleetmark_core.lockfile import Environment, Lockfile, Program
from fleetmark_core.order import parse_order
from fleetmark_core.repeat_bounds import RepeatBounds
from tests.support.stores import S, TestStore, sealed
from tests.unit.controller.test_operations import RUN

BOUNDS = RepeatBounds(interval_percent=5, least_runs=3, most_runs=5)


def test_every_state_of_a_configuration_has_one_answer() -> None:
    """All of them: counts up to beyond the bound, every width, waiting or not, valid or not."""
    widths = (None, 0.0, 5.0, 5.1)
    for valid, waiting, ended, count, half in itertools.product(
        (True, False), (0, 1, 2), range(1, 8), range(8), widths
    ):
        if count > ended:
            continue
        found = next_step(Runs([1.0] * count, half, waiting, ended, valid), BOUNDS)
        if not valid:
            assert found is RepeatDecision.STOP
        elif waiting:
            assert found is RepeatDecision.WAIT
        elif count >= 3 and half is not None and half <= 5:
            assert found is RepeatDecision.NARROW
        else:
            assert found is (RepeatDecision.BOUND if ended >= 5 else RepeatDecision.AGAIN)


def test_it_always_ends() -> None:
    for bounds in (BOUNDS, RepeatBounds(most_runs=0), RepeatBounds(most_runs=1, least_runs=9)):
        ended = 1
        while next_step(Runs([1.0] * ended, 99.0, 0, ended, True), bounds) is RepeatDecision.AGAIN:
            ended += 1
        assert ended <= max(bounds.most_runs, 1)


LOCK = Lockfile(
    1,
    "b",
    (),
    Program(("/bin/true",), (), (), {}),
    {},
    Environment("3.11", ()),
    {"benchmark": {"condition": {"interval_percent": 5, "least_runs": 3, "most_runs": 5}}},
).canonical()
CONFIGURATION = {
    "benchmark": "b",
    "variations": [],
    "scenario": "SingleStream",
    "mode": "performance",
    "profile": "quick",
    "parameters": {},
    "stable": True,
}


@pytest.fixture
def store(tmp_path: Path, x86_device: Capabilities) -> TestStore:
    return TestStore(tmp_path / "results.db", x86_device)


def submit(store: TestStore, *devices: str, **changes: Any) -> None:
    digest = sha256_hex(LOCK)
    job = NewJob(
        "job-1",
        "a configuration",
        {**CONFIGURATION, **changes},
        "key",
        1,
        0,
        60.0,
        "2099-01-01T00:00:00.000Z",
        3,
        tuple(JobOption(device, digest, len(LOCK), 10) for device in devices),
    )
    campaign = NewCampaign("campaign-1", "b", "", "quick", {})
    store.run(lambda c, fx, now: campaigns.submit(c, fx, now, campaign, [job], {digest: LOCK}))


def run_one(
    store: TestStore,
    figure: float,
    *,
    ending: AttemptOutcome = AttemptOutcome.VALID,
    device: str = "d1",
) -> tuple[AttemptKey, set[str]]:
    """Assign the waiting job and store its run; return the jobs that were published."""
    store.now_ns += S
    (key,) = store.assign(device)
    records = sealed(("event", b"{}"))
    store.run(lambda c, fx, now: results.append(c, fx, now, key, records))
    validity = "VALID" if ending is AttemptOutcome.VALID else "INVALID"
    values = {**RUN, "metric_value": figure, "loadgen_validity": validity, "condition": "good"}
    values["lock_sha256"] = sha256_hex(LOCK)
    run_id = f"run-{key.epoch}"
    evaluation = Evaluation(ending, "", False, values, ())
    _, effects = store.effects_of(
        lambda c, fx, now: results.finalise(c, fx, now, key, run_id, evaluation)
    )
    return key, effects.jobs


def runs(store: TestStore) -> list[tuple[Any, ...]]:
    rows = store.connection.execute(
        "SELECT metric_value, condition, condition_reasons, repeat_interval_percent FROM runs"
        " ORDER BY epoch"
    )
    return [(row[0], row[1], json.loads(row[2]), row[3]) for row in rows]


def finished(store: TestStore) -> bool:
    (at,) = store.connection.execute("SELECT finished_at FROM campaigns").fetchone()
    return at is not None


def test_it_repeats_until_the_figure_is_known(store: TestStore) -> None:
    store.hello()
    submit(store, "d1")
    for figure in (1.0, 1.01):
        _, reported = run_one(store, figure)
        assert len(reported) == 2, "the next job is published together with the one that ended"
        assert not finished(store)
    run_one(store, 0.99)
    assert finished(store)
    assert store.assign("d1") == []
    found = runs(store)
    assert [row[0] for row in found] == [1.0, 1.01, 0.99]
    assert {row[1] for row in found} == {"good"}
    # t(2) = 4.303, standard deviation 0.01, three runs.
    assert {round(row[3], 2) for row in found} == {2.48}
    repetitions = store.connection.execute("SELECT repetition FROM jobs ORDER BY job_id")
    assert sorted(row[0] for row in repetitions) == [1, 2, 3]


def test_at_its_bound_every_run_says_that_the_interval_is_wide(store: TestStore) -> None:
    store.hello()
    submit(store, "d1")
    for figure in (1.0, 2.0, 1.0, 2.0, 1.5):
        assert not finished(store)
        run_one(store, figure)
    assert finished(store)
    for _, condition, reasons, half in runs(store):
        assert condition == "suspicious"
        (reason,) = reasons
        assert (reason["code"], reason["limit"]) == ("interval_wide", 5)
        assert reason["value"] == round(half, 2)
        assert "over 5 runs" in reason["text"]


def test_what_loadgen_calls_invalid_is_not_repeated(store: TestStore) -> None:
    store.hello()
    submit(store, "d1")
    run_one(store, 1.0, ending=AttemptOutcome.INVALID)
    assert finished(store)


@pytest.mark.parametrize("changes", [{"mode": "accuracy"}, {"mode": "TEST01"}, {"stable": False}])
def test_only_performance_of_a_stable_campaign_is_repeated(
    store: TestStore, changes: dict[str, Any]
) -> None:
    store.hello()
    submit(store, "d1", **changes)
    key, _ = run_one(store, 1.0)
    assert finished(store)
    attempt = attempts.get(store.connection, key)
    assert attempt is not None
    assert parse_order(attempt.order).stable is (changes["mode"] == "TEST01" if "mode" in changes
                                                 else False)  # fmt: skip


def test_repetitions_stay_on_the_device(store: TestStore) -> None:
    """A job that any device may take is repeated where it ran: devices differ."""
    store.hello("d1")
    store.hello("d2")
    submit(store, "d1", "d2")
    run_one(store, 1.0, device="d2")
    assert store.assign("d1") == []
    run_one(store, 1.0, device="d2")


def test_a_replay_runs_as_often_as_it_is_asked_for(store: TestStore) -> None:
    """On a device that is settled as it was, but without further repetitions."""
    store.hello()
    submit(store, "d1")
    for _ in range(3):
        key, _ = run_one(store, 1.0)
    store.run(
        lambda c, _fx, _now: c.execute(
            "INSERT INTO identity (identity_id, kind, name, key_sha256, state, labels, created_at)"
            " VALUES ('d1', 'device', 'd1', 'k', 'active', '{}', '')"
        )
    )
    store.run(lambda c, fx, now: campaigns.replay(c, fx, now, f"run-{key.epoch}", "again", 1, "me"))
    key, _ = run_one(store, 1.0)
    assert store.assign("d1") == []
    attempt = attempts.get(store.connection, key)
    assert attempt is not None and parse_order(attempt.order).stable


def test_a_cancelled_campaign_repeats_nothing(store: TestStore) -> None:
    store.hello()
    submit(store, "d1")
    (key,) = store.assign("d1")
    store.run(lambda c, fx, now: campaigns.cancel(c, fx, now, [key.job_id]))
    records = sealed(("event", b"{}"))
    store.run(lambda c, fx, now: results.append(c, fx, now, key, records))
    evaluation = Evaluation(
        AttemptOutcome.VALID, "", False, {**RUN, "lock_sha256": sha256_hex(LOCK)}, ()
    )
    store.run(lambda c, fx, now: results.finalise(c, fx, now, key, "run-1", evaluation))
    assert store.state() == "CANCELLED"
    assert finished(store)
