"""State that an earlier version wrote is read as that version read it.

`tests/data/recorded/README.md` says what was recorded, and how. Nothing here depends on the date:
what expires is opened at the time of the recording, or renewed as a device would renew it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fleetmark_agent.config.loader import load_settings as load_agent_settings
from fleetmark_agent.state import identity, ledger
from fleetmark_agent.state.files import RealFiles
from fleetmark_agent.state.spool import Spool
from fleetmark_agent.state.trust_store import TrustStore
from fleetmark_controller.home.credential_files import read_credentials
from fleetmark_controller.home.settings import load_settings
from fleetmark_controller.identity import certificates
from fleetmark_controller.identity.audit_chain import find_break
from fleetmark_controller.identity.ca import Authority
from fleetmark_controller.server.home import Home
from fleetmark_controller.signing import key_file
from fleetmark_controller.signing.order_signer import OrderSigner
from fleetmark_controller.signing.release_store import ReleaseStore
from fleetmark_controller.store import epochs
from fleetmark_controller.store.db.connection import check_integrity, connect, migrate
from fleetmark_controller.store.devices import descriptions, device_admin, devices, saved_fleets
from fleetmark_controller.store.jobs import attempts, jobs
from fleetmark_controller.store.results import records
from fleetmark_controller.store.security import audit, identities, releases, tokens
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.bundle_file import (
    BUNDLE,
    RESULTS,
    open_bundle,
    parse_device_identity,
    parse_results,
    parse_signed_by_device,
)
from fleetmark_core.device_keys import key_fingerprint, pem_sha256
from fleetmark_core.digest import sha256_file, sha256_hex
from fleetmark_core.order import parse_signed
from fleetmark_core.order_verification import TrustState, verify_order, verify_order_signature
from fleetmark_core.signing import certified_key
from tests.support.recorded_state import (
    VIEWS,
    plain,
    recorded,
    renamed,
    rows_of,
    same,
    unpacked,
)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A copy of all that was recorded."""
    return unpacked(tmp_path / "state")


@pytest.fixture
def store(state: Path) -> Iterator[sqlite3.Connection]:
    """The recorded store, brought to this version's schema."""
    path = state / "controller" / "results.db"
    migrate(path)
    check_integrity(path)
    with closing(connect(path, read_only=True)) as connection:
        yield connection


def schema(path: Path) -> set[tuple[str, str, str]]:
    with closing(connect(path, read_only=True)) as connection:
        rows = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql NOT NULL")
        return {(row[0], row[1], " ".join(row[2].split())) for row in rows}


def test_no_migration_of_the_store_is_lost_or_changed(state: Path, tmp_path: Path) -> None:
    path = state / "controller" / "results.db"
    migrate(path)
    migrate(tmp_path / "new.db")
    assert schema(path) == schema(tmp_path / "new.db")
    wanted = recorded("store")["migrations"]
    with closing(connect(path, read_only=True)) as connection:
        rows = connection.execute("SELECT name FROM _sqlite_migrations ORDER BY id").fetchall()
    assert [row[0] for row in rows][: len(wanted)] == wanted


def test_the_store_is_sound(store: sqlite3.Connection) -> None:
    assert [row[0] for row in store.execute("PRAGMA integrity_check")] == ["ok"]
    assert store.execute("PRAGMA foreign_key_check").fetchall() == []


@pytest.mark.parametrize("view", VIEWS)
def test_a_public_view_has_the_recorded_rows(store: sqlite3.Connection, view: str) -> None:
    wanted = recorded("views")[view]
    assert len(wanted) >= 3
    found = rows_of(store, view)
    same(renamed(view, wanted), found)
    # The recording has each view's columns in order; later ones are appended.
    for row, now in zip(renamed(view, wanted), found, strict=True):
        assert list(now)[: len(row)] == list(row)


def test_the_audit_log_is_an_unbroken_chain(store: sqlite3.Connection) -> None:
    rows, head = list(audit.rows(store)), audit.head(store)
    assert find_break(rows, *head) == ""
    wanted = renamed("audit", recorded("store")["audit"])
    assert {"actor", "action"} <= set(wanted[0])
    same(wanted, rows)
    assert list(head) == recorded("store")["audit_head"]
    acts = {(row.actor, row.action.rpartition("/")[2], row.outcome) for row in rows}
    assert ("person alice", "CreateToken", "refused") in acts
    assert ("person local", "bundle.export", "done") in acts


