"""State that an earlier version wrote is read as that version read it.

`tests/data/recorded/README.md` says what was recorded, and how. Nothing here depends on the date:
what expires is opened at the time of the recording, or renewed as a board would renew it.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import fields, is_dataclass
from enum import Enum
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
from fleetmark_controller.signing.release_store import Keeper
from fleetmark_controller.store import epochs
from fleetmark_controller.store.db.connection import check_integrity, connect, migrate
from fleetmark_controller.store.devices import descriptions, device_admin, devices, saved_fleets
from fleetmark_controller.store.jobs import attempts, jobs
from fleetmark_controller.store.results import public_views, records
from fleetmark_controller.store.security import audit, identities, releases, tokens
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.bundle_file import (
    BUNDLE,
    RESULTS,
    opened,
    parse_board,
    parse_results,
    parse_signed_by_board,
)
from fleetmark_core.device_keys import key_fingerprint, pem_sha256
from fleetmark_core.digest import sha256_file, sha256_hex
from fleetmark_core.order import parse_signed
from fleetmark_core.order_verification import Trusted, open_order, vouch
from fleetmark_core.signing import certified_key
from tests.support import DATA
from tests.support.processes import BIN, environment, free_port, until

RECORDED = DATA / "recorded" / "ac21297"
VIEWS = ("devices", "campaigns", "jobs", "attempts", "runs", "results", "telemetry", "events")
NEW_EACH_TIME = {"run_id", "performance_run_id", "finished_at"}
"""Columns that differ whenever the same results are taken in once more."""


def recorded(name: str) -> Any:
    """What the recording's own code read."""
    return json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))


def plain(value: Any) -> Any:
    """A value as the recording has it: JSON, by the names of fields."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bytes):
        return value.decode()
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def only(wanted: Any, found: Any) -> Any:
    """What was found, without fields that the recording does not know."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return {key: only(wanted[key], found[key]) for key in wanted if key in found}
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        return [only(*pair) for pair in zip(wanted, found, strict=True)]
    return found


