"""Devices and operators are added and removed; real processes."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest

from fleetmark_protos.token import PREFIX, parse_token
from tests.support import TESTS
from tests.support.processes import BIN, Fleet, environment, fleet_in, until

pytestmark = pytest.mark.e2e
INJECT = TESTS / "faults" / "inject"
DAY_S = 86_400


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_in(tmp_path_factory.mktemp("fleet")) as fleet:
        fleet.start_controller()
        yield fleet


def listed(fleet: Fleet, name: str) -> dict[str, object]:
    done = fleet.run("fleet", "list", "--json")
    found = json.loads(done.stdout) if done.returncode == 0 else []
    return next((device for device in found if device["name"] == name), {})


def new_token(fleet: Fleet, *words: str) -> str:
    done = fleet.run("token", "create", "--json", *words)
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["token"])


def spawn(
    fleet: Fleet, name: str, *words: str, home: Path | None = None, **variables: str
) -> subprocess.Popen[bytes]:
    """`agent start` without waiting for anything."""
    with (fleet.folder / f"{name}.log").open("ab") as log:
        child = subprocess.Popen(
            [
                *(str(BIN / "agent"), "start", "--home", str(home or fleet.folder / name)),
                *("--controller", fleet.address, "--name", name, *words),
            ],
            env={**environment(), **variables},
            stdout=log,
            stderr=log,
        )
    fleet.children[name] = child
    return child


def start(fleet: Fleet, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`agent start` that must end by itself."""
    return subprocess.run(
        [str(BIN / "agent"), "start", "--controller", fleet.address, *words],
        env={**environment(), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_device_waits_for_approval_and_shows_its_key(fleet: Fleet) -> None:
    child = spawn(fleet, "pending", "--token", new_token(fleet, "--label", "site=lab1"))
    until(lambda: listed(fleet, "pending"), "the application")
    found = listed(fleet, "pending")
    assert (found["enrollment"], found["presence"]) == ("pending", "offline")
    until(lambda: str(found["fingerprint"]) in fleet.log("pending"), "the device's own words")
    assert "controller fleet approve pending" in fleet.log("pending")
    assert fleet.run("schedule", "fashion-mnist", "--dry-run").returncode == 3, "it runs nothing"
    for nothing in ("", " ", "::::", "00", "not hexadecimal", str(found["fingerprint"])[:7]):
        wrong = fleet.run("fleet", "approve", "pending", "--fingerprint", nothing)
        assert (wrong.returncode, listed(fleet, "pending")["enrollment"]) == (2, "pending"), nothing
    wrong = fleet.run("fleet", "approve", "pending", "--fingerprint", "0" * 16)
    assert (wrong.returncode, listed(fleet, "pending")["enrollment"]) == (4, "pending")
    # It waits through a restart of its own, without a token.
    child.terminate()
    assert child.wait(20) == 0
    spawn(fleet, "pending")
    right = str(found["fingerprint"])[:16]
    assert fleet.run("fleet", "approve", "pending", "--fingerprint", right).returncode == 0
    until(lambda: fleet.presence("pending") == "online", "the approved device")
    assert listed(fleet, "pending")["labels"] == {"site": "lab1"}


def test_keys_are_readable_by_their_owner_alone(fleet: Fleet) -> None:
    fleet.start_agent("keys")
    homes = (fleet.home, fleet.folder / "keys")
    keys = [path for home in homes for path in home.rglob("identity/*") if "json" not in path.name]
    keys.append(fleet.home / "identity" / "admin.json")
    assert len(keys) >= 5
    for path in keys:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700, path


def await_own_program(process: psutil.Process, parent: int) -> None:
    """Wait a moment for a child that is still the copy of its parent, with all that it has."""
    words, until_s = psutil.Process(parent).cmdline(), time.monotonic() + 1
    while process.cmdline() == words and time.monotonic() < until_s:
        time.sleep(0.001)


def test_a_token_is_nowhere_but_where_it_was_given(fleet: Fleet, tmp_path: Path) -> None:
    token = new_token(fleet, "--approve")
    file = tmp_path / "token"
    file.write_text(token + "\n")
    child = spawn(fleet, "secretive", FLEETMARK_TOKEN=token)
    seen = set()
    enrolled = fleet.folder / "secretive" / "identity" / "certificate.pem"
    until_s = time.monotonic() + 60
    # Looked at all the time: a helper may live for a moment only.
    while not enrolled.exists() and time.monotonic() < until_s:
        for process in psutil.Process(child.pid).children(recursive=True):
            try:
                await_own_program(process, child.pid)
                seen.add(" ".join(process.cmdline()))
                assert token not in " ".join(process.environ().values())
            except psutil.Error:
                continue
    until(lambda: fleet.presence("secretive") == "online", "its first hello")
    assert any("helpers.enroll" in line for line in seen)
    assert not any(PREFIX in line for line in seen)
    secret = parse_token(token).secret
    for home in (fleet.home, fleet.folder / "secretive"):
        for path in home.rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                assert token.encode() not in data and secret not in data, path
                assert secret.hex().encode() not in data, path
    assert PREFIX not in fleet.log("secretive") + fleet.log("controller")
    again = start(fleet, "--home", str(tmp_path / "b"), "--token-file", str(file), "--once")
    assert again.returncode == 4 and "used up" in again.stderr
    assert len(again.stderr.strip().splitlines()) == 1


def test_two_devices_with_one_token_one_wins(fleet: Fleet) -> None:
    token = new_token(fleet, "--approve")
    children = [spawn(fleet, f"twin{number}", "--token", token) for number in range(2)]

    def settled() -> bool:
        ended = [child for child in children if child.poll() is not None]
        online = [n for n in range(2) if fleet.presence(f"twin{n}") == "online"]
        return len(ended) == len(online) == 1

    until(settled, "one winner and one loser")
    loser = next(number for number, child in enumerate(children) if child.poll() is not None)
    assert children[loser].returncode == 4
    assert "the enrollment token is used up" in fleet.log(f"twin{loser}")


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("garbage", "not an enrollment token"),
        (PREFIX + "abc", "truncated"),
        ("fleetmark2.abc", "newer format"),
    ],
)
def test_a_text_that_is_no_token(fleet: Fleet, tmp_path: Path, token: str, words: str) -> None:
    done = start(fleet, "--home", str(tmp_path), "--token", token)
    assert done.returncode == 4 and words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_device_without_token_is_reported_how_to_join(fleet: Fleet, tmp_path: Path) -> None:
    done = start(fleet, "--home", str(tmp_path))
    assert done.returncode == 4
    assert "controller token create" in done.stderr


