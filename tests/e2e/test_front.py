"""A device behind a real OpenSSH server: pushed agent, tunnel, job, and nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import noop_benchmark as toy
from tests.support.kits import make_kit, system_python
from tests.support.processes import BIN, Fleet, environment, fleet_in, until
from tests.support.ssh_server import SshServer, needs_ssh_server

pytestmark = [pytest.mark.e2e, needs_ssh_server]


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (python := system_python()):
        pytest.skip("needs a Python of the system, as a device has it")
    folder = tmp_path_factory.mktemp("kit")
    make_kit(folder, python)
    return folder / "kit.tar.gz"


@pytest.fixture
def device_home() -> Iterator[Path]:
    # Short: the path of a UNIX socket has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="fm-device-"))
    (folder / ".profile").write_text("echo hello from the profile\n")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


class Front:
    """`agent front` with a home in a temporary folder."""

    def __init__(self, folder: Path, config: Path) -> None:
        self.home, self._config = folder, config
        self._service: subprocess.Popen[bytes] | None = None
        folder.mkdir()

    @property
    def environment(self) -> dict[str, str]:
        return {**environment(), "FLEETMARK_FRONT_HOME": str(self.home)}

    def run(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command."""
        return subprocess.run(
            [str(BIN / "agent"), "front", *words],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def add(
        self, server: SshServer, fleet: Fleet, kit: Path, *more: str, token: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Add the device behind the server."""
        words = ("--controller", fleet.address, "--kit", str(kit))
        words += ("--ssh-config", str(self._config), "--token-file", "-", "--name", "bench-01")
        address = f"ssh://root@127.0.0.1:{server.port}"
        return self.run("add", address, *words, *more, stdin=token or fleet.token)

    def start(self) -> None:
        """Start the service."""
        with (self.home / "front.log").open("ab") as log:
            self._service = subprocess.Popen(
                [str(BIN / "agent"), "front", "run"], env=self.environment, stdout=log, stderr=log
            )

    def stop(self) -> None:
        """Stop the service."""
        if self._service is not None:
            self._service.terminate()
            self._service.wait(60)
            self._service = None

    def state(self) -> tuple[str, str]:
        """Return state and reason of the device."""
        found = json.loads(self.run("list", "--json").stdout)
        return (found[0]["state"], found[0]["reason"]) if found else ("", "")


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with fleet_in(tmp_path / "fleet") as fleet:
        fleet.start_controller("--catalog", str(toy.make_catalog(tmp_path / "catalog")))
        yield fleet


@pytest.fixture
def server(tmp_path: Path, device_home: Path) -> Iterator[SshServer]:
    server = SshServer(tmp_path / "ssh", f"SetEnv HOME={device_home}")
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def front(tmp_path: Path, server: SshServer) -> Iterator[Front]:
    front = Front(tmp_path / "front", server.client_config)
    try:
        yield front
    finally:
        front.stop()
        front.run("remove", "bench-01", "--wipe")


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def processes_in(folder: Path) -> list[str]:
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            command = (place / "cmdline").read_bytes()
            where = os.readlink(place / "cwd")
        except OSError:
            continue
        if str(folder).encode() in command or where.startswith(f"{folder}/"):
            found.append(command.decode(errors="replace"))
    return found


def submit(fleet: Fleet, duration_s: float = 0.5) -> str:
    # The job may write to its own folders alone: the marks go there.
    words = ("--param", "marks=.", "--param", f"duration_s={duration_s}")
    done = fleet.run("schedule", "toy", *words, "--json")
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["campaign_id"])


def ended(fleet: Fleet, campaign: str) -> list[tuple[object, ...]]:
    return fleet.query(f"SELECT state, attempts FROM jobs WHERE campaign_id = '{campaign}'")


def test_a_device_behind_ssh_runs_a_job_and_keeps_nothing(
    fleet: Fleet, server: SshServer, front: Front, kit: Path, device_home: Path
) -> None:
    before = files(device_home)
    done = front.add(server, fleet, kit, "--label", "site=lab1")
    assert done.returncode == 0, done.stderr
    assert "MB sent" in done.stdout
    front.start()
    until(lambda: fleet.presence("bench-01") == "online", "the device")
    campaign = submit(fleet)
    until(lambda: ended(fleet, campaign) == [("SUCCEEDED", 1)], "the result")
    assert {name.split("/")[0] for name in files(device_home) - before} == {".fleetmark-agent"}

    again = front.add(server, fleet, kit, "--label", "site=lab1")
    assert again.returncode == 0, again.stderr
    assert "0 bytes sent" in again.stdout

    wiped = front.run("remove", "bench-01", "--wipe")
    assert wiped.returncode == 0, wiped.stderr
    assert files(device_home) == before
    assert processes_in(device_home) == []
