"""Durable files, the ledger, identifiers."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path

import pytest

from fleetmark_agent.state import ledger
from fleetmark_agent.state.attempt_key import MAX_EPOCH, LocalAttemptKey
from fleetmark_agent.state.files import RealFiles
from fleetmark_agent.state.identity import device_id
from fleetmark_agent.state.ledger import AttemptStatus, Ledger, LedgerEntry, LedgerError
from fleetmark_core.atomic_file import write_atomic
from fleetmark_core.errors import FleetmarkError
from fleetmark_core.failure_cause import FailureCause
from fleetmark_core.ids import uuid7


def test_a_ledger_comes_back_as_it_was(tmp_path: Path) -> None:
    files = RealFiles(tmp_path)
    assert ledger.load(files) == Ledger()
    entries = tuple(
        LedgerEntry(
            LocalAttemptKey(f"job-{n}", n), standing, b"\0\xff order", "why", True, FailureCause.JOB
        )
        for n, standing in enumerate(AttemptStatus, 1)
    )
    ledger.save(files, Ledger(MAX_EPOCH, entries))
    assert ledger.load(files) == Ledger(MAX_EPOCH, entries)


def test_a_ledger_of_an_older_agent_has_no_causes(tmp_path: Path) -> None:
    files = RealFiles(tmp_path)
    entry = LedgerEntry(LocalAttemptKey("job", 1), AttemptStatus.REFUSED, b"", "why", True)
    ledger.save(files, Ledger(1, (entry,)))
    path = tmp_path / ledger.LEDGER_NAME
    values = json.loads(path.read_bytes())
    del values["attempts"][0]["cause"]
    path.write_text(json.dumps(values))
    assert ledger.load(files) == Ledger(1, (entry,))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"format": 2}',
        b'{"format": 1, "highest_epoch": "x", "attempts": []}',
    ],
)
def test_a_damaged_ledger_is_named_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ledger.json"
    path.write_bytes(content)
    with pytest.raises(LedgerError, match=r"ledger\.json"):
        ledger.load(RealFiles(tmp_path))
    assert path.read_bytes() == content


def test_a_ledger_that_is_missing_beside_results_is_reported(tmp_path: Path) -> None:
    files = RealFiles(tmp_path)
    (tmp_path / "spool").mkdir()
    assert ledger.load(files) == Ledger()
    (tmp_path / "spool" / "job-1.1.spool").write_bytes(b"results")
    with pytest.raises(LedgerError, match=r"ledger\.json is missing"):
        ledger.load(files)
    # A home that runs bundle files has no ledger.
    (tmp_path / "bundles.json").write_text("{}")
    assert ledger.load(files) == Ledger()


def test_what_a_damaged_ledger_holds_is_not_repeated_at_length(tmp_path: Path) -> None:
    (tmp_path / "ledger.json").write_bytes(bytes(100_001))
    with pytest.raises(LedgerError) as caught:
        ledger.load(RealFiles(tmp_path))
    assert len(str(caught.value)) < 400


def test_hostile_names_in_a_ledger_are_refused(tmp_path: Path) -> None:
    ledger.save(
        RealFiles(tmp_path), Ledger(1, (LedgerEntry(LocalAttemptKey("j", 1), AttemptStatus.ENDED),))
    )
    path = tmp_path / "ledger.json"
    path.write_text(path.read_text().replace('"j"', '"../../etc"'))
    with pytest.raises(LedgerError):
        ledger.load(RealFiles(tmp_path))


def test_a_write_that_fails_keeps_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_files_below_a_folder(tmp_path: Path) -> None:
    files = RealFiles(tmp_path)
    assert files.read("a/b") is None and files.list("a") == [] and files.size("a/b") == 0
    files.append_sync("a/b", b"one")
    files.append_lazy("a/b", b"two")
    assert files.read("a/b") == b"onetwo" and files.size("a/b") == 6 and files.list("a") == ["b"]
    files.truncate("a/b", 3)
    assert files.read("a/b") == b"one"
    files.remove("a/b")
    files.remove("a/b")
    assert files.list("a") == [] and files.free_bytes() > 0


def test_identifiers_sort_by_time() -> None:
    before = time.time_ns() // 1_000_000
    ids = []
    for _ in range(5):
        ids.append(uuid7())
        time.sleep(0.002)
    assert ids == sorted(ids) and len(set(ids)) == 5
    for made in ids:
        assert made[14] == "7" and made[19] in "89ab"
    assert 0 <= int(ids[0].replace("-", "")[:12], 16) - before < 60_000


def test_a_device_keeps_its_id_and_a_damaged_one_is_not_replaced(tmp_path: Path) -> None:
    first = device_id(tmp_path)
    assert device_id(tmp_path) == first
    path = tmp_path / "identity" / "device.json"
    for content in ("", "{}", json.dumps({"device_id": "../x"})):
        path.write_text(content)
        with pytest.raises(FleetmarkError, match="device id"):
            device_id(tmp_path)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("job.1", LocalAttemptKey("job", 1)),
        ("a.b.1", None),
        ("job.0", None),
        ("job.01", None),
        (".1", None),
        ("job.-1", None),
        ("job.١", None),
        ("job", None),
    ],
)
def test_only_our_own_names_are_attempts(name: str, key: LocalAttemptKey | None) -> None:
    assert LocalAttemptKey.from_name(name) == key
