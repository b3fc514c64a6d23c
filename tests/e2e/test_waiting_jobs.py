"""What an operator sees of jobs that wait: at submission, piped, on a terminal, after Ctrl-C."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import noop_benchmark as toy
from tests.support.processes import BIN, Fleet, fleet_in, until
from tests.support.terminal import Terminal

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two devices, one of which is offline."""
    folder = tmp_path_factory.mktemp("waiting")
    with fleet_in(folder) as fleet:
        fleet.start_controller("--catalog", str(toy.make_catalog(folder / "catalog")))
        fleet.start_agent("here")
        fleet.start_agent("away")
        fleet.kill("away", signal.SIGTERM)
        until(lambda: fleet.presence("away") == "offline", "the end of the lease")
        yield fleet


@pytest.fixture(autouse=True)
def children_get_sigint() -> Iterator[None]:
    """Let children take SIGINT, also where these tests run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def schedule(fleet: Fleet, *more: str) -> tuple[str, ...]:
    return ("schedule", "toy", "--param", f"marks={fleet.marks}", *more)


def campaign_of(text: str) -> str:
    found = re.search(r"Campaign ([0-9a-f-]{36})", text)
    assert found, text
    return found[1]


def read_until(path: Path, text: str) -> None:
    until(lambda: text in path.read_text(), text)


def start(fleet: Fleet, out: Path, *command: str) -> None:
    """Start a command of `controller` whose output goes into a file."""
    with out.open("wb") as file:
        fleet.children[out.name] = subprocess.Popen(
            [str(BIN / "controller"), *command],
            env=fleet.environment(),
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def test_a_submission_says_which_devices_are_offline(fleet: Fleet) -> None:
    done = fleet.run(*schedule(fleet))
    assert done.returncode == 0, done.stderr
    output = done.stdout.splitlines()
    assert output[0].startswith("2 jobs on 2 devices, about")
    assert output[1] == (
        "1 of 2 devices is offline: away. Jobs wait for it for at most 7 d (--deadline);"
        " `--fleet online` excludes it"
    )
    assert output[2].endswith(": 2 jobs on 2 devices")
    assert fleet.run("campaign", "cancel", "last").returncode == 0
    dry = fleet.run(*schedule(fleet, "--dry-run", "--any-device"))
    assert "1 of 2 devices is offline: away. Jobs run on the others" in dry.stdout


def test_online_selects_devices_that_are_connected(fleet: Fleet) -> None:
    done = fleet.run("fleet", "list", "--fleet", "online", "--json")
    assert [d["name"] for d in json.loads(done.stdout)] == ["here"]
    done = fleet.run("fleet", "list", "--fleet", "!online", "--json")
    assert [d["name"] for d in json.loads(done.stdout)] == ["away"]
    done = fleet.run(*schedule(fleet, "--fleet", "online", "--wait"))
    assert done.returncode == 0, done.stderr
    assert "offline" not in done.stdout
    assert done.stdout.splitlines()[0].startswith("1 job on 1 device, about")
    done = fleet.run("schedule", "toy", "--fleet", "online", "--dry-run", "--json")
    plan = json.loads(done.stdout)
    assert plan["excluded"] == [{"device": "away", "reason": "not online"}]
    assert fleet.run("jobs", "list", "--fleet", "online", "--json").returncode == 0
    assert fleet.run("fleet", "selector", "set", "there", "linux,online").returncode == 0
    done = fleet.run("fleet", "list", "--fleet", "@there", "--json")
    assert [d["name"] for d in json.loads(done.stdout)] == ["here"]
    assert "is not a valid label" in fleet.run("fleet", "label", "here", "online=yes").stderr


def test_piped_wait_has_a_line_for_each_new_reason_and_survives_ctrl_c(fleet: Fleet) -> None:
    out = fleet.folder / "piped"
    start(fleet, out, *schedule(fleet, "--fleet", "name=away", "--repeat", "3", "--wait"))
    read_until(out, "[0/3] 3 jobs wait: away is offline\n")
    assert fleet.run("fleet", "drain", "away", "--reason", "new fan").returncode == 0
    read_until(out, "[0/3] 3 jobs wait: away is drained (new fan)\n")
    assert out.read_text().count("3 jobs wait:") == 2
    fleet.kill(out.name, signal.SIGINT)
    assert fleet.children[out.name].returncode == 130
    text = out.read_text()
    campaign = campaign_of(text)
    assert text.splitlines()[-1] == (
        f"Interrupted. Campaign {campaign} continues:"
        f" `controller campaign watch {campaign}` follows it,"
        f" `controller campaign cancel {campaign}` cancels it"
    )
    assert "Traceback" not in text
    listed = fleet.run("jobs", "list", "--campaign", campaign[-8:], "--state", "queued", "--json")
    assert len(json.loads(listed.stdout)) == 3
    assert fleet.run("fleet", "undrain", "away").returncode == 0
    assert fleet.run("campaign", "cancel", campaign).returncode == 0


def test_a_terminal_shows_the_reason_beside_the_device(fleet: Fleet) -> None:
    command = [str(BIN / "controller"), *schedule(fleet, "--fleet", "name=away", "--wait")]
    terminal = Terminal(command, fleet.environment(), columns=80)
    until(lambda: "waits: away is offline" in terminal.text(), "the reason")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.wait() == 130
    assert "continues" in terminal.text()
    shown = [line for line in re.split(r"[\r\n]", terminal.text()) if "waits:" in line]
    assert shown and max(map(len, shown)) <= 80
    assert all(re.match(r"away +0/1 ", line) for line in shown)
    assert fleet.run("campaign", "cancel", "last").returncode == 0


def test_watching_by_a_part_of_an_id_ends_with_the_campaign(fleet: Fleet) -> None:
    done = fleet.run(*schedule(fleet, "--fleet", "name=away", "--json"))
    campaign = json.loads(done.stdout)["campaign_id"]
    out = fleet.folder / "watched"
    start(fleet, out, "campaign", "watch", campaign[-10:])
    read_until(out, "1 job waits: away is offline\n")
    fleet.start_agent("away")
    assert fleet.children[out.name].wait(120) == 0
    assert out.read_text().splitlines()[-1] == f"Campaign {campaign} ended: 1 succeeded"
    assert re.search(r"^\[1/1\] away toy .* succeeded$", out.read_text(), re.MULTILINE)
