"""The store: group commit, failures, migrations, damage."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from sqlite_utils import Database

from fleetmark_controller.store import epochs, events
from fleetmark_controller.store.db.connection import check_integrity, connect, migrate
from fleetmark_controller.store.db.migrations import MIGRATIONS
from fleetmark_controller.store.db.reader import Reader
from fleetmark_controller.store.db.writer import Writer
from fleetmark_controller.store.devices import devices
from fleetmark_controller.store.devices.capability_cache import CapabilityCache
from fleetmark_controller.store.devices.device_cache import CachedDeviceList
from fleetmark_controller.store.results import public_views
from fleetmark_core.capabilities import Board, Capabilities, Cpu, Memory, Os, Storage
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.serde import to_plain


@pytest.fixture
def path(tmp_path: Path) -> Path:
    migrate(tmp_path / "results.db")
    return tmp_path / "results.db"


async def test_a_result_is_durable_when_the_caller_has_it(path: Path) -> None:
    writer = Writer(path)
    await writer.run(lambda c: epochs.put(c, "key", "value"))
    other = connect(path, read_only=True)
    assert epochs.get(other, "key") == "value"
    writer.close()


async def test_one_that_fails_undoes_only_itself(path: Path) -> None:
    writer = Writer(path)

    def fail(connection: sqlite3.Connection) -> None:
        epochs.put(connection, "bad", "1")
        raise ValueError("no")

    results = await asyncio.gather(
        *(writer.run(lambda c, n=n: epochs.put(c, f"good{n}", "1")) for n in range(5)),
        writer.run(fail),
        *(writer.run(lambda c, n=n: epochs.put(c, f"good{n}", "1")) for n in range(5, 10)),
        return_exceptions=True,
    )
    assert [type(r) for r in results if r is not None] == [ValueError]
    keys = {r[0] for r in connect(path, read_only=True).execute("SELECT key FROM key_value")}
    assert keys == {f"good{n}" for n in range(10)}
    writer.close()


async def test_transactions_that_wait_together_share_a_commit(path: Path) -> None:
    writer = Writer(path, group_s=60.0)
    loop = asyncio.get_running_loop()
    gate = asyncio.Event()

    def first(_: sqlite3.Connection) -> None:
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result()

    begun = loop.create_task(writer.run(first))
    rest = [loop.create_task(writer.run(lambda c: c.total_changes)) for _ in range(50)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(begun, *rest)
    writer.close()
    assert writer.commits <= 3


async def test_a_failed_query_keeps_no_old_state(path: Path) -> None:
    """Invalid UTF-8 fails the query that reads it; later queries see new rows."""
    writer, reader = Writer(path), Reader(path, threads=1)
    bad = "CREATE TABLE bad AS SELECT CAST(x'ff' AS TEXT) AS word UNION ALL SELECT 'b'"
    await writer.run(lambda c: c.execute(bad) and None)
    await writer.run(lambda c: epochs.put(c, "a", "1"))
    kept = []
    for _ in range(3):
        with pytest.raises(sqlite3.OperationalError) as caught:
            await reader.run(lambda c: [row[0] for row in c.execute("SELECT word FROM bad")])
        kept.append(caught)  # with the cursor that failed
    await writer.run(lambda c: epochs.put(c, "a", "2"))
    assert await reader.run(lambda c: epochs.get(c, "a")) == "2"
    kept.clear()  # an open cursor delays the writer's last checkpoint
    reader.close()
    writer.close()


async def test_a_reader_sees_one_state_and_cannot_write(path: Path) -> None:
    writer, reader = Writer(path), Reader(path)
    await writer.run(lambda c: epochs.put(c, "a", "1"))
    assert await reader.run(lambda c: epochs.get(c, "a")) == "1"
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await reader.run(lambda c: epochs.put(c, "a", "2"))
    reader.close()
    writer.close()


def test_migrating_twice_changes_nothing(path: Path) -> None:
    before = path.read_bytes()
    migrate(path)
    assert path.read_bytes() == before


def test_a_store_from_before_fleets_keeps_all_and_lists_no_removed_device(tmp_path: Path) -> None:
    old = tmp_path / "old.db"
    database = Database(connect(old))
    MIGRATIONS.apply(database, stop_before="0004_fleet")
    connection = database.conn
    facts = Capabilities(
        Os("linux", "debian", "12", "6.1"),
        "x86_64",
        Board(),
        Cpu(1, 1),
        Memory(1, 0),
        Storage(0, 0),
    )
    for number, state in enumerate(("active", "pending", "revoked", "removed")):
        device = f"d{number}"
        connection.execute(
            "INSERT INTO device VALUES (?, ?1, '{}', ?, '1', 'boot', '', '')",
            (device, json.dumps(to_plain(facts))),
        )
        connection.execute(
            "INSERT INTO identity VALUES (?, 'device', ?1, NULL, ?1, ?, '{}', NULL, '', '', '')",
            (device, state),
        )
    connection.execute(
        "INSERT INTO campaign VALUES ('c', 'toy', '', 'quick', '{}', '2026-01-01T00:00:00Z', NULL)"
    )
    connection.execute(
        """INSERT INTO job VALUES ('j', 1, 'c', 'toy', '{}', 'k', 1, 'QUEUED', '', 0, 60.0,
        '2026-01-02T00:00:00Z', 3, 0, 0, 'd0', NULL, '2026-01-01T00:00:00Z', NULL)"""
    )
    connection.commit()
    connection.close()
    migrate(old)
    after = connect(old, read_only=True)
    assert [row[0] for row in after.execute("SELECT name FROM devices")] == ["d0", "d1", "d2"]
    assert [tuple(row) for row in after.execute("SELECT job_id, device, retried_as FROM jobs")] == [
        ("j", "d0", None)
    ]
    rows = after.execute("SELECT campaign_id, jobs, paused_at, submitted_by FROM campaigns")
    assert [tuple(row) for row in rows] == [("c", 1, None, "")]
    assert [device.name for device in devices.list_all(after)] == ["d0", "d1"]


def test_a_store_of_a_newer_version_is_refused(path: Path) -> None:
    connection = connect(path)
    connection.execute(
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
        " VALUES ('fleetmark', '9999_future', '')"
    )
    with pytest.raises(FleetmarkError, match=r"newer version.*9999_future") as caught:
        migrate(path)
    assert caught.value.kind is ErrorKind.STORE_UNUSABLE


def test_a_file_that_is_no_database_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "results.db").write_text("this is a shopping list, not a database\n" * 40)
    with pytest.raises(FleetmarkError) as caught:
        migrate(tmp_path / "results.db")
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_damaged_page_is_noticed(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096 : 2 * 4096] = b"\xaa" * 4096
    path.write_bytes(data)
    with pytest.raises(FleetmarkError) as caught:
        check_integrity(path)
    assert caught.value.kind is ErrorKind.STORE_UNUSABLE


def test_every_public_view_can_be_read(path: Path) -> None:
    connection = connect(path, read_only=True)
    for view in public_views.VIEWS:
        columns, rows = public_views.select(
            connection, view, campaign_id="x", devices=["d"], since="2026-01-01", samples=True
        )
        assert list(rows) == []
        assert columns


def test_a_roster_is_read_anew_when_a_device_or_an_identity_changed_and_only_then(
    path: Path, x86_device: Capabilities
) -> None:
    connection, roster = connect(path), CachedDeviceList()

    def register(name: str) -> None:
        devices.upsert(
            connection,
            1,
            device_id=f"id of {name}",
            name=name,
            labels={},
            capabilities=x86_device,
            agent_version="0",
            boot_id="b",
        )

    register("one")
    first = roster.list_all(connection)
    events.add(connection, 1, "device.connected")
    assert roster.list_all(connection) is first
    register("two")
    assert [device.name for device in roster.list_all(connection)] == ["one", "two"]
    connection.execute(
        "INSERT INTO identity (identity_id, kind, name, role, key_sha256, state, labels,"
        " created_at) VALUES ('id of two', 'device', 'two', '', 'k', 'revoked', '{}', '')"
    )
    assert [device.name for device in roster.list_all(connection)] == ["one"]
    connection.execute("UPDATE identity SET state = 'active'")
    assert len(roster.list_all(connection)) == 2


def test_a_name_that_is_taken_gets_a_number(path: Path, x86_device: Capabilities) -> None:
    connection = connect(path)
    names = []
    for number in range(3):
        devices.upsert(
            connection,
            1,
            device_id=str(number),
            name="bench",
            labels={},
            capabilities=x86_device,
            agent_version="0",
            boot_id="b",
        )
        names.append(devices.list_all(connection)[-1].name)
    assert names == ["bench", "bench-2", "bench-3"]
    assert devices.free_name(connection, "0", "board") == "board"


def test_facts_that_are_kept_stay_few(x86_device: Capabilities) -> None:
    texts = [f'{{"number": {number:03}}}' for number in range(100)]
    kept = CapabilityCache(max_letters=200 * len(texts[0]))
    for text in texts:
        kept.keep(text, x86_device)
        kept.keep(text, x86_device)  # a device that comes again counts once
    assert kept.parse(texts[0]) is x86_device
    few = CapabilityCache(max_letters=len(texts[0]) * 100)
    long = json.dumps(to_plain(x86_device))
    few.keep(long, replace(x86_device, arch="one that is too large to be kept"))
    assert few.parse(long) == x86_device
    for number in range(300):
        few.keep(f'{{"number": {number:03}}}', x86_device)
    assert len(few._by_text) == 100