def test_a_device_sends_nothing_to_an_unknown_controller(fleet: Fleet, tmp_path: Path) -> None:
    """The token is another controller's: this one sees a handshake and no call."""
    with fleet_in(tmp_path / "other") as other:
        other.start_controller()
        known = parse_token(new_token(other))
        port = int(fleet.address.rpartition(":")[2]) + 1
        from dataclasses import replace

        crossed = replace(known, entry_port=port).text()
        before = fleet.query("SELECT count(*) FROM audit")
        done = start(fleet, "--home", str(tmp_path / "device"), "--token", crossed)
        assert done.returncode == 4
        assert "not the expected controller" in done.stderr
        assert fleet.query("SELECT count(*) FROM audit") == before
        assert not (tmp_path / "device" / "identity" / "key.pem").exists()


def test_a_revoked_device_is_gone_within_five_seconds_and_comes_back_as_another(
    fleet: Fleet,
) -> None:
    fleet.start_agent("leaver")
    first = listed(fleet, "leaver")["device_id"]
    began = time.monotonic()
    assert fleet.run("fleet", "revoke", "leaver").returncode == 0
    assert fleet.children["leaver"].wait(5) == 4
    assert time.monotonic() - began < 5
    assert "was revoked" in fleet.log("leaver")
    assert listed(fleet, "leaver")["enrollment"] == "revoked"
    assert start(fleet, "--home", str(fleet.folder / "leaver"), "--once").returncode == 4
    # With a new token: another key, another id, and pending, because its name is known.
    spawn(fleet, "leaver", FLEETMARK_TOKEN=new_token(fleet, "--approve"))
    until(lambda: listed(fleet, "leaver-2"), "the new application")
    found = listed(fleet, "leaver-2")
    assert found["enrollment"] == "pending" and found["device_id"] != first
    assert fleet.run("fleet", "remove", "leaver").returncode == 0
    assert not listed(fleet, "leaver")
    assert fleet.run("fleet", "approve", "leaver-2").returncode == 0
    until(lambda: fleet.presence("leaver") == "online", "the device under its own name again")