def test_devices_keep_labels_descriptions_drains_and_reservations(
    store: sqlite3.Connection,
) -> None:
    found: list[dict[str, Any]] = [
        {
            "device_id": device.device_id,
            "name": device.name,
            "labels": device.labels,
            "care": device_admin.get(store, device.device_id),
            "description": descriptions.get_for_device(store, device.device_id),
        }
        for device in devices.list_all(store)
    ]
    same(recorded("store")["devices"], found)
    first, second, third = found
    assert first["labels"] == {"rack": "r2", "shelf": "3", "site": "lab1"}
    assert first["description"] == {"system_type": "edge"}
    assert second["care"].drain_reason == "its fan is loud"
    assert third["care"].reserved_for == "alice"


def test_operators_devices_tokens_and_saved_fleets_are_there(store: sqlite3.Connection) -> None:
    wanted = recorded("store")
    same(wanted["identities"], identities.list_all(store))
    same(wanted["tokens"], tokens.list_all(store))
    assert saved_fleets.list_all(store) == wanted["saved_fleets"] == {"lab": "site=lab1"}
    assert {known.name for known in identities.list_all(store)} >= {"local", "alice", "bench-03"}


def test_jobs_and_attempts_are_there(store: sqlite3.Connection) -> None:
    wanted = recorded("store")
    found = [jobs.get(store, job["job_id"]) for job in wanted["jobs"]]
    same(wanted["jobs"], found)
    states = [job.state.value for job in found if job is not None]
    assert sorted(states) == ["ACTIVE", "ACTIVE", "FAILED", "QUEUED", *["SUCCEEDED"] * 3]
    for entry in wanted["attempts"]:
        key = attempts.AttemptKey(**entry["attempt"]["key"])
        same(entry["attempt"], attempts.get(store, key))
        assert attempts.is_exported(store, key) == entry["exported"]
        assert records.count(store, key) == entry["records"]
    assert [entry["exported"] for entry in wanted["attempts"]].count(True) == 1


def test_releases_and_generation_are_there(store: sqlite3.Connection) -> None:
    wanted = recorded("store")
    same(wanted["release"], releases.newest(store))
    assert epochs.generation(store) == wanted["generation"] > 60_000
    assert epochs.get(store, "controller_id") == wanted["controller_id"]


def test_every_file_of_a_run_is_whole(store: sqlite3.Connection, state: Path) -> None:
    blobs = BlobFolder(state / "controller" / "blobs")
    found = [row[0] for row in store.execute("SELECT DISTINCT sha256 FROM run_file")]
    found += [row[0] for row in store.execute("SELECT DISTINCT samples_sha256 FROM run")]
    assert len(found) >= 5
    for sha256 in filter(None, found):
        assert sha256_file(blobs.path(sha256)) == sha256


# --- the rest of the controller's home ---


def test_the_small_files_of_the_controllers_home_are_read(state: Path) -> None:
    wanted, folder = recorded("controller"), state / "controller"
    same(wanted["settings"], load_settings(folder))
    home = Home(folder)
    try:
        assert home.read_generation() == wanted["generation"]
    finally:
        home.close()
    for name, path in (("admin", folder / "identity/admin.json"), ("alice", state / "alice.json")):
        credentials = read_credentials(path)
        same(wanted[name], certificates.read_peer(credentials.certificate.encode()))
        assert key_fingerprint(credentials.key.encode()) == wanted[name]["key_sha256"]
        assert pem_sha256(credentials.ca.encode()) == wanted["ca_sha256"]
    assert read_credentials(state / "alice.json").role == "operator"


