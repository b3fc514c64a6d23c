"""The controller's unit under a real systemd: all that it forbids, and still everything works."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kits import DEPLOY, copy_context
from tests.support.processes import free_port
from tests.support.published_accuracy import ACCURACY, tolerance
from tests.support.systemd_device import SystemdDevice, booted_device, systemd_device_skip_reason

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.xdist_group("deploy"),
    pytest.mark.skipif(
        bool(systemd_device_skip_reason()), reason=systemd_device_skip_reason() or "it can be made"
    ),
]
UNIT = "fleetmark-controller.service"
HOME = "/var/lib/fleetmark/controller"


def instructions() -> str:
    """Return the commands of deploy/README.md for a controller's host."""
    text = (DEPLOY / "README.md").read_text()
    section = text.partition("\n## A controller\n")[2]
    return section.partition("```sh\n")[2].partition("```")[0]


@pytest.fixture(scope="module")
def address() -> str:
    return f"127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def device(
    address: str, kit: Path, python: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SystemdDevice]:
    """Controller and agent on one host; the tests of this module build upon each other."""
    folder = tmp_path_factory.mktemp("device")
    copy_context(folder / "src")
    (folder / "device").mkdir()
    with booted_device(folder / "device") as made:
        if made is None:
            pytest.skip("systemd does not come up in namespaces here")
        made.copy(folder / "src", "/srv/src")
        made.copy(kit, "/srv/kit")
        options = f"FLEETMARK_CONTROLLER_OPTIONS=--listen {address}"
        made.ask(
            "sh", "-c", f"mkdir /etc/fleetmark && echo '{options}' >/etc/fleetmark/controller.env"
        )
        assert "deploy/from-checkout.sh controller" in instructions()
        made.ask("sh", "-euc", f"cd /srv/src\n{instructions()}")
        made.until(lambda: ask(made, address, "fleet", "list").returncode == 0, UNIT)
        token = json.loads(ask(made, address, "token", "create", "--approve", "--json").stdout)
        made.ask("sh", "-c", f"umask 077 && echo '{token['token']}' >/srv/token")
        install = ("sh", "/srv/kit/install-agent.sh", "--python", python, "--name", "device")
        made.ask(*install, "--controller", address, "--token-file", "/srv/token")
        made.until(lambda: b"online" in listed(made, address), "fleetmark-agent.service")
        yield made


def ask(device: SystemdDevice, address: str, *words: str) -> subprocess.CompletedProcess[str]:
    places = (f"FLEETMARK_CONTROLLER={address}", f"FLEETMARK_CONTROLLER_HOME={HOME}")
    return device.run("env", *places, "controller", *words)


def listed(device: SystemdDevice, address: str) -> bytes:
    return ask(device, address, "fleet", "list").stdout.encode()


def test_it_has_no_rights_and_few_calls(device: SystemdDevice) -> None:
    pid = device.show(UNIT, "MainPID")
    lines = device.ask("cat", f"/proc/{pid}/status").splitlines()
    status = {key: value.split() for key, value in (line.split(":", 1) for line in lines)}
    assert status["Uid"][0] == device.ask("id", "-u", "fleetmark-controller") != "0"
    for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name][0], 16) == 0
    assert (status["NoNewPrivs"], status["Seccomp"], status["Umask"]) == (["1"], ["2"], ["0077"])
    assert device.ask("stat", "-c", "%a %U", HOME) == "700 fleetmark-controller"


def test_a_campaign_runs_from_fetching_wheels_to_its_results(
    device: SystemdDevice, address: str
) -> None:
    """pip, the store, the workers that parse: all under the unit's filter of system calls."""
    done = ask(
        *(
            device,
            address,
            "schedule",
            "fashion-mnist",
            "--variation",
            "int8",
            "--variation",
            "onnx",
            "--wait",
        ),
        *("--scenario", "SingleStream"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(ask(device, address, "results", "list", "--json").stdout)
    assert [row["precision"] for row in rows] == ["int8"]
    assert rows[0]["accuracy"] == pytest.approx(
        ACCURACY["int8"], abs=0.002 + tolerance("int8", rows[0]["runtime"])
    )


def test_nothing_of_a_killed_controller_outlives_it_and_it_comes_back(
    device: SystemdDevice, address: str
) -> None:
    before = device.ask("pgrep", "-u", "fleetmark-controller").split()
    assert len(before) > 1, "it has workers"
    device.ask("kill", "-KILL", device.show(UNIT, "MainPID"))
    device.until(lambda: b"online" in listed(device, address), UNIT)
    assert not set(before) & set(device.ask("pgrep", "-u", "fleetmark-controller").split())
    assert device.show(UNIT, "NRestarts") == "1"
    assert len(json.loads(ask(device, address, "results", "list", "--json").stdout)) == 1


def test_it_ends_cleanly(device: SystemdDevice) -> None:
    device.ask("systemctl", "stop", UNIT)
    assert device.show(UNIT, "Result") == "success"
    assert device.run("pgrep", "-u", "fleetmark-controller").stdout == ""