def test_operators_have_roles_and_files(fleet: Fleet, tmp_path: Path) -> None:
    file = tmp_path / "alice.json"
    done = fleet.run("operator", "create", "alice", "--role", "viewer", "--out", str(file))
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    elsewhere = {**environment(), "XDG_CONFIG_HOME": str(tmp_path)}
    elsewhere["FLEETMARK_CONTROLLER_HOME"] = "/nowhere"

    def as_alice(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BIN / "controller"), *words],
            env={**elsewhere, **more},
            capture_output=True,
            text=True,
            check=False,
        )

    assert as_alice("fleet", "list", "--credentials", str(file)).returncode == 0
    assert as_alice("fleet", "list", FLEETMARK_CREDENTIALS=str(file)).returncode == 0
    (tmp_path / "fleetmark").mkdir()
    (tmp_path / "fleetmark" / "credentials.json").write_bytes(file.read_bytes())
    assert as_alice("fleet", "list").returncode == 0
    refused = as_alice("fleet", "revoke", "keys")
    assert refused.returncode == 4
    assert "needs role admin; alice is viewer" in refused.stderr
    assert fleet.run("operator", "create", "alice", "--out", str(tmp_path / "b")).returncode == 2
    assert fleet.run("operator", "revoke", "alice").returncode == 0
    gone = as_alice("fleet", "list")
    assert gone.returncode == 4 and "revoked" in gone.stderr
    assert fleet.run("operator", "revoke", "local").returncode == 2
    (tmp_path / "fleetmark" / "credentials.json").unlink()
    unidentified = as_alice("fleet", "list", "--controller", fleet.address)
    assert unidentified.returncode == 4 and "--credentials" in unidentified.stderr


def test_a_credential_of_another_controller_is_named_as_such(fleet: Fleet, tmp_path: Path) -> None:
    with fleet_in(tmp_path / "other") as other:
        other.start_controller()
        done = fleet.run(
            "fleet", "list", "--controller", other.address, "--credentials", fleet.credentials
        )
        assert done.returncode == 4, done.stderr
        assert "not the expected controller" in done.stderr


def test_a_changed_and_a_deleted_row_of_the_audit_log_are_found(tmp_path: Path) -> None:
    with fleet_in(tmp_path) as fleet:
        fleet.start_controller()
        for _ in range(4):
            new_token(fleet)
        sound = fleet.run("audit", "verify", "--json")
        assert sound.returncode == 0 and json.loads(sound.stdout)["rows"] >= 5
        head = json.loads(sound.stdout)["head"]
        fleet.kill("controller")

        def tampered(sql: str) -> str:
            with sqlite3.connect(fleet.home / "results.db") as store:
                saved = store.execute("SELECT * FROM audit").fetchall()
                store.execute(sql)
            store.close()
            fleet.start_controller()
            done = fleet.run("audit", "verify")
            assert done.returncode == 1
            fleet.kill("controller")
            with sqlite3.connect(fleet.home / "results.db") as store:
                store.execute("DELETE FROM audit")
                store.executemany("INSERT INTO audit VALUES (?,?,?,?,?,?,?,?)", saved)
            store.close()
            return done.stderr

        assert "row 3 was changed" in tampered("UPDATE audit SET actor = 'mallory' WHERE seq = 3")
        assert "row 2 is missing" in tampered("DELETE FROM audit WHERE seq = 2")
        assert "is missing" in tampered(
            "DELETE FROM audit WHERE seq = (SELECT max(seq) FROM audit)"
        )
        fleet.start_controller()
        assert fleet.run("audit", "verify", "--head", head).returncode == 0
        assert fleet.run("audit", "verify", "--head", "00" * 32).returncode == 1
        shown = fleet.run("audit", "show", "--json")
        assert "token.create" in {row["action"] for row in json.loads(shown.stdout)}