def same(wanted: Any, value: object) -> None:
    """Check that a value is what was recorded; later versions may have added fields."""
    assert only(wanted, plain(value)) == wanted


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A copy of all that was recorded."""
    return unpacked(tmp_path / "state")


def unpacked(folder: Path) -> Path:
    with tarfile.open(RECORDED / "state.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder


# --- the store ---


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


def rows_of(connection: sqlite3.Connection, view: str) -> list[dict[str, Any]]:
    columns, rows = public_views.select(connection, view)
    return [dict(zip(columns, row, strict=True)) for row in rows]


@pytest.mark.parametrize("view", VIEWS)
def test_a_public_view_has_the_recorded_rows(store: sqlite3.Connection, view: str) -> None:
    wanted = recorded("views")[view]
    assert len(wanted) >= 3
    same(wanted, rows_of(store, view))


def test_the_audit_log_is_an_unbroken_chain(store: sqlite3.Connection) -> None:
    rows, head = list(audit.rows(store)), audit.head(store)
    assert find_break(rows, *head) == ""
    same(recorded("store")["audit"], rows)
    assert list(head) == recorded("store")["audit_head"]
    acts = {(row.who, row.act.rpartition("/")[2], row.outcome) for row in rows}
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
            "description": descriptions.of(store, device.device_id),
        }
        for device in devices.every(store)
    ]
    same(recorded("store")["devices"], found)
    first, second, third = found
    assert first["labels"] == {"rack": "r2", "shelf": "3", "site": "lab1"}
    assert first["description"] == {"system_type": "edge"}
    assert second["care"].drain_reason == "its fan is loud"
    assert third["care"].reserved_for == "alice"


def test_people_boards_tokens_and_saved_fleets_are_there(store: sqlite3.Connection) -> None:
    wanted = recorded("store")
    same(wanted["identities"], identities.every(store))
    same(wanted["tokens"], tokens.every(store))
    assert saved_fleets.every(store) == wanted["saved_fleets"] == {"lab": "site=lab1"}
    assert {known.name for known in identities.every(store)} >= {"local", "alice", "bench-03"}


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
    keeper = Keeper(folder, BlobFolder(folder / "blobs"), 1, make=False)
    assert (keeper.public, keeper.fingerprint) == (wanted["public"], wanted["fingerprint"])
    same(wanted["reference"], keeper.reference)
    assert keeper.release is not None
    assert len(keeper.release.components) == wanted["release"].pop("components")
    same(wanted["release"], keeper.release)
    key = key_file.read(folder / "identity" / "catalog-key.json")
    assert key == keeper.key()
    assert key.public == wanted["key_public"]
    made_s, expires_s = wanted["release"]["made_unix_s"], wanted["release"]["expires_unix_s"]
    assert keeper.fault(made_s) == ""
    assert "has expired" in keeper.fault(expires_s)


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
    with opened(state / "job.bundle", BUNDLE) as carried:
        left = [carried.table(BUNDLE)["order"].encode()]
    left += [entry.order for entry in ledger.load(RealFiles(state / "bench-01")).entries]
    made = {}
    for entry in recorded("store")["attempts"]:
        attempt = attempts.get(store, attempts.AttemptKey(**entry["attempt"]["key"]))
        assert attempt is not None
        envelope = signer.signed(attempt.order)
        made[envelope] = attempt.key
        assert signer.own(envelope) == attempt.order
        assert signer.own(envelope.replace(b"SingleStream", b"MultiStream")) is None
        order = open_order(envelope, authority.ca.certificate)
        assert (order.job_id, order.epoch) == (attempt.key.job_id, attempt.key.epoch)
        public = certified_key(parse_signed(envelope).certificate, authority.ca.certificate)
        assert public == wanted["orders_public"]
    assert len(left) == 2
    assert set(left) <= set(made)


# --- the homes of boards ---


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


def test_what_was_recorded_of_boards_is_not_trivial() -> None:
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


def test_the_identity_of_a_board_is_read(state: Path) -> None:
    wanted, home = recorded("agents")["bench-01"], state / "bench-01"
    assert identity.device_id(home) == wanted["device_id"]
    same(wanted["enrolment"], identity.load_enrolment(home))
    tls = identity.load_tls(home)
    assert pem_sha256(tls.ca) == wanted["ca_sha256"] == recorded("controller")["ca_sha256"]
    peer = certificates.read_peer(tls.certificate)
    same(wanted["peer"], peer)
    assert key_fingerprint(tls.key) == wanted["key_sha256"] == peer.key_sha256
    assert certificates.expires_ns(tls.certificate) == wanted["enrolment"]["expires_ns"]
    settings = load_agent_settings(home, name="bench-01")
    same(wanted["settings"], settings)


@pytest.mark.parametrize("name", ["bench-01", "bench-03"])
def test_what_a_board_trusts_is_read(state: Path, name: str) -> None:
    wanted, store = recorded("agents")[name], TrustStore(state / name)
    trust = store.load()
    same(wanted["trust"], trust)
    assert trust.catalog_sha256 == recorded("controller")["fingerprint"]
    assert trust.serial == recorded("controller")["release"]["serial"]
    assert pem_sha256(store.ca_file.read_bytes()) == trust.ca_sha256
    place = identity.folder(state / name)
    assert key_fingerprint((place / identity.KEY).read_bytes()) == wanted["key_sha256"]


# --- files that people carry ---


def test_the_bundle_is_read_and_its_order_holds(state: Path) -> None:
    wanted = recorded("carried")
    with opened(state / "job.bundle", BUNDLE) as carried:
        table = carried.table(BUNDLE)
        ca, envelope = table["ca"].encode(), table["order"].encode()
        order = open_order(envelope, ca)
        same(wanted["bundle"]["order"], order)
        assert sha256_hex(envelope) == wanted["bundle"]["order_sha256"]
        assert sorted(table["blobs"]) == wanted["bundle"]["blobs"]
        assert {sha256 for sha256, _ in table["blobs"]} == set(carried.blobs)
        content = {sha256: b"".join(carried.chunks(sha256)) for sha256 in carried.blobs}
    assert all(sha256_hex(data) == sha256 for sha256, data in content.items())
    assert {sha256: len(data) for sha256, data in content.items()} == dict(table["blobs"])
    assert f"{pem_sha256(ca)}.{table['catalog_sha256']}" == wanted["pin"]
    made_s = recorded("controller")["release"]["made_unix_s"]
    trusted = Trusted(ca, table["catalog_sha256"], 0, "", made_s)
    release, lock = content[order.release_sha256], content[order.lock_sha256]
    vouched = vouch(trusted, envelope, release, lock)
    trust = recorded("agents")["bench-03"]["trust"]
    assert (vouched.catalog_sha256, vouched.serial, vouched.release_sha256) == (
        trust["catalog_sha256"],
        trust["serial"],
        trust["release_sha256"],
    )


def test_results_and_description_of_a_board_are_read_and_signed_by_it(state: Path) -> None:
    wanted = recorded("carried")
    own_key = recorded("agents")["bench-03"]["key_sha256"]
    with opened(state / "job.results", RESULTS) as carried:
        results = parse_signed_by_board(carried.document(RESULTS))
        assert sorted(carried.blobs) == wanted["results"]["blobs"]
        assert all(
            sha256_hex(b"".join(carried.chunks(sha256))) == sha256 for sha256 in carried.blobs
        )
    same(wanted["results"]["document"], parse_results(results.signed))
    assert parse_results(results.signed).order_sha256 == wanted["bundle"]["order_sha256"]
    board = parse_signed_by_board((state / "board.json").read_bytes())
    same(wanted["board"]["document"], parse_board(board.signed))
    for signed in (results, board):
        request = certificates.check_document(signed.signed, signed.csr, signed.signature)
        assert request.key_sha256 == own_key


# --- this version's processes on the recorded homes ---


class Live:
    """A controller of this version on the recorded home; its store is `store`."""

    def __init__(self, folder: Path) -> None:
        self.folder = unpacked(folder)
        self.home = self.folder / "controller"
        self.port = free_port()
        self.children: list[subprocess.Popen[bytes]] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            child = subprocess.Popen(
                [str(BIN / words[0]), *words[1:]], env=environment(), stdout=log, stderr=log
            )
        self.children.append(child)
        return child

    def serve(self) -> None:
        child = self.start(
            "controller", "serve", "--home", str(self.home), "--listen", self.address
        )

        def serves() -> bool:
            assert child.poll() is None, (self.folder / "log").read_text()
            try:
                return bool(
                    json.loads((self.home / "endpoint.json").read_text())["pid"] == child.pid
                )
            except (OSError, ValueError):
                return False

        until(serves, "the controller", 60)

    def start_agent(self, home: Path) -> subprocess.Popen[bytes]:
        words = ("start", "--home", str(home), "--controller", self.address)
        return self.start("agent", *words, "--name", home.name)

    def run(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        paths = {"FLEETMARK_CONTROLLER": self.address, "FLEETMARK_CONTROLLER_HOME": str(self.home)}
        return subprocess.run(
            [str(BIN / program), *words],
            env={**environment(), **paths},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def said(self, *words: str) -> Any:
        done = self.run("controller", *words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def ask(self, view: str) -> list[dict[str, Any]]:
        with closing(connect(self.home / "results.db", read_only=True)) as connection:
            return rows_of(connection, view)

    def stop(self) -> None:
        for child in reversed(self.children):
            child.terminate()
            child.wait(30)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    live = Live(tmp_path_factory.mktemp("recorded") / "state")
    try:
        live.serve()
        yield live
    finally:
        live.stop()


def check_taken_in(live: Live, wanted: dict[str, Any]) -> None:
    """What is stored of one job is what the recording's own code stored from the same."""
    (run,) = wanted["runs"]
    job_id = run["job_id"]
    (new,) = [row for row in live.ask("runs") if row["job_id"] == job_id]

    def ours(row: dict[str, Any]) -> bool:
        ids = (row.get("job_id"), row.get("run_id"), row.get("performance_run_id"))
        return job_id in ids or new["run_id"] in ids

    for view in ("jobs", "attempts", "runs", "results", "telemetry"):
        found = [row for row in live.ask(view) if ours(row)]
        same([without_new(row) for row in wanted[view]], [without_new(row) for row in found])
    kinds = [row["kind"] for row in live.ask("events") if row["job_id"] == job_id]
    assert kinds == [row["kind"] for row in wanted["events"]]
    with closing(sqlite3.connect(live.home / "results.db")) as connection:
        sql = "SELECT seq, kind, CAST(payload AS TEXT) FROM record WHERE job_id = ? ORDER BY seq"
        assert [list(row) for row in connection.execute(sql, (job_id,))] == wanted["records"]
        sql = "SELECT * FROM run_file WHERE run_id = ? ORDER BY 2, 3"
        files = [list(row)[1:] for row in connection.execute(sql, (new["run_id"],))]
        assert files == [row[1:] for row in wanted["files"]]
    blobs = BlobFolder(live.home / "blobs")
    assert all(sha256_file(blobs.path(sha256)) == sha256 for _, _, sha256, _ in files)


