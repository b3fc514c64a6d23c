"""A controller's address that is wrong: the agent names it, corrects it, and spends no token."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support import noop_benchmark
from tests.support.processes import BIN, Fleet, environment, fleet_in, free_port, until

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    with fleet_in(folder) as made:
        made.start_controller("--catalog", str(noop_benchmark.make_catalog(folder / "catalog")))
        yield made


def ports(fleet: Fleet) -> tuple[int, int]:
    """The port for enrolled devices, and the one for new devices."""
    port = int(fleet.address.rpartition(":")[2])
    return port, port + 1


def stop(fleet: Fleet, name: str) -> None:
    fleet.children[name].terminate()
    assert fleet.children[name].wait(30) == 0


@pytest.mark.parametrize("given", ["closed port", "port for new devices"])
def test_a_wrong_port_is_corrected_with_a_warning(given: str, fleet: Fleet) -> None:
    port, entry = ports(fleet)
    wrong = f"127.0.0.1:{entry if given == 'port for new devices' else free_port()}"
    name = given.replace(" ", "-")
    for start in (1, 2):  # the second start needs no token
        fleet.start_agent(name, address=wrong)
        corrected = [
            (line.fields["given"], line.fields["address"])
            for line in fleet.logged(name)
            if line.event == "controller address corrected"
        ]
        assert corrected == [(wrong, f"127.0.0.1:{port}")] * start
        stop(fleet, name)


class Tunnel:
    """Passes the connections of one address on to another."""

    def __init__(self, host: str, port: int, target: int) -> None:
        self._server = socket.create_server((host, port))
        self._target = target
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._target))
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._server.close()


def spent(fleet: Fleet, token_id: str) -> int:
    done = fleet.run("token", "list", "--json")
    found = {token["token_id"]: token["used"] for token in json.loads(done.stdout)}
    return int(found[token_id])


def test_a_controller_that_only_takes_new_devices_costs_no_token(
    fleet: Fleet, tmp_path: Path
) -> None:
    """A firewall or a port mapping lets the port for new devices through, and nothing else."""
    port, entry = ports(fleet)
    host = "127.0.0.77"
    made = json.loads(fleet.run("token", "create", "--approve", "--json").stdout)
    tunnel = Tunnel(host, entry, entry)
    try:
        with (tmp_path / "log").open("wb") as log:
            agent = subprocess.Popen(
                [
                    *(BIN / "agent", "start", "--home", tmp_path / "home", "--name", "walled"),
                    *("--controller", f"{host}:{port}"),
                ],
                env={**environment(), "FLEETMARK_TOKEN": made["token"]},
                stdout=log,
                stderr=log,
            )
        fleet.children["walled"] = agent
        output = f"enrolled devices cannot reach it at {host}:{port}: no controller answers at"
        until(lambda: output in (tmp_path / "log").read_text(), "the warning", 60)
        assert spent(fleet, made["token_id"]) == 0
        # The wall falls: the same agent goes on by itself.
        other = Tunnel(host, port, port)
        until(lambda: fleet.presence("walled") == "online", "the device", 60)
        assert spent(fleet, made["token_id"]) == 1
        other.close()
    finally:
        tunnel.close()
    stop(fleet, "walled")


def test_a_tunnel_with_a_port_of_its_own_is_used_as_given(fleet: Fleet) -> None:
    port, entry = ports(fleet)
    host, mapped = "127.0.0.78", free_port()
    tunnels = [Tunnel(host, entry, entry), Tunnel(host, mapped, port)]
    try:
        fleet.start_agent("tunneled", address=f"{host}:{mapped}")
        assert "controller address corrected" not in fleet.log("tunneled")
        stop(fleet, "tunneled")
    finally:
        for tunnel in tunnels:
            tunnel.close()


@pytest.mark.parametrize("enrolled", [False, True], ids=["new", "enrolled"])
def test_a_name_that_cannot_be_resolved_is_named_with_the_address_as_given(
    enrolled: bool, fleet: Fleet
) -> None:
    name, given = f"named-{enrolled}", "no-such-host.invalid:7117"
    if enrolled:
        fleet.start_agent(name)
        stop(fleet, name)
    home = fleet.folder / name
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text("once_wait_s = 8\n")
    done = subprocess.run(
        [*(BIN / "agent", "start", "--home", home, "--once", "--controller", given)],
        env={**environment(), "FLEETMARK_TOKEN": fleet.token},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 5
    assert "cannot resolve no-such-host.invalid" in done.stderr
    assert given in done.stderr
    assert f":{ports(fleet)[1]}" not in done.stderr


def test_a_command_names_the_host_that_it_cannot_resolve(fleet: Fleet) -> None:
    # Without a credential for it no address is dialed at all.
    done = fleet.run(
        *("fleet", "list", "--controller", "no-such-host.invalid:7117"),
        *("--credentials", fleet.credentials),
    )
    assert done.returncode == 5
    assert "cannot resolve no-such-host.invalid" in done.stderr


def test_an_address_of_another_host_is_not_called_a_port_in_use(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            BIN / "controller",
            "serve",
            "--home",
            tmp_path / "home",
            "--listen",
            "203.0.113.200:7117",
        ],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 4
    assert (
        "cannot listen on 203.0.113.200:7117: this host does not have this address" in done.stderr
    )