def test_catalog_key_and_release_are_read(state: Path) -> None:
    wanted, folder = recorded("controller"), state / "controller"
    keeper = ReleaseStore(folder, BlobFolder(folder / "blobs"), 1, make=False)
    assert (keeper.public, keeper.fingerprint) == (wanted["public"], wanted["fingerprint"])
    same(wanted["reference"], keeper.reference)
    assert keeper.release is not None
    assert len(keeper.release.components) == wanted["release"].pop("components")
    # The file and the recording say `serial`, as all signed bytes do.
    assert keeper.release.version == wanted["release"].pop("serial")
    same(wanted["release"], keeper.release)
    key = key_file.read(folder / "identity" / "catalog-key.json")
    assert key == keeper.key()
    assert key.public == wanted["key_public"]
    made_s, expires_s = wanted["release"]["made_unix_s"], wanted["release"]["expires_unix_s"]
    assert keeper.fault(made_s) == ""
    assert " has expired" in keeper.fault(expires_s)


def controllers_signer(folder: Path) -> tuple[Authority, OrderSigner]:
    """Keys of a controller's home, as they are: none of them may be made anew."""
    files = [folder / "identity" / name for name in ("ca.pem", "orders.pem")]
    before = [path.read_bytes() for path in files]
    now_ns = recorded("controller")["release"]["made_unix_s"] * 10**9
    authority = Authority(folder, now_ns)
    signer = OrderSigner(folder, authority.ca, now_ns)
    assert [path.read_bytes() for path in files] == before
    return authority, signer


def test_an_order_is_signed_as_it_was(state: Path, store: sqlite3.Connection) -> None:
    """The same order has the same envelope: those that left the controller come out once more."""
    wanted = recorded("controller")
    authority, signer = controllers_signer(state / "controller")
    assert authority.ca_sha256 == wanted["ca_sha256"]
    with open_bundle(state / "job.bundle", BUNDLE) as carried:
        left = [carried.table(BUNDLE)["order"].encode()]
    left += [entry.order for entry in ledger.load(RealFiles(state / "bench-01")).entries]
    made = {}
    for entry in recorded("store")["attempts"]:
        attempt = attempts.get(store, attempts.AttemptKey(**entry["attempt"]["key"]))
        assert attempt is not None
        envelope = signer.signed(attempt.order)
        made[envelope] = attempt.key
        assert signer.verify_own(envelope) == attempt.order
        assert signer.verify_own(envelope.replace(b"SingleStream", b"MultiStream")) is None
        order = verify_order_signature(envelope, authority.ca.certificate)
        assert (order.job_id, order.epoch) == (attempt.key.job_id, attempt.key.epoch)
        public = certified_key(parse_signed(envelope).certificate, authority.ca.certificate)
        assert public == wanted["orders_public"]
    assert len(left) == 2
    assert set(left) <= set(made)


# --- the homes of devices ---


@pytest.mark.parametrize("name", ["bench-01", "bench-03", "states"])
def test_ledger_and_spool_are_read(state: Path, name: str) -> None:
    wanted, files = recorded("agents")[name], RealFiles(state / name)
    same(wanted["ledger"], ledger.load(files))
    spool = Spool(files, 1 << 30)
    assert plain(spool.attempts()) == [box["key"] for box in wanted["spool"]]
    for key, box in zip(spool.attempts(), wanted["spool"], strict=True):
        assert spool.last_seq(key) == box["last_seq"]
        assert spool.acknowledged(key) == box["acknowledged"]
        assert spool.is_sealed(key) == box["sealed"]
        same(box["records"], spool.read(key, 0, 1 << 30))
        assert [record.seq for record in spool.pending(key, 1 << 30)] == box["pending"]
    assert spool.used_bytes() == wanted["used_bytes"]


def test_what_was_recorded_of_devices_is_not_trivial() -> None:
    wanted = recorded("agents")
    (box,) = wanted["bench-01"]["spool"]
    assert (box["acknowledged"], box["last_seq"], box["sealed"]) == (6, 12, True)
    assert {record["kind"] for record in box["records"]} == {"event", "telemetry", "file", "final"}
    (entry,) = wanted["bench-01"]["ledger"]["entries"]
    assert (entry["standing"], entry["key"]) == ("ended", box["key"])
    assert wanted["bench-01"]["ledger"]["highest_epoch"] == box["key"]["epoch"]
    standings = [entry["standing"] for entry in wanted["states"]["ledger"]["entries"]]
    assert standings == ["ended", "accepted", "refused", "aborted"]
    assert [(each["acknowledged"], each["last_seq"]) for each in wanted["states"]["spool"]] == [
        *((5, 7), (0, 2)),
        (0, 1),  # its second record was cut in two
    ]


