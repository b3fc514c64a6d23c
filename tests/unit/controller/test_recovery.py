"""Attempts that a device holds and a restored store does not know: their evidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from fleetmark_catalog.resolve import Configuration
from fleetmark_controller.identity.certificates import make_ca
from fleetmark_controller.lifecycle.states import AttemptState
from fleetmark_controller.operations import sessions
from fleetmark_controller.operations.recovery import OrderVerifier
from fleetmark_controller.planning.plan import describe_configuration
from fleetmark_controller.signing.order_signer import OrderSigner
from fleetmark_controller.store.jobs.attempts import AttemptKey
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.digest import sha256_hex
from fleetmark_core.lockfile import LOCK_FORMAT, Environment, LockedComponent, Lockfile, Program
from fleetmark_core.order import ORDER_FORMAT, Order
from tests.support.stores import S, TestStore, sealed
from tests.unit.controller.test_operations import append, finalise

PARTS = (
    LockedComponent("benchmark", "b", "1.0", "b" * 64, ()),
    LockedComponent("model", "m", "1.0", "c" * 64, ("int8", "onnx")),
)
LOCK = Lockfile(
    LOCK_FORMAT, "b", PARTS, Program(("x",), (), ()), {}, Environment("3.11", ()), {}
).canonical()
ORDER = Order(
    ORDER_FORMAT,
    device_id="d1",
    campaign_id="campaign-after-the-copy",
    job_id="job-after-the-copy",
    epoch=(1 << 32) + 7,
    lock_sha256=sha256_hex(LOCK),
    lock_bytes=len(LOCK),
    bundle_bytes=1000,
    scenario="SingleStream",
    mode="performance",
    profile="quick",
    timeout_s=60.0,
    parameters={"threads": 2},
    output_bytes=5000,
    release_serial=3,
    release_sha256="d" * 64,
    release_bytes=10,
)
KEY = AttemptKey(ORDER.device_id, ORDER.job_id, ORDER.epoch)


@pytest.fixture
def store(tmp_path: Path, x86_device: Capabilities) -> TestStore:
    return TestStore(tmp_path / "results.db", x86_device)


@pytest.fixture
def signer(tmp_path: Path) -> OrderSigner:
    return _signer(tmp_path / "own")


def _signer(home: Path) -> OrderSigner:
    (home / "identity").mkdir(parents=True)
    return OrderSigner(home, make_ca(1_700_000_000 * S), 1_700_000_000 * S)


class Shown(NamedTuple):
    order: bytes
    lock: bytes


def _hello(
    store: TestStore,
    signer: OrderSigner,
    shown: Shown,
    key: AttemptKey = KEY,
    state: AttemptState = AttemptState.UPLOADING,
) -> sessions.AttemptDecision:
    report = sessions.DeviceReport(key, state, signed_order=shown.order)
    device, evidence = (
        key.device_id,
        OrderVerifier(signer.verify_own, lambda lock: ("int8", "onnx")),
    )
    output = sessions.DeviceHello(
        *(device, device, {}, store.facts, "0.1.0", "boot-1", key.epoch, True, (report,)),
        locks=(shown.lock,),
    )
    (answer,), effects = store.effects_of(
        lambda c, fx, now: sessions.hello(c, fx, now, output, evidence)
    )
    assert set(effects.blobs) <= {LOCK}
    return answer


def _shown(signer: OrderSigner, order: Order = ORDER) -> tuple[Shown, AttemptKey]:
    key = AttemptKey(order.device_id, order.job_id, order.epoch)
    return Shown(signer.signed(order.canonical()), LOCK), key


@pytest.mark.parametrize("state", [AttemptState.RUNNING, AttemptState.UPLOADING])
def test_a_job_newer_than_the_backup_is_restored_from_order_evidence(
    store: TestStore, signer: OrderSigner, state: AttemptState
) -> None:
    shown = Shown(signer.signed(ORDER.canonical()), LOCK)
    assert _hello(store, signer, shown, state=state).keep
    assert (store.state(KEY.job_id), store.attempt_state(KEY)) == ("ACTIVE", state.value)
    job = store.connection.execute("SELECT * FROM job").fetchone()
    configuration = Configuration(
        "b", ("int8", "onnx"), "SingleStream", "performance", "quick", {"threads": 2}
    )
    assert job["label"] == configuration.label()
    assert job["configuration_key"] == describe_configuration(configuration, stable=False)[1]
    stored = store.connection.execute("SELECT order_document FROM attempt").fetchone()[0]
    assert stored == ORDER.canonical(), "the device's order, to the byte"
    campaign = store.connection.execute("SELECT * FROM campaign").fetchone()
    assert campaign["benchmark"] == "b" and "restored" in campaign["submitted_by"]
    append(store, KEY, sealed())
    finalise(store, KEY)
    assert store.state(KEY.job_id) == "SUCCEEDED"
    finished = store.connection.execute("SELECT finished_at FROM campaign").fetchone()[0]
    assert finished is not None
    assert _hello(store, signer, shown).reason == "recorded"
    assert store.connection.execute("SELECT count(*) FROM job").fetchone()[0] == 1


def test_a_retry_of_after_the_copy_joins_its_campaign(
    store: TestStore, signer: OrderSigner
) -> None:
    store.hello()
    store.submit("d1")
    order = replace(ORDER, campaign_id="campaign-1")
    assert _hello(store, signer, Shown(signer.signed(order.canonical()), LOCK)).keep
    rows = store.connection.execute("SELECT campaign_id FROM job").fetchall()
    assert [row[0] for row in rows] == ["campaign-1", "campaign-1"]


def test_the_device_is_lost_before_its_result_came(store: TestStore, signer: OrderSigner) -> None:
    shown = Shown(signer.signed(ORDER.canonical()), LOCK)
    _hello(store, signer, shown, state=AttemptState.RUNNING)
    store.run(lambda c, fx, now: sessions.lease_expired(c, fx, now, "d1"))
    assert store.attempt_state(KEY) == "LOST"
    assert _hello(store, signer, shown).keep, "it came back with the result"
    append(store, KEY, sealed())
    finalise(store, KEY)
    assert store.state(KEY.job_id) == "SUCCEEDED"


Forge = Callable[[OrderSigner, Path], Shown]
FORGED: dict[str, Forge] = {
    "no papers": lambda own, home: Shown(b"", b""),
    "another controller's signature": lambda own, home: Shown(
        _signer(home / "other").signed(ORDER.canonical()), LOCK
    ),
    "an unsigned order": lambda own, home: Shown(ORDER.canonical(), LOCK),
    "a changed order": lambda own, home: Shown(
        own.signed(ORDER.canonical()).replace(b"campaign-after", b"campaign-other"), LOCK
    ),
    "another lock": lambda own, home: Shown(own.signed(ORDER.canonical()), LOCK + b" "),
    "the order of another epoch": lambda own, home: Shown(
        own.signed(replace(ORDER, epoch=ORDER.epoch + 1).canonical()), LOCK
    ),
    "the order of another device": lambda own, home: Shown(
        own.signed(replace(ORDER, device_id="d2").canonical()), LOCK
    ),
    "the order of another job": lambda own, home: Shown(
        own.signed(replace(ORDER, job_id="other").canonical()), LOCK
    ),
    "no order at all": lambda own, home: Shown(b"\xff{}", b""),
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_nothing_else_makes_a_job(
    store: TestStore, signer: OrderSigner, tmp_path: Path, forge: Forge
) -> None:
    answer = _hello(store, signer, forge(signer, tmp_path))
    assert (answer.keep, answer.reason) == (False, "unknown to this controller")
    assert store.connection.execute("SELECT count(*) FROM job").fetchone()[0] == 0
    assert store.connection.execute("SELECT count(*) FROM campaign").fetchone()[0] == 0


@pytest.mark.parametrize("state", [AttemptState.ABORTED, AttemptState.REFUSED])
def test_what_a_device_has_given_up_makes_no_job(
    store: TestStore, signer: OrderSigner, state: AttemptState
) -> None:
    shown = Shown(signer.signed(ORDER.canonical()), LOCK)
    assert not _hello(store, signer, shown, state=state).keep
    assert store.connection.execute("SELECT count(*) FROM job").fetchone()[0] == 0


def test_every_device_that_tried_a_job_hands_in_its_result(
    store: TestStore, signer: OrderSigner
) -> None:
    second = replace(ORDER, device_id="d2", epoch=ORDER.epoch + 1)
    for order in (second, ORDER):
        shown, key = _shown(signer, order)
        assert _hello(store, signer, shown, key).keep
        append(store, key, sealed())
        finalise(store, key)
    rows = store.connection.execute("SELECT epoch, official FROM run ORDER BY epoch").fetchall()
    assert [tuple(row) for row in rows] == [(ORDER.epoch, 0), (second.epoch, 1)]
    assert store.state(KEY.job_id) == "SUCCEEDED"


def test_repetitions_of_one_configuration_are_counted(
    store: TestStore, signer: OrderSigner
) -> None:
    for number in range(3):
        for mode in ("performance", "accuracy"):
            order = replace(ORDER, job_id=f"{mode}-{number}", mode=mode, epoch=ORDER.epoch + number)
            assert _hello(store, signer, *_shown(signer, order)).keep
    rows = store.connection.execute("SELECT repetition FROM job ORDER BY repetition").fetchall()
    assert [row[0] for row in rows] == [1, 1, 2, 2, 3, 3]
    keys = store.connection.execute("SELECT DISTINCT configuration_key FROM job").fetchall()
    assert len(keys) == 1


def test_a_stable_job_is_taken_up_once(store: TestStore, signer: OrderSigner) -> None:
    assert _hello(store, signer, *_shown(signer, replace(ORDER, stable=True))).keep
    append(store, KEY, sealed())
    finalise(store, KEY)
    jobs = store.connection.execute("SELECT state FROM job").fetchall()
    assert [row[0] for row in jobs] == ["SUCCEEDED"], "no repetition follows"