def test_certificates_are_renewed_over_a_running_job(tmp_path: Path) -> None:
    with fleet_in(tmp_path) as fleet:
        with (fleet.home / "config.toml").open("a") as file:
            file.write("certificate_life_s = 12.0\n")
        fleet.start_controller()
        fleet.start_agent("device")
        pid = fleet.children["device"].pid
        done = fleet.run("schedule", "fashion-mnist", "--scenario", "SingleStream")
        assert done.returncode == 0, done.stderr
        renewals = "SELECT count(*) FROM audit WHERE action = 'device.renew'"
        until(lambda: int(str(fleet.query(renewals)[0][0])) >= 2, "two renewals")
        until(
            lambda: {row[0] for row in fleet.query("SELECT state FROM jobs")} == {"SUCCEEDED"},
            "the jobs",
        )
        assert fleet.query("SELECT DISTINCT attempts FROM jobs") == [(1,)], "no job was stopped"
        assert fleet.children["device"].pid == pid and fleet.children["device"].poll() is None
        assert "the agent reconnects with it" in fleet.log("device")


def shifted(fleet: Fleet, seconds: float) -> dict[str, str]:
    clock = fleet.folder / "clock"
    clock.write_text(str(seconds))
    return {"PYTHONPATH": str(INJECT), "FAULT_CLOCK": str(clock)}