def without_new(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in NEW_EACH_TIME}


def is_judged(live: Live, wanted: dict[str, Any]) -> Callable[[], bool]:
    (job,) = wanted["jobs"]
    return lambda: (
        {"job_id": job["job_id"], "state": "SUCCEEDED"}
        in [{"job_id": row["job_id"], "state": row["state"]} for row in live.ask("jobs")]
    )


@pytest.mark.e2e
def test_a_controller_serves_the_recorded_home(live: Live) -> None:
    wanted = recorded("store")
    fleet = {device["name"]: device for device in live.said("fleet", "list")}
    assert {name: device["device_id"] for name, device in fleet.items()} == {
        device["name"]: device["device_id"] for device in wanted["devices"]
    }
    assert fleet["bench-02"]["care"]["drain_reason"] == "its fan is loud"
    (queued,) = [job["job_id"] for job in wanted["jobs"] if job["state"] == "QUEUED"]
    shown = live.said("jobs", "show", queued)
    assert shown["job"]["state"] == "QUEUED"
    assert "bench-02 is drained" in shown["job"]["waiting"]
    assert live.run("controller", "audit", "verify").returncode == 0
    assert live.said("fleet", "saved") == [{"name": "lab", "selector": "site=lab1"}]
    assert [person["name"] for person in live.said("operator", "list")] == ["alice", "local"]
    for row in recorded("views")["runs"]:
        same(row, live.said("results", "show", row["run_id"]))
    with closing(connect(live.home / "results.db", read_only=True)) as connection:
        assert epochs.generation(connection) > wanted["generation"]


