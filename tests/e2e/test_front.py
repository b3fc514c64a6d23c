"""A device behind a real OpenSSH server: pushed agent, tunnel, job, and nothing left behind."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetmark_agent.front.agent_archive import AgentKit, version_of
from fleetmark_agent.front.registry import FrontHome
from fleetmark_core import process_tree
from fleetmark_core.capabilities import Interpreter
from tests.support import noop_benchmark as toy
from tests.support.kits import make_kit, system_python
from tests.support.processes import BIN, Fleet, environment, fleet_in, until
from tests.support.ssh_server import Dropbear, SshServer, needs_dropbear, needs_ssh_server

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
    (folder / ".bashrc").write_text("echo hello from the login script\n")
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
        self, server: SshServer | Dropbear, fleet: Fleet, kit: Path, *more: str, token: str = ""
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

    def kill(self) -> list[int]:
        """Kill the service; return the processes that it had started."""
        assert self._service is not None
        found = process_tree.descendants(self._service.pid)
        self._service.kill()
        self._service.wait()
        self._service = None
        return found

    def kill_connections(self) -> int:
        """Kill the SSH clients of the service; return how many."""
        assert self._service is not None
        found = [
            pid
            for pid in process_tree.descendants(self._service.pid)
            if Path(f"/proc/{pid}/comm").read_text().strip() == "ssh"
        ]
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        return len(found)

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
            variables = (place / "environ").read_bytes()
        except OSError:
            continue
        of_job = f"FLEETMARK_JOB={folder}/".encode() in variables
        if of_job or str(folder).encode() in command or where.startswith(f"{folder}/"):
            found.append(command.decode(errors="replace"))
    return found


def _run(command: list[str], variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=variables, capture_output=True, text=True, check=False, timeout=300
    )


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


def test_the_controller_adds_and_removes_a_device_behind_ssh(
    fleet: Fleet, server: SshServer, front: Front, kit: Path, device_home: Path
) -> None:
    before = files(device_home)
    front.start()
    address = f"ssh://root@127.0.0.1:{server.port}"
    words = ("--kit", str(kit), "--ssh-config", str(server.client_config), "--name", "bench-01")
    words += ("--jump", f"root@localhost:{server.port}")
    # The front of the account that gives the command is used.
    environment = {**fleet.environment(), "FLEETMARK_FRONT_HOME": str(front.home)}

    def controller(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(BIN / "controller"), "fleet", *arguments]
        return _run(command, environment)

    done = controller("add", address, *words)
    assert done.returncode == 0, done.stderr
    until(lambda: fleet.presence("bench-01") == "online", "the device")
    (token,) = fleet.query("SELECT count(*) FROM token")
    assert token == (1,)

    gone = controller("remove", "bench-01", "--wipe")
    assert gone.returncode == 0, gone.stderr
    assert fleet.presence("bench-01") == ""
    assert files(device_home) == before
    assert processes_in(device_home) == []
    unknown = controller("remove", "bench-01", "--wipe")
    assert unknown.returncode == 3
    assert "this front has no device 'bench-01'" in unknown.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("ssh://-oProxyCommand=id", "--kit", "/dev/null"), "is not a host name"),
        (("ssh://host",), "--kit is required"),
        (("device.json", "--jump", "host"), "--jump requires a device behind ssh://"),
    ],
)
def test_the_controller_refuses_wrong_words(words: tuple[str, ...], reason: str) -> None:
    command = [str(BIN / "controller"), "fleet", "add", *words]
    done = _run(command, environment())
    assert done.returncode == 2
    assert reason in done.stderr


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line of a refusal."""
    assert done.returncode == 4, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    return line


def test_unknown_and_changed_host_keys_are_refused_with_fingerprints(
    server: SshServer, front: Front, fleet: Fleet, kit: Path, device_home: Path
) -> None:
    before = files(device_home)
    known_hosts = server.folder / "known_hosts"
    own = fingerprint(server.folder / "host.pub")
    known_hosts.write_text("")
    line = refusal(front.add(server, fleet, kit))
    assert f"the host key is not known; the device sends {own}" in line

    another = server.folder / "another"
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(another)]
    subprocess.run(words, check=True)
    public = another.with_suffix(".pub")
    known_hosts.write_text(f"# a note\n[127.0.0.1]:{server.port} {public.read_text()}")
    line = refusal(front.add(server, fleet, kit))
    assert "the host key has changed" in line
    assert f"known is {fingerprint(public)} ({known_hosts}, line 2)" in line
    assert f"the device sent {own}" in line
    assert files(device_home) == before


def fingerprint(public_key: Path) -> str:
    words = ["ssh-keygen", "-lf", str(public_key)]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()[1]