def test_a_device_that_was_off_for_forty_days_comes_back_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The controller enrolled it when its clock showed forty days ago."""
    with fleet_in(tmp_path) as fleet:
        start_controller_at(fleet, -40 * DAY_S)
        child = spawn(fleet, "sleeper", FLEETMARK_TOKEN=fleet.token)
        certificate = fleet.folder / "sleeper" / "identity" / "certificate.pem"
        until(certificate.exists, "the enrollment")
        until(lambda: "device enrolled" in fleet.log("sleeper"), "its word for it")
        (skew,) = [n for n in fleet.logged("sleeper") if n.event == "clock skew detected"][:1]
        assert skew.fields["offset_s"] > 39 * DAY_S
        child.terminate()
        child.wait(20)
        fleet.kill("controller")
        from cryptography import x509

        old = x509.load_pem_x509_certificate(certificate.read_bytes())
        assert old.not_valid_after_utc.timestamp() < time.time() - 9 * DAY_S
        fleet.start_controller()
        spawn(fleet, "sleeper")
        until(lambda: fleet.presence("sleeper") == "online", "its return without a token")
        new = x509.load_pem_x509_certificate(certificate.read_bytes())
        assert new.not_valid_after_utc.timestamp() > time.time() + 29 * DAY_S
        assert new.public_key() == old.public_key()
        assert "device.renew" in {row[0] for row in fleet.query("SELECT action FROM audit")}
        # Revoked while it is off, it does not come back.
        fleet.kill("sleeper")
        assert fleet.run("fleet", "revoke", "sleeper").returncode == 0
        done = start(fleet, "--home", str(fleet.folder / "sleeper"))
        assert done.returncode == 4 and "revoked" in done.stderr


def test_clocks_that_are_years_apart_are_named_before_the_token_is_spent(tmp_path: Path) -> None:
    with fleet_in(tmp_path) as fleet:
        start_controller_at(fleet, -1000 * DAY_S)
        token = fleet.token
        done = start(fleet, "--home", str(tmp_path / "device"), "--token", token)
        assert done.returncode == 4
        assert "this device's clock shows" in done.stderr and "Correct the clock" in done.stderr
        assert fleet.query("SELECT used FROM token") == [(0,)]
        assert not (tmp_path / "device" / "identity" / "key.pem").exists()


def start_controller_at(fleet: Fleet, offset_s: float) -> None:
    """A controller whose clock is wrong; commands of this host get a credential that counts."""
    with (fleet.folder / "controller.log").open("ab") as log:
        fleet.children["controller"] = subprocess.Popen(
            [
                *(str(BIN / "controller"), "serve", "--home", str(fleet.home)),
                *("--listen", fleet.address),
            ],
            env={**environment(), **shifted(fleet, offset_s)},
            stdout=log,
            stderr=log,
        )
    until((fleet.home / "endpoint.json").exists, "the controller")
    if offset_s < -800 * DAY_S:
        _token_by_hand(fleet)


def _token_by_hand(fleet: Fleet) -> None:
    """Insert the token into the store: at such a clock TLS refuses the commands."""
    import hashlib

    from fleetmark_core.device_keys import pem_sha256
    from fleetmark_protos.token import EnrollmentToken

    whole = (fleet.home / "identity" / "ca.pem").read_bytes()
    certificate = whole[whole.index(b"-----BEGIN CERTIFICATE") :]
    port = int(fleet.address.rpartition(":")[2]) + 1
    token = EnrollmentToken("01" * 8, os.urandom(20), pem_sha256(certificate), "", port)
    with sqlite3.connect(fleet.home / "results.db") as store:
        store.execute(
            "INSERT INTO token VALUES (?, ?, '{}', 1, 1, 0, '', 'test', ?, NULL)",
            (token.token_id, hashlib.sha256(token.secret).hexdigest(), 1 << 62),
        )
    store.close()
    fleet._token = token.text()


def test_guesses_are_limited(tmp_path: Path) -> None:
    from dataclasses import replace

    from fleetmark_core.device_keys import make_key, signing_request
    from fleetmark_protos.channel import client_options
    from fleetmark_protos.status import from_rpc_error
    from fleetmark_protos.v1 import enrollment_pb2, enrollment_pb2_grpc

    with fleet_in(tmp_path) as fleet:
        fleet.start_controller()
        real = parse_token(fleet.token)
        ca = json.loads(Path(fleet.credentials).read_text())["ca"].encode()
        address = f"127.0.0.1:{real.entry_port}"
        kinds: list[str] = []
        lock = threading.Lock()

        def guess(text: str) -> None:
            with grpc.secure_channel(
                address, grpc.ssl_channel_credentials(ca), options=client_options()
            ) as channel:
                stub = enrollment_pb2_grpc.EnrollmentStub(channel)
                request = enrollment_pb2.EnrollRequest(
                    token=text,
                    csr=signing_request(make_key()),
                    device_id="0" * 32,
                    name="guesser",
                )
                try:
                    list(stub.Enroll(request, timeout=20))
                except grpc.RpcError as error:
                    with lock:
                        kinds.append(from_rpc_error(error, "").kind.name)

        for _ in range(13):
            guess(replace(real, secret=os.urandom(20)).text())
        assert kinds == ["BAD_TOKEN"] * 10 + ["TOO_MANY_ATTEMPTS"] * 3
        guess(real.text())
        assert kinds[-1] == "TOO_MANY_ATTEMPTS", "not even the right one, from there, for now"
        assert fleet.query("SELECT used FROM token") == [(0,)]
        assert fleet.run("fleet", "list").returncode == 0


def test_a_device_that_an_older_backup_does_not_know_joins_anew_with_a_token(
    tmp_path: Path,
) -> None:
    with fleet_in(tmp_path) as fleet:
        fleet.start_controller()
        copy = tmp_path / "copy"
        done = fleet.run("backup", "--home", str(fleet.home), "--out", str(copy))
        assert done.returncode == 0, done.stderr
        assert stat.S_IMODE((copy / "identity" / "ca.pem").stat().st_mode) == 0o600
        fleet.start_agent("device")
        device = listed(fleet, "device")["device_id"]
        fleet.kill("device")
        fleet.kill("controller")
        shutil.rmtree(fleet.home)
        shutil.copytree(copy, fleet.home)
        fleet._token = ""
        fleet.start_controller()
        child = spawn(fleet, "device")
        until(lambda: "not registered with this controller" in fleet.log("device"), "its word")
        assert child.poll() is None, "it goes on trying: the right store may come back"
        fleet.kill("device")
        spawn(fleet, "device", FLEETMARK_TOKEN=fleet.token)
        until(lambda: fleet.presence("device") == "online", "the device")
        assert listed(fleet, "device")["device_id"] == device