@pytest.mark.e2e
def test_an_agent_hands_in_what_was_spooled_exactly_once(live: Live) -> None:
    """It had handed in half of it, when its controller was killed."""
    wanted, home = recorded("after")["handed_in"], live.folder / "bench-01"
    change_enrolment(home, address=live.address, entry_port=live.port + 1)
    agent = live.start_agent(home)
    until(is_judged(live, wanted), "the spooled results", 60)
    until(lambda: not ledger.load(RealFiles(home)).entries, "the end of the attempt", 60)
    assert not list((home / "spool").iterdir())
    end(agent)
    check_taken_in(live, wanted)
    # As when the certificate has expired: the board proves its key, and comes back as itself.
    before = (home / "identity" / "certificate.pem").read_bytes()
    change_enrolment(home, expires_ns=1)
    agent = live.start_agent(home)
    until(lambda: connected(home, agent.pid), "the agent", 60)
    end(agent)
    known, tls = recorded("agents")["bench-01"], identity.load_tls(home)
    assert tls.certificate != before
    same({**known["peer"], "expires_ns": certificates.expires_ns(tls.certificate)}, peer_of(tls))
    assert key_fingerprint(tls.key) == known["key_sha256"]
    assert identity.device_id(home) == known["device_id"]
    assert ledger.load(RealFiles(home)).highest_epoch == known["ledger"]["highest_epoch"]
    check_taken_in(live, wanted)


def change_enrolment(home: Path, **values: object) -> None:
    """Let a board believe something else of its controller: it has moved, say."""
    path = home / "identity" / "enrolment.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def peer_of(tls: identity.Tls) -> certificates.Peer:
    return certificates.read_peer(tls.certificate)


def connected(home: Path, pid: int) -> bool:
    try:
        said = json.loads((home / "status.json").read_text())
    except (OSError, ValueError):
        return False
    return said.get("pid") == pid and said.get("connected") is True


def end(agent: subprocess.Popen[bytes]) -> None:
    agent.terminate()
    assert agent.wait(30) == 0


@pytest.mark.e2e
def test_results_in_a_file_are_imported_exactly_once(live: Live) -> None:
    wanted = recorded("after")["imported"]
    file = str(live.folder / "job.results")
    assert live.said("results", "import", file)["new_records"] == len(wanted["records"])
    until(is_judged(live, wanted), "the verdict", 60)
    assert live.said("results", "import", file)["new_records"] == 0
    check_taken_in(live, wanted)


@pytest.mark.e2e
def test_a_board_does_not_run_the_recorded_bundle_once_more(live: Live) -> None:
    home, out = live.folder / "bench-03", live.folder / "again"
    bundle = str(live.folder / "job.bundle")
    words = ("run-bundle", bundle, "--out", str(out), "--home", str(home))
    done = live.run("agent", *words)
    assert done.returncode == 4
    assert "was run here before" in done.stderr
    assert not out.exists()
