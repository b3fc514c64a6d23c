"""Attempts that a board holds and a restored store does not know: what vouches for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from stores import S, TestStore, sealed
from test_operations import append, finalise

from fleetmark_catalog.core.capabilities import Capabilities
from fleetmark_catalog.core.digest import sha256_hex
from fleetmark_catalog.core.lock import (
    LOCK_FORMAT,
    Environment,
    Lock,
    LockedComponent,
    Program,
)
from fleetmark_catalog.core.order import ORDER_FORMAT, Order
from fleetmark_catalog.resolve import Configuration
from fleetmark_controller.identity.certificates import make_ca
from fleetmark_controller.lifecycle.states import AttemptState
from fleetmark_controller.operations import sessions
from fleetmark_controller.operations.adopting import Papers
from fleetmark_controller.planning import described
from fleetmark_controller.store.attempts import AttemptKey
from fleetmark_controller.trust.orders import OrderSigner

PARTS = (
    LockedComponent("benchmark", "b", "1.0", "b" * 64, ()),
    LockedComponent("model", "m", "1.0", "c" * 64, ("int8", "onnx")),
)
LOCK = Lock(
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
def store(tmp_path: Path, x86_board: Capabilities) -> TestStore:
    return TestStore(tmp_path / "results.db", x86_board)


@pytest.fixture
def signer(tmp_path: Path) -> OrderSigner:
    return _signer(tmp_path / "own")


def _signer(home: Path) -> OrderSigner:
    (home / "identity").mkdir(parents=True)
    return OrderSigner(home, make_ca(1_700_000_000 * S), 1_700_000_000 * S)


def _hello(
    store: TestStore,
    signer: OrderSigner,
    papers: Papers | None,
    key: AttemptKey = KEY,
    state: AttemptState = AttemptState.UPLOADING,
) -> sessions.Answer:
    report = sessions.Report(key, state, papers=papers)
    said = sessions.Hello(
        "d1", "d1", {}, store.facts, "0.1.0", "boot-1", key.epoch, True, (report,)
    )
    (answer,) = store.run(lambda c, fx, now: sessions.hello(c, fx, now, said, signer.own))
    return answer


@pytest.mark.parametrize("state", [AttemptState.RUNNING, AttemptState.UPLOADING])
def test_a_job_of_after_the_copy_is_taken_up_from_the_boards_papers(
    store: TestStore, signer: OrderSigner, state: AttemptState
) -> None:
    papers = Papers(signer.signed(ORDER.canonical()), LOCK)
    assert _hello(store, signer, papers, state=state).keep
    assert (store.state(KEY.job_id), store.attempt_state(KEY)) == ("ACTIVE", state.value)
    job = store.connection.execute("SELECT * FROM job").fetchone()
    configuration = Configuration(
        "b", ("int8", "onnx"), "SingleStream", "performance", "quick", {"threads": 2}
    )
    assert job["label"] == configuration.label()
    assert job["configuration_key"] == described(configuration, stable=False)[1]
    stored = store.connection.execute("SELECT orders FROM attempt").fetchone()[0]
    assert stored == ORDER.canonical(), "the board's order, to the byte"
    campaign = store.connection.execute("SELECT * FROM campaign").fetchone()
    assert campaign["benchmark"] == "b" and "restored" in campaign["submitted_by"]
    append(store, KEY, sealed())
    finalise(store, KEY)
    assert store.state(KEY.job_id) == "SUCCEEDED"
    finished = store.connection.execute("SELECT finished_at FROM campaign").fetchone()[0]
    assert finished is not None
    assert _hello(store, signer, papers).reason == "recorded"
    assert store.connection.execute("SELECT count(*) FROM job").fetchone()[0] == 1


def test_a_retry_of_after_the_copy_joins_its_campaign(
    store: TestStore, signer: OrderSigner
) -> None:
    store.hello()
    store.submit("d1")
    order = replace(ORDER, campaign_id="campaign-1")
    assert _hello(store, signer, Papers(signer.signed(order.canonical()), LOCK)).keep
    rows = store.connection.execute("SELECT campaign_id FROM job").fetchall()
    assert [row[0] for row in rows] == ["campaign-1", "campaign-1"]


def test_the_board_is_lost_before_its_result_came(store: TestStore, signer: OrderSigner) -> None:
    papers = Papers(signer.signed(ORDER.canonical()), LOCK)
    _hello(store, signer, papers, state=AttemptState.RUNNING)
    store.run(lambda c, fx, now: sessions.lease_expired(c, fx, now, "d1"))
    assert store.attempt_state(KEY) == "LOST"
    assert _hello(store, signer, papers).keep, "it came back with the result"
    append(store, KEY, sealed())
    finalise(store, KEY)
    assert store.state(KEY.job_id) == "SUCCEEDED"


Forge = Callable[[OrderSigner, Path], Papers | None]
FORGED: dict[str, Forge] = {
    "no papers": lambda own, home: None,
    "another controller's signature": lambda own, home: Papers(
        _signer(home / "other").signed(ORDER.canonical()), LOCK
    ),
    "an unsigned order": lambda own, home: Papers(ORDER.canonical(), LOCK),
    "a changed order": lambda own, home: Papers(
        own.signed(ORDER.canonical()).replace(b"campaign-after", b"campaign-other"), LOCK
    ),
    "another lock": lambda own, home: Papers(own.signed(ORDER.canonical()), LOCK + b" "),
    "the order of another epoch": lambda own, home: Papers(
        own.signed(replace(ORDER, epoch=ORDER.epoch + 1).canonical()), LOCK
    ),
    "the order of another board": lambda own, home: Papers(
        own.signed(replace(ORDER, device_id="d2").canonical()), LOCK
    ),
    "the order of another job": lambda own, home: Papers(
        own.signed(replace(ORDER, job_id="other").canonical()), LOCK
    ),
    "no order at all": lambda own, home: Papers(b"\xff{}", b""),
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
def test_what_a_board_has_given_up_makes_no_job(
    store: TestStore, signer: OrderSigner, state: AttemptState
) -> None:
    papers = Papers(signer.signed(ORDER.canonical()), LOCK)
    assert not _hello(store, signer, papers, state=state).keep
    assert store.connection.execute("SELECT count(*) FROM job").fetchone()[0] == 0
