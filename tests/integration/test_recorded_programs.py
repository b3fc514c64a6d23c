"""Programs serve and finish what an earlier version left in their homes.

`tests/data/recorded/README.md` says what was recorded, and how.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fleetmark_agent.state import identity, ledger
from fleetmark_agent.state.files import RealFiles
from fleetmark_controller.identity import certificates
from fleetmark_controller.store import epochs
from fleetmark_controller.store.db.connection import connect
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.device_keys import key_fingerprint
from fleetmark_core.digest import sha256_file
from tests.support.processes import BIN, environment, free_port, until
from tests.support.recorded_state import (
    NEW_EACH_TIME,
    recorded,
    renamed,
    rows_of,
    same,
    unpacked,
)


class Live:
    """A controller of this version on the recorded home; its store is `store`."""

    def __init__(self, folder: Path) -> None:
        self.folder = unpacked(folder)
        self.home = self.folder / "controller"
        # A slow machine may take longer than the recorded lease; then jobs would be tried again.
        config = self.home / "config.toml"
        text = config.read_text()
        assert "lease_s = 20.0" in text
        config.write_text(text.replace("lease_s = 20.0", "lease_s = 600.0"))
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

    def output(self, *words: str) -> Any:
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
        rows = renamed(view, wanted[view])
        same([without_new(row) for row in rows], [without_new(row) for row in found])
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


def is_evaluated(live: Live, wanted: dict[str, Any]) -> Callable[[], bool]:
    (job,) = wanted["jobs"]
    return lambda: (
        {"job_id": job["job_id"], "state": "SUCCEEDED"}
        in [{"job_id": row["job_id"], "state": row["state"]} for row in live.ask("jobs")]
    )


@pytest.mark.e2e
def test_a_controller_serves_the_recorded_home(live: Live) -> None:
    wanted = recorded("store")
    fleet = {device["name"]: device for device in live.output("fleet", "list")}
    assert {name: device["device_id"] for name, device in fleet.items()} == {
        device["name"]: device["device_id"] for device in wanted["devices"]
    }
    assert fleet["bench-02"]["admin"]["drain_reason"] == "its fan is loud"
    (queued,) = [job["job_id"] for job in wanted["jobs"] if job["state"] == "QUEUED"]
    shown = live.output("jobs", "show", queued)
    assert shown["job"]["state"] == "QUEUED"
    assert "bench-02 is drained" in shown["job"]["wait_reason"]
    assert live.run("controller", "audit", "verify").returncode == 0
    assert live.output("fleet", "selector", "list") == [{"name": "lab", "selector": "site=lab1"}]
    assert [operator["name"] for operator in live.output("operator", "list")] == ["alice", "local"]
    for row in renamed("runs", recorded("views")["runs"]):
        same(row, live.output("results", "show", row["run_id"]))
    with closing(connect(live.home / "results.db", read_only=True)) as connection:
        assert epochs.generation(connection) > wanted["generation"]


@pytest.mark.e2e
def test_an_agent_hands_in_what_was_spooled_exactly_once(live: Live) -> None:
    """It had handed in half of it, when its controller was killed."""
    wanted, home = recorded("after")["handed_in"], live.folder / "bench-01"
    change_enrollment(home, address=live.address, entry_port=live.port + 1)
    agent = live.start_agent(home)
    until(is_evaluated(live, wanted), "the spooled results", 60)
    until(lambda: not ledger.load(RealFiles(home)).entries, "the end of the attempt", 60)
    assert not list((home / "spool").iterdir())
    end(agent)
    check_taken_in(live, wanted)
    # As when the certificate has expired: the device proves its key, and comes back as itself.
    before = (home / "identity" / "certificate.pem").read_bytes()
    change_enrollment(home, expires_ns=1)
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


def change_enrollment(home: Path, **values: object) -> None:
    """Change a device's enrollment, for example to an old address of the controller."""
    path = home / "identity" / "enrolment.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def peer_of(tls: identity.Tls) -> certificates.Peer:
    return certificates.read_peer(tls.certificate)


def connected(home: Path, pid: int) -> bool:
    try:
        output = json.loads((home / "status.json").read_text())
    except (OSError, ValueError):
        return False
    return output.get("pid") == pid and output.get("connected") is True


def end(agent: subprocess.Popen[bytes]) -> None:
    agent.terminate()
    assert agent.wait(30) == 0


@pytest.mark.e2e
def test_results_in_a_file_are_imported_exactly_once(live: Live) -> None:
    wanted = recorded("after")["imported"]
    file = str(live.folder / "job.results")
    assert live.output("results", "import", file)["new_records"] == len(wanted["records"])
    until(is_evaluated(live, wanted), "the verdict", 60)
    assert live.output("results", "import", file)["new_records"] == 0
    check_taken_in(live, wanted)


@pytest.mark.e2e
def test_a_device_does_not_run_the_recorded_bundle_once_more(live: Live) -> None:
    home, out = live.folder / "bench-03", live.folder / "again"
    bundle = str(live.folder / "job.bundle")
    words = ("run-bundle", bundle, "--out", str(out), "--home", str(home))
    done = live.run("agent", *words)
    assert done.returncode == 4
    assert "was run here before" in done.stderr
    assert not out.exists()