def test_the_identity_of_a_device_is_read(state: Path) -> None:
    wanted, home = recorded("agents")["bench-01"], state / "bench-01"
    assert identity.device_id(home) == wanted["device_id"]
    same(wanted["enrolment"], identity.load_enrollment(home))
    tls = identity.load_tls(home)
    assert pem_sha256(tls.ca) == wanted["ca_sha256"] == recorded("controller")["ca_sha256"]
    peer = certificates.read_peer(tls.certificate)
    same(wanted["peer"], peer)
    assert key_fingerprint(tls.key) == wanted["key_sha256"] == peer.key_sha256
    assert certificates.expires_ns(tls.certificate) == wanted["enrolment"]["expires_ns"]
    settings = load_agent_settings(home, name="bench-01")
    same(wanted["settings"], settings)


@pytest.mark.parametrize("name", ["bench-01", "bench-03"])
def test_what_a_device_trusts_is_read(state: Path, name: str) -> None:
    wanted, store = recorded("agents")[name], TrustStore(state / name)
    trust = store.load()
    same(wanted["trust"], trust)
    assert trust.catalog_sha256 == recorded("controller")["fingerprint"]
    assert trust.serial == recorded("controller")["release"]["serial"]
    assert pem_sha256(store.ca_file.read_bytes()) == trust.ca_sha256
    place = identity.folder(state / name)
    assert key_fingerprint((place / identity.KEY).read_bytes()) == wanted["key_sha256"]


# --- files that operators carry ---


def test_the_bundle_is_read_and_its_order_holds(state: Path) -> None:
    wanted = recorded("carried")
    with open_bundle(state / "job.bundle", BUNDLE) as carried:
        table = carried.table(BUNDLE)
        ca, envelope = table["ca"].encode(), table["order"].encode()
        order = verify_order_signature(envelope, ca)
        same(wanted["bundle"]["order"], order)
        assert sha256_hex(envelope) == wanted["bundle"]["order_sha256"]
        assert sorted(table["blobs"]) == wanted["bundle"]["blobs"]
        assert {sha256 for sha256, _ in table["blobs"]} == set(carried.blobs)
        content = {sha256: b"".join(carried.chunks(sha256)) for sha256 in carried.blobs}
    assert all(sha256_hex(data) == sha256 for sha256, data in content.items())
    assert {sha256: len(data) for sha256, data in content.items()} == dict(table["blobs"])
    assert f"{pem_sha256(ca)}.{table['catalog_sha256']}" == wanted["pin"]
    made_s = recorded("controller")["release"]["made_unix_s"]
    trusted = TrustState(ca, table["catalog_sha256"], 0, "", made_s)
    release, lock = content[order.release_sha256], content[order.lock_sha256]
    verified = verify_order(trusted, envelope, release, lock)
    trust = recorded("agents")["bench-03"]["trust"]
    assert (verified.root_sha256, verified.version, verified.release_sha256) == (
        trust["catalog_sha256"],
        trust["serial"],
        trust["release_sha256"],
    )


def test_results_and_description_of_a_device_are_read_and_signed_by_it(state: Path) -> None:
    wanted = recorded("carried")
    own_key = recorded("agents")["bench-03"]["key_sha256"]
    with open_bundle(state / "job.results", RESULTS) as carried:
        results = parse_signed_by_device(carried.document(RESULTS))
        assert sorted(carried.blobs) == wanted["results"]["blobs"]
        assert all(
            sha256_hex(b"".join(carried.chunks(sha256))) == sha256 for sha256 in carried.blobs
        )
    same(wanted["results"]["document"], parse_results(results.signed))
    assert parse_results(results.signed).order_sha256 == wanted["bundle"]["order_sha256"]
    device = parse_signed_by_device((state / "board.json").read_bytes())
    same(wanted["board"]["document"], parse_device_identity(device.signed))
    for signed in (results, device):
        request = certificates.check_document(signed.signed, signed.csr, signed.signature)
        assert request.key_sha256 == own_key


# --- this version's processes on the recorded homes ---
