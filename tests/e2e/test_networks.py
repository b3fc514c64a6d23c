"""Networks without a default route, IPv4 or IPv6: the printed line and discovery."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.support.log_lines import parse_log
from tests.support.machines import Machine, two_machines
from tests.support.processes import BIN, until
from tests.support.terminal import TerminalOutput

pytestmark = pytest.mark.e2e
PORT = 31127


def presences(desk: Machine) -> dict[str, str]:
    """Presence of each device by its name."""
    done = desk.run(str(BIN / "controller"), "fleet", "list", "--json")
    found = json.loads(done.stdout) if done.returncode == 0 else []
    return {device["name"]: device["presence"] for device in found}


def token(desk: Machine) -> str:
    created = desk.run(str(BIN / "controller"), "token", "create", "--approve", "--json")
    assert created.returncode == 0, created.stderr
    return str(json.loads(created.stdout)["token"])


def printed_host(terminal: TerminalOutput) -> str:
    until(lambda: "agent start" in terminal.text, "the line to paste", 60)
    pasted = re.search(r"agent start .*", terminal.text)
    assert pasted is not None
    words = shlex.split(pasted.group())
    assert words[2] == "--controller"
    host, _, port = words[3].rpartition(":")
    assert port == str(PORT)
    return host


@pytest.mark.parametrize(
    ("desk_setup", "device_setup", "ipv6", "host"),
    [
        pytest.param(
            ("address add 198.51.100.1/24 dev DEV",),
            ("address add 198.51.100.2/24 dev DEV",),
            True,
            r"198\.51\.100\.1",
            id="IPv4 without a default route",
        ),
        pytest.param(
            ("address add 198.51.100.1/24 dev DEV", "route add default dev DEV"),
            ("address add 198.51.100.2/24 dev DEV",),
            False,
            r"198\.51\.100\.1",
            id="IPv6 is disabled",
        ),
        pytest.param(
            ("address add fd00:f1ee::1/64 dev DEV",),
            ("address add fd00:f1ee::2/64 dev DEV",),
            True,
            r"\[fd00:f1ee::1\]",
            id="IPv6 alone",
        ),
        pytest.param((), (), True, r"fleetmark-[0-9a-f-]+\.local", id="link-local IPv6 alone"),
    ],
)
def test_devices_reach_the_printed_address_and_find_the_controller(
    desk_setup: tuple[str, ...],
    device_setup: tuple[str, ...],
    ipv6: bool,
    host: str,
    tmp_path: Path,
) -> None:
    with two_machines(tmp_path, desk_setup, device_setup, ipv6=ipv6) as (desk, device):
        terminal = TerminalOutput()
        # The default address, on a port of this test's own.
        desk.spawn(
            *(str(BIN / "controller"), "serve", "--listen", f"[::]:{PORT}"), on=terminal.theirs
        )
        named = printed_host(terminal)
        assert re.fullmatch(host, named)
        agent = (str(BIN / "agent"), "start", "--home")
        expected = {"found"}
        device.spawn(
            *(*agent, str(tmp_path / "found"), "--name", "found", "--token", token(desk)),
        )
        if not named.endswith(".local"):
            expected.add("pasted")
            device.spawn(
                *(*agent, str(tmp_path / "pasted"), "--name", "pasted"),
                *("--controller", f"{named}:{PORT}", "--token", token(desk)),
            )
        until(lambda: presences(desk) == dict.fromkeys(expected, "online"), "the devices", 90)
        found = [line for line in parse_log(device.log()) if line.event == "controller found"]
        assert found
        if named.endswith(".local"):
            # Its zone is the name of the device's own interface.
            local = re.compile(r"\[fe80::[0-9a-f:]+%fm\d+b\]:")
            assert any(local.match(line.fields["address"]) for line in found)


def test_a_device_without_a_controller_says_what_it_looked_for(tmp_path: Path) -> None:
    with two_machines(tmp_path, (), ()) as (desk, device):
        home = str(desk.folder / "controller")
        desk.spawn(
            str(BIN / "controller"), "serve", "--home", home, "--listen", f"127.0.0.1:{PORT}"
        )
        until(lambda: "ready on" in (desk.folder / "log").read_text(), "the controller", 60)
        agent = device.spawn(
            *(str(BIN / "agent"), "start", "--home", str(tmp_path / "home"), "--token", token(desk))
        )
        output = (
            "no controller is advertised on the local network, and none answers at 127.0.0.1:7117"
        )
        until(lambda: output in device.log(), "the warning", 60)
        assert "Name one with --controller HOST:PORT" in device.log()
        agent.terminate()
        assert agent.wait(30) == 0


def test_a_host_without_a_network_says_that_no_device_reaches_it(tmp_path: Path) -> None:
    with two_machines(tmp_path, ("link set DEV down",), ()) as (desk, _):
        terminal = TerminalOutput()
        desk.spawn(
            *(str(BIN / "controller"), "serve", "--listen", f"[::]:{PORT}"), on=terminal.theirs
        )
        assert printed_host(terminal) == "127.0.0.1"
        assert "only agents on this host can reach it" in terminal.text
