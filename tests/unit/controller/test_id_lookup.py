"""One resolver of ids: a whole id, any unique part of one, or `last`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_controller.store.db.connection import connect, migrate
from fleetmark_controller.store.devices.selection import named
from fleetmark_controller.store.id_lookup import resolve_id
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.ids import SHORT_ID, short_ids, uuid7

OLD, NEW, CHECK = (
    "01a20a35-3cdd-70c9-8062-478c597f098e",
    "01a20a35-3cde-7111-8062-478c597f098f",
    "01a20a35-3cdf-7222-8062-5555597f0990",
)
JOBS = {
    "01a20a35-4000-7aaa-9000-00000000a001": OLD,
    "01a20a35-4001-7bbb-9000-00000000b002": NEW,
    "01a20a35-4002-7ccc-9000-00000000c003": NEW,
    "01a20a35-4003-7ddd-9000-00000000d004": CHECK,
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    migrate(tmp_path / "results.db")
    connection = connect(tmp_path / "results.db")
    for campaign, purpose in ((OLD, ""), (NEW, ""), (CHECK, "health check")):
        connection.execute(
            "INSERT INTO campaign (campaign_id, benchmark, selector, profile, request, created_at,"
            " purpose) VALUES (?, 'b', '', 'quick', '{}', '2026-01-01T00:00:00Z', ?)",
            (campaign, purpose),
        )
    for number, (job, campaign) in enumerate(JOBS.items()):
        connection.execute(
            "INSERT INTO job (job_id, sequence, campaign_id, label, configuration,"
            " configuration_key, repetition, state, reason, priority, timeout_s, deadline_at,"
            " max_attempts, created_at) VALUES (?, ?, ?, 'toy one', '{}', 'k', 1, 'QUEUED', '', 0,"
            " 1, '', 1, '')",
            (job, number, campaign),
        )
    yield connection
    connection.close()


@pytest.mark.parametrize(
    ("part", "kinds", "item"),
    [
        (OLD, ("campaign",), OLD),
        ("70c9", ("campaign",), OLD),
        ("098f", ("campaign",), NEW),
        ("3CDE-7111", ("campaign",), NEW),
        ("…7f098e", ("campaign",), OLD),
        ("last", ("campaign",), NEW),
        ("last", ("campaign", "job"), NEW),
        ("last", ("job",), "01a20a35-4002-7ccc-9000-00000000c003"),
        ("b002", ("campaign", "job"), "01a20a35-4001-7bbb-9000-00000000b002"),
        ("70c9", ("campaign", "job"), OLD),
    ],
)
def test_a_unique_part_names_an_id(
    store: sqlite3.Connection, part: str, kinds: tuple[str, ...], item: str
) -> None:
    assert resolve_id(store, part, kinds).item_id == item


def test_an_ambiguous_part_lists_the_candidates_by_their_short_forms(
    store: sqlite3.Connection,
) -> None:
    with pytest.raises(FleetmarkError) as caught:
        resolve_id(store, "01a20a35-400", ("job",))
    assert caught.value.kind is ErrorKind.USAGE
    for tail in ("0000a001", "0000b002", "0000c003", "0000d004"):
        assert f"job {tail} (toy one on any device, QUEUED)" in caught.value.what
    with pytest.raises(FleetmarkError, match=r"several campaigns or jobs .* and more"):
        resolve_id(store, "01a20a35", ("campaign", "job"))


def test_a_part_of_a_campaign_and_of_a_job_is_ambiguous(store: sqlite3.Connection) -> None:
    # 7aaa is in the first job; 9000 in every job; 5555 in the health check alone.
    assert resolve_id(store, "5555", ("campaign", "job")).item_id == CHECK
    with pytest.raises(FleetmarkError) as caught:
        resolve_id(store, "-7", ("campaign", "job"))
    assert "several campaigns or jobs" in caught.value.what
    store.execute(
        "INSERT INTO campaign (campaign_id, benchmark, selector, profile, request, created_at)"
        " VALUES ('night-7bbb', 'b', '', 'quick', '{}', '2026-01-02')"
    )
    with pytest.raises(FleetmarkError, match=r"campaign ght-7bbb \(b, .*; job 0000b002 "):
        resolve_id(store, "7bbb", ("campaign", "job"))
    assert resolve_id(store, "7bbb", ("job",)).kind == "job"


@pytest.mark.parametrize("part", ["0000000000", "", "%", "_", "'"])
def test_no_match_says_where_to_look(store: sqlite3.Connection, part: str) -> None:
    with pytest.raises(FleetmarkError, match="jobs list") as caught:
        resolve_id(store, part, ("campaign", "job"))
    assert caught.value.kind is ErrorKind.NOT_FOUND
    assert "no campaign or job" in caught.value.what


def test_last_of_an_empty_store_is_not_found(tmp_path: Path) -> None:
    migrate(tmp_path / "results.db")
    connection = connect(tmp_path / "results.db")
    for kind in ("campaign", "job", "run", "device", "token"):
        with pytest.raises(FleetmarkError, match=f"no {kind} 'last'"):
            resolve_id(connection, "last", (kind,))


def _device(connection: sqlite3.Connection, device_id: str, name: str, at: str) -> None:
    connection.execute(
        "INSERT INTO device (device_id, name, labels, capabilities, agent_version, boot_id,"
        " registered_at, last_seen_at) VALUES (?, ?, '{}', '{}', '', '', ?, '')",
        (device_id, name, at),
    )


def test_a_device_is_named_by_its_name_or_a_part_of_its_id(
    store: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "fleetmark_controller.store.devices.devices._device",
        lambda row: type("D", (), {"name": row["name"], "device_id": row["device_id"]})(),
    )
    _device(store, "6b1f0e0a-0000-4000-8000-0000facade01", "facade01", "2026-01-02")
    _device(store, "6b1f0e0a-0000-4000-8000-0000deadbeef", "board", "2026-01-01")
    assert named(store, "board").name == "board"
    assert named(store, "facade01").name == "facade01"
    assert named(store, "deadbeef").name == "board"
    assert named(store, "last").name == "facade01"
    with pytest.raises(FleetmarkError, match="several devices") as caught:
        named(store, "6b1f0e0a")
    assert "facade01" in caught.value.what and "board" in caught.value.what
    with pytest.raises(FleetmarkError, match="no device is called 'beef'"):
        named(store, "beef")  # too short: it may be a mistyped name


def test_a_pending_device_is_named_by_a_part_of_its_id(store: sqlite3.Connection) -> None:
    for number, kind in enumerate(("device", "person")):
        store.execute(
            "INSERT INTO identity (identity_id, kind, name, key_sha256, state, labels, created_at)"
            " VALUES (?, ?, ?, ?, 'pending', '{}', '')",
            (f"6b1f0e0a-0000-4000-8000-0000facade0{number}", kind, kind, str(number)),
        )
    assert resolve_id(store, "facade0", ("identity",)).item_id.endswith("facade00")
    with pytest.raises(FleetmarkError, match="no device 'device-77'") as caught:
        resolve_id(store, "device-77", ("identity",))
    assert caught.value.kind is ErrorKind.NOT_FOUND


@given(st.lists(st.text("0123abc", max_size=20), max_size=30))
def test_short_forms_are_unique_tails(ids: list[str]) -> None:
    short = short_ids(ids)
    assert set(short) == set(ids)
    for whole, tail in short.items():
        assert whole.endswith(tail)
        assert len(tail) >= min(SHORT_ID, len(whole))
        others = [other for other in short if other != whole and other.endswith(tail)]
        # Only an id that is itself the tail of another one cannot be distinguished by its tail.
        assert tail == whole or not others


def test_short_forms_of_one_second_have_eight_characters() -> None:
    made = [uuid7(10**18) for _ in range(100)]
    assert {len(tail) for tail in short_ids(made).values()} == {SHORT_ID}