def test_a_wrong_user_is_refused(server: SshServer, front: Front, fleet: Fleet, kit: Path) -> None:
    words = ("--controller", fleet.address, "--kit", str(kit), "--name", "bench-01")
    words += ("--ssh-config", str(server.client_config), "--token-file", "-")
    done = front.run("add", f"ssh://nouser@127.0.0.1:{server.port}", *words, stdin=fleet.token)
    assert "the device refuses nouser: " in refusal(done)
    assert "Permission denied" in done.stderr


def test_a_folder_that_is_not_the_front_s_is_refused(
    server: SshServer, front: Front, fleet: Fleet, kit: Path, device_home: Path
) -> None:
    target = device_home / ".fleetmark-agent"
    elsewhere = device_home / "elsewhere"
    elsewhere.mkdir()
    target.symlink_to(elsewhere)
    assert f"{target} is a link" in refusal(front.add(server, fleet, kit))
    target.unlink()
    target.mkdir()
    (target / "notes").touch()
    line = refusal(front.add(server, fleet, kit))
    assert f"{target} exists and is not that of a front" in line
    (target / "notes").unlink()
    (target / "front").write_text("0123 alice@desk:front\n")
    assert "another front has this device: alice@desk:front" in refusal(
        front.add(server, fleet, kit)
    )
    assert files(elsewhere) == set()
    assert files(target) == {"front"}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("size=4m", "the agent needs 300 MiB"),
        ("noexec", "no program can run in"),
        ("ro", "cannot write to"),
    ],
)
def test_a_home_that_cannot_hold_the_agent_is_refused(
    server: SshServer,
    front: Front,
    fleet: Fleet,
    kit: Path,
    device_home: Path,
    options: str,
    reason: str,
) -> None:
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(device_home)]
    if subprocess.run(words, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a file system")
    try:
        assert reason in refusal(front.add(server, fleet, kit))
        assert files(device_home) == set()
    finally:
        subprocess.run(["umount", str(device_home)], check=True)


def test_a_login_script_without_end_is_cut_off(
    server: SshServer, front: Front, fleet: Fleet, kit: Path, device_home: Path
) -> None:
    (device_home / ".bashrc").write_text("while :; do echo all work and no play; done\n")
    line = refusal(front.add(server, fleet, kit))
    assert "a script was aborted: it wrote more than 256 KiB" in line


def test_a_device_without_a_fitting_python_is_refused(
    tmp_path: Path, fleet: Fleet, kit: Path, device_home: Path
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("python3", "python3.13", "python3.12", "python3.11", "python3.10"):
        (tools / name).write_text("#!/bin/sh\necho 3 9 64 cpython 0 /usr/bin/python3.9\n")
        (tools / name).chmod(0o755)
    path = f"{tools}:/usr/bin:/bin"
    server = SshServer(tmp_path / "ssh", f"SetEnv HOME={device_home} PATH={path}")
    try:
        front = Front(tmp_path / "front", server.client_config)
        line = refusal(front.add(server, fleet, kit))
        assert "it has no usable Python 3.10 to 3.13 (found: 3.9)" in line
    finally:
        server.stop()
    assert files(device_home) == {".bashrc"}


def test_a_run_survives_a_killed_connection(
    fleet: Fleet, server: SshServer, front: Front, kit: Path, device_home: Path
) -> None:
    done = front.add(server, fleet, kit)
    assert done.returncode == 0, done.stderr
    front.start()
    until(lambda: fleet.presence("bench-01") == "online", "the device")
    campaign = submit(fleet, 4)
    until(lambda: fleet.query("SELECT state FROM jobs") == [("ACTIVE",)], "the run")
    assert front.kill_connections() > 0
    until(lambda: ended(fleet, campaign) == [("SUCCEEDED", 1)], "the result")
    assert fleet.query("SELECT count(*) FROM runs") == [(1,)]

    # A front that is stopped and started finds the agent running, and removes files of other
    # versions that no process uses.
    front.stop()
    versions = device_home / ".fleetmark-agent/versions"
    for name in ("new", "old", "used"):
        (versions / name).mkdir()
        if name != "new":
            os.utime(versions / name, (0, 0))
    user = subprocess.Popen([f"{versions}/used/bin/python", "120"], executable="/bin/sleep")
    pid = (device_home / ".fleetmark-agent/agent.pid").read_text()
    front.start()
    until(lambda: front.state()[0] == "connected", "the front")
    assert (versions / "new").exists()
    assert (versions / "used").exists()
    assert not (versions / "old").exists()
    user.kill()
    user.wait()
    assert (device_home / ".fleetmark-agent/agent.pid").read_text() == pid
    campaign = submit(fleet)
    until(lambda: ended(fleet, campaign) == [("SUCCEEDED", 1)], "the next result")


@needs_dropbear
def test_a_device_with_dropbear_uses_ports_of_loopback(
    tmp_path: Path, fleet: Fleet, kit: Path, device_home: Path
) -> None:
    server = Dropbear(tmp_path / "ssh", device_home)
    front = Front(tmp_path / "front", server.client_config)
    before = files(device_home)
    try:
        done = front.add(server, fleet, kit)
        assert done.returncode == 0, done.stderr
        front.start()
        until(lambda: fleet.presence("bench-01") == "online", "the device")
        port = int(fleet.address.rpartition(":")[2])
        ports = {path.name for path in (device_home / ".fleetmark-agent/tunnel").iterdir()}
        assert ports == {f"{port}.port", f"{port + 1}.port"}
        campaign = submit(fleet)
        until(lambda: ended(fleet, campaign) == [("SUCCEEDED", 1)], "the result")
        assert "connected" in front.run("list").stdout
        wiped = front.run("remove", "bench-01", "--wipe")
        assert wiped.returncode == 0, wiped.stderr
        assert files(device_home) == before
    finally:
        front.stop()
        front.run("remove", "bench-01", "--wipe")
        server.stop()


def test_a_transfer_is_resumed_and_damage_is_noticed(
    server: SshServer, front: Front, fleet: Fleet, kit: Path, device_home: Path, tmp_path: Path
) -> None:
    version = f"3.{platform_minor(system_python())}"
    abi = f"cp{version.replace('.', '')}"
    glibc = int(platform.libc_ver()[1].split(".")[1])
    machine = platform.machine()
    fitting = tuple(f"manylinux_2_{number}_{machine}" for number in range(glibc, 16, -1))
    fitting += (f"manylinux2014_{machine}", f"linux_{machine}")
    made = AgentKit(kit)
    chosen = made.choose(Interpreter("", version, "cpython", (abi,), fitting))
    archive = tmp_path / "archive"
    made.write_archive(chosen, version, archive)
    made.close()
    data = archive.read_bytes()
    half = len(data) // 2
    folder = device_home / ".fleetmark-agent"
    part = folder / "incoming" / version_of(chosen, version)
    part.parent.mkdir(parents=True)
    (folder / "front").write_text(FrontHome(front.home).mark() + "\n")

    part.write_bytes(bytes(half))
    assert "the files were damaged on their way" in refusal(front.add(server, fleet, kit))
    assert list((folder / "versions").iterdir()) == []
    part.write_bytes(data[:half])
    done = front.add(server, fleet, kit)
    assert done.returncode == 0, done.stderr
    assert f"{(len(data) - half) / 1e6:.1f} MB sent" in done.stdout
    assert not part.exists()


def platform_minor(python: str) -> str:
    words = [python, "-I", "-c", "import sys; print(sys.version_info[1])"]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def test_a_killed_front_leaves_no_connection_and_a_wipe_ends_a_running_job(
    server: SshServer, front: Front, fleet: Fleet, kit: Path, device_home: Path
) -> None:
    before = files(device_home)
    done = front.add(server, fleet, kit)
    assert done.returncode == 0, done.stderr
    front.start()
    until(lambda: fleet.presence("bench-01") == "online", "the device")
    submit(fleet, 300)
    until(lambda: fleet.query("SELECT state FROM jobs") == [("ACTIVE",)], "the run")
    until(lambda: any("main.py" in found for found in processes_in(device_home)), "the job")
    clients = front.kill()
    assert clients
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in clients), "the end of ssh")
    front.start()
    until(lambda: front.state()[0] == "connected", "the front")

    # A device that cannot be reached stays known, so that the command can be repeated.
    hosts = (server.folder / "known_hosts").read_text()
    (server.folder / "known_hosts").write_text("")
    assert "the host key is not known" in refusal(front.run("remove", "bench-01", "--wipe"))
    assert front.state()[0] == "being removed"
    (server.folder / "known_hosts").write_text(hosts)
    done = front.run("remove", "bench-01", "--wipe")
    assert done.returncode == 0, done.stderr
    assert processes_in(device_home) == []
    assert files(device_home) == before


@pytest.mark.slow
def test_killed_connections_and_controllers_lose_and_double_no_result(
    fleet: Fleet, server: SshServer, front: Front, kit: Path, device_home: Path, tmp_path: Path
) -> None:
    kills = 10
    done = front.add(server, fleet, kit)
    assert done.returncode == 0, done.stderr
    front.start()
    until(lambda: fleet.presence("bench-01") == "online", "the device")
    words = ("--param", "marks=.", "--param", "duration_s=4", "--repeat", "4")
    done = fleet.run("schedule", "toy", *words)
    assert done.returncode == 0, done.stderr
    for number in range(kills):
        time.sleep(0.5 + number % 4)
        front.kill_connections()
        if number % 5 == 4:
            fleet.kill("controller")
            fleet.start_controller("--catalog", str(tmp_path / "catalog"))
    over = "SELECT count(*) FROM jobs WHERE state = 'SUCCEEDED'"
    until(lambda: fleet.query(over) == [(4,)], "all results")
    runs = "SELECT count(*), count(DISTINCT job_id) FROM runs WHERE official"
    assert fleet.query(runs) == [(4, 4)]
