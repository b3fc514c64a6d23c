"""Operations on a real store: assignment, fencing, loss, late results, cancelling."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetmark_controller.lifecycle.retry_policy import AttemptOutcome
from fleetmark_controller.lifecycle.states import AttemptState
from fleetmark_controller.operations import campaigns, results, sessions
from fleetmark_controller.operations.results import Evaluation
from fleetmark_controller.signing import pack_writer
from fleetmark_controller.store.jobs.attempts import AttemptKey
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.records import Record
from tests.support.stores import CAMPAIGN, LOCK, S, TestStore, sealed

RUN = {
    "device": "d1",
    "arch": "x86_64",
    "os": "Debian",
    "benchmark": "b",
    "scenario": "SingleStream",
    "mode": "performance",
    "profile": "quick",
    "parameters": {},
    "condition_reasons": [],
    "submittable": False,
    "lock_sha256": LOCK,
    "provenance": {},
    "stored_at": "2026-01-01T00:00:00.000Z",
    "metric_value": 1.5,
}


@pytest.fixture
def store(tmp_path: Path, x86_device: Capabilities) -> TestStore:
    return TestStore(tmp_path / "results.db", x86_device)


def append(store: TestStore, key: AttemptKey, records: list[Record]) -> int:
    return store.run(lambda c, fx, now: results.append(c, fx, now, key, records))


def finalise(
    store: TestStore, key: AttemptKey, ending: AttemptOutcome = AttemptOutcome.VALID
) -> bool:
    evaluation = Evaluation(ending, "", False, dict(RUN), ())
    run_id = f"run-{key.epoch}"
    return store.run(lambda c, fx, now: results.finalise(c, fx, now, key, run_id, evaluation))


def report(store: TestStore, key: AttemptKey, state: AttemptState, reason: str = "") -> None:
    output = sessions.DeviceReport(key, state, reason)
    store.run(lambda c, fx, now: sessions.report(c, fx, now, output))


def lose(store: TestStore, device: str) -> None:
    store.run(lambda c, fx, now: sessions.lease_expired(c, fx, now, device))


def test_the_whole_life_of_a_job(store: TestStore) -> None:
    store.hello()
    store.submit("d1")
    (key,) = store.assign("d1")
    assert store.state() == "ACTIVE"
    for state in (AttemptState.PREPARING, AttemptState.RUNNING, AttemptState.UPLOADING):
        report(store, key, state)
        assert store.attempt_state(key) == state.value
    records = sealed(("event", b"{}"))
    assert append(store, key, records[:1]) == 1
    assert append(store, key, records) == 2
    assert store.attempt_state(key) == "VERIFYING"
    assert finalise(store, key)
    assert (store.attempt_state(key), store.state()) == ("DONE", "SUCCEEDED")
    assert not finalise(store, key), "a second evaluation changes nothing"
    row = store.connection.execute("SELECT official, metric_value FROM runs").fetchall()
    assert [tuple(r) for r in row] == [(1, 1.5)]


def test_a_device_with_work_gets_no_more(store: TestStore) -> None:
    store.hello()
    store.submit("d1", count=2)
    assert len(store.assign("d1")) == 1
    assert store.assign("d1") == []


def test_every_assignment_has_a_higher_epoch(store: TestStore) -> None:
    store.hello()
    store.hello("d2")
    store.submit("d1", "d2", count=1)
    (first,) = store.assign("d1")
    lose(store, "d1")
    assert (store.attempt_state(first), store.state()) == ("LOST", "QUEUED")
    (second,) = store.assign("d2")
    assert second.epoch > first.epoch
    assert first.epoch >> 32 == 1


def test_a_lost_offer_goes_out_again_with_the_same_epoch(store: TestStore) -> None:
    store.hello()
    store.submit("d1")
    (key,) = store.assign("d1")
    _, effects = store.hello()
    assert [offer.key for offer in effects.offers] == [key]
    assert store.attempt_state(key) == "OFFERED"


def test_an_attempt_that_the_device_forgot_is_tried_again(store: TestStore) -> None:
    store.hello()
    store.submit("d1")
    (key,) = store.assign("d1")
    report(store, key, AttemptState.RUNNING)
    store.hello("d1", epoch=key.epoch)
    assert (store.attempt_state(key), store.state()) == ("LOST", "QUEUED")
    (again,) = store.assign("d1")
    assert again.epoch > key.epoch


def test_lost_contact_does_not_stop_a_run(store: TestStore) -> None:
    store.hello()
    store.submit("d1")
    (key,) = store.assign("d1")
    report(store, key, AttemptState.RUNNING)
    lose(store, "d1")
    answers, _ = store.hello("d1", sessions.DeviceReport(key, AttemptState.RUNNING), idle=False)
    assert [answer.keep for answer in answers] == [True]
    append(store, key, sealed())
    finalise(store, key)
    assert (store.attempt_state(key), store.state()) == ("LOST", "SUCCEEDED")
    assert store.connection.execute("SELECT official FROM runs").fetchone()[0] == 1


def test_a_result_of_an_older_epoch_is_kept_as_late(store: TestStore) -> None:
    store.hello()
    store.hello("d2")
    store.submit("d1", "d2")
    (old,) = store.assign("d1")
    lose(store, "d1")
    (new,) = store.assign("d2")
    answers, _ = store.hello("d1", sessions.DeviceReport(old, AttemptState.RUNNING), idle=False)
    assert not answers[0].keep
    assert "replaced" in answers[0].reason
    answers, _ = store.hello("d1", sessions.DeviceReport(old, AttemptState.UPLOADING))
    assert answers[0].keep, "a finished result is always taken"
    append(store, old, sealed())
    finalise(store, old)
    append(store, new, sealed())
    finalise(store, new)
    rows = store.connection.execute("SELECT epoch, official FROM runs ORDER BY epoch").fetchall()
    assert [tuple(row) for row in rows] == [(old.epoch, 0), (new.epoch, 1)]
    assert store.state() == "SUCCEEDED"


def test_records_are_acknowledged_up_to_the_first_gap_only(store: TestStore) -> None:
    store.hello()
    store.submit("d1")
    (key,) = store.assign("d1")
    records = sealed(("event", b"1"), ("event", b"2"))
    assert append(store, key, [records[0], records[2]]) == 1
    assert store.attempt_state(key) == "OFFERED", "the final record alone proves nothing"
    assert append(store, key, [records[1]]) == 3
    assert store.attempt_state(key) == "VERIFYING"


def test_a_different_record_under_the_same_key_raises_an_alarm_and_changes_nothing(
    store: TestStore,
) -> None:
    store.hello()
    store.submit("d1")
    (key,) = store.assign("d1")
    append(store, key, [Record(1, "event", b"first")])
    assert append(store, key, [Record(1, "event", b"other")]) == 1
    stored = store.connection.execute("SELECT payload FROM record").fetchall()
    assert [bytes(row[0]) for row in stored] == [b"first"]
    alarms = store.connection.execute("SELECT count(*) FROM events WHERE kind LIKE 'alarm%'")
    assert alarms.fetchone()[0] == 1
    append(store, key, [Record(1, "event", b"first")])
    assert store.connection.execute("SELECT count(*) FROM record").fetchone()[0] == 1


@pytest.mark.parametrize("wrong", ["device", "epoch", "job"])
def test_records_of_an_attempt_that_is_not_as_stored_are_fenced(
    store: TestStore, wrong: str
) -> None:
    store.hello()
    store.hello("d2")
    store.submit("d1")
    (key,) = store.assign("d1")
    bad = {
        "device": key._replace(device_id="d2"),
        "epoch": key._replace(epoch=key.epoch + 1),
        "job": key._replace(job_id="job-9"),
    }[wrong]
    with pytest.raises(FleetmarkError) as caught:
        append(store, bad, sealed())
    assert caught.value.kind is ErrorKind.FENCED
    assert store.connection.execute("SELECT count(*) FROM record").fetchone()[0] == 0


def test_a_refusal_is_recorded_and_the_device_may_forget(store: TestStore) -> None:
    store.hello()
    store.submit("d1")
    (key,) = store.assign("d1")
    output = sessions.DeviceReport(key, AttemptState.REFUSED, "no room", False)
    for _ in range(2):
        _, effects = store.effects_of(lambda c, fx, now: sessions.report(c, fx, now, output))
        assert [stop.key for stop in effects.stops] == [key]
    assert (store.attempt_state(key), store.state()) == ("REFUSED", "FAILED")


def test_what_one_device_refuses_for_good_another_may_take(store: TestStore) -> None:
    store.hello("d1")
    store.hello("d2")
    store.submit("d1", "d2")
    (key,) = store.assign("d1")
    report(store, key, AttemptState.REFUSED, "no room: 3 GB needed, 1 GB free")
    assert store.state() == "QUEUED"
    assert store.assign("d1") == [], "it was refused there"
    (other,) = store.assign("d2")
    report(store, other, AttemptState.REFUSED, "no room here either")
    assert store.state() == "FAILED"


def test_cancelling_a_queued_job_is_immediate_and_an_active_one_waits_for_its_device(
    store: TestStore,
) -> None:
    store.hello()
    ids = store.submit("d1", count=2)
    (key,) = store.assign("d1")
    count, effects = store.effects_of(lambda c, fx, now: campaigns.cancel(c, fx, now, ids))
    assert count == 2
    assert [stop.key for stop in effects.stops] == [key]
    assert (store.state("job-1"), store.state("job-2")) == ("CANCELLING", "CANCELLED")
    answers, _ = store.hello("d1", sessions.DeviceReport(key, AttemptState.RUNNING), idle=False)
    assert not answers[0].keep
    report(store, key, AttemptState.ABORTED, "cancelled")
    assert store.state("job-1") == "CANCELLED"


def test_a_job_past_its_deadline_fails_and_says_so(store: TestStore) -> None:
    store.hello()
    store.submit("d1", count=2)
    (key,) = store.assign("d1")
    store.now_ns = 5_000_000_000 * S
    _, effects = store.effects_of(campaigns.end_overdue)
    assert (store.state("job-1"), store.state("job-2")) == ("FAILED", "FAILED")
    assert [stop.key for stop in effects.stops] == [key]
    reason = store.connection.execute("SELECT reason FROM jobs LIMIT 1").fetchone()[0]
    assert "its deadline passed" in reason


def test_a_repeated_submission_changes_nothing(store: TestStore) -> None:
    store.hello()
    store.submit("d1", count=2)
    store.submit("d1", count=2)
    assert store.connection.execute("SELECT count(*) FROM job").fetchone()[0] == 2


def test_a_restored_store_begins_a_new_generation(store: TestStore) -> None:
    store.hello()
    store.submit("d1")
    seen = (1 << 32) + 500
    store.hello("d1", epoch=seen)
    (key,) = store.assign("d1")
    assert key.epoch > seen
    assert key.epoch >> 32 == 2


def test_a_campaign_is_finished_when_its_last_job_is(store: TestStore) -> None:
    store.hello()
    ids = store.submit("d1", count=2)
    query = "SELECT finished_at FROM campaigns WHERE campaign_id = ?"
    store.run(lambda c, fx, now: campaigns.cancel(c, fx, now, ids[:1]))
    assert store.connection.execute(query, (CAMPAIGN,)).fetchone()[0] is None
    store.run(lambda c, fx, now: campaigns.cancel(c, fx, now, ids[1:]))
    assert store.connection.execute(query, (CAMPAIGN,)).fetchone()[0] is not None


def test_two_devices_of_one_name_can_be_reported_apart(store: TestStore) -> None:
    for device in ("a", "b"):
        output = sessions.DeviceHello(device, "pi", {}, store.facts, "0", "boot", 0, True)
        store.run(lambda c, fx, now, output=output: sessions.hello(c, fx, now, output))
    names = [row[0] for row in store.connection.execute("SELECT name FROM devices ORDER BY name")]
    assert names == ["pi", "pi-2"]


def test_after_a_restored_backup_an_unknown_attempt_is_taken_up_and_its_result_counts(
    store: TestStore,
) -> None:
    store.hello()
    store.submit("d1")
    key = AttemptKey("d1", "job-1", (1 << 32) + 77)
    output = sessions.DeviceReport(key, AttemptState.UPLOADING)
    answers, _ = store.hello("d1", output, epoch=key.epoch)
    assert answers[0].keep
    append(store, key, sealed())
    finalise(store, key)
    assert store.state() == "SUCCEEDED"
    stranger = AttemptKey("d1", "job-of-no-backup", (1 << 32) + 78)
    answers, _ = store.hello("d1", sessions.DeviceReport(stranger, AttemptState.UPLOADING))
    assert not answers[0].keep


def test_a_campaign_without_a_command_can_be_repeated_from_its_pack(store: TestStore) -> None:
    """A replay, and what was taken up after a restored backup."""
    store.hello()
    store.submit("d1")
    found = pack_writer._read(store.connection, CAMPAIGN)
    assert pack_writer.command_of(found.request) == "controller schedule b --profile quick --wait"
