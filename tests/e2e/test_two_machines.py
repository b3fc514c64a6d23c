"""Two machines that share a network and nothing else: discovery, paste, approve, run.

The machines are network namespaces with a cable (veth) between them, made as root.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import noop_benchmark
from tests.support.log_lines import parse_log
from tests.support.machines import Machine, two_machines
from tests.support.processes import BIN, until
from tests.support.terminal import TerminalOutput

pytestmark = pytest.mark.e2e
DESK, DEVICE = "198.51.100.1", "198.51.100.2"
PORT = 31117


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[tuple[Machine, Machine]]:
    route = "route add default dev DEV"
    with two_machines(
        tmp_path,
        (f"address add {DESK}/24 dev DEV", route),
        (f"address add {DEVICE}/24 dev DEV", route),
    ) as made:
        yield made


def fleet(desk: Machine) -> list[dict[str, object]]:
    done = desk.run(str(BIN / "controller"), "fleet", "list", "--json")
    return json.loads(done.stdout) if done.returncode == 0 else []  # type: ignore[no-any-return]


def test_paste_approve_run_and_find(machines: tuple[Machine, Machine], tmp_path: Path) -> None:
    desk, device = machines
    terminal = TerminalOutput()
    desk.spawn(
        *(str(BIN / "controller"), "serve", "--listen", f"0.0.0.0:{PORT}"),
        *("--catalog", str(noop_benchmark.make_catalog(tmp_path / "catalog"))),
        on=terminal.theirs,
    )
    until(lambda: "agent start" in terminal.text, "the line to paste", 60)
    pasted = re.search(r"agent start .*", terminal.text)
    assert pasted is not None
    words = shlex.split(pasted.group())
    assert words[2:4] == ["--controller", f"{DESK}:{PORT}"]

    # The line as it stands, on the device.
    marks = tmp_path / "marks"
    marks.mkdir()
    marks.chmod(0o777)
    agent = device.spawn(
        str(BIN / "agent"), *words[1:], "--name", "device-1", "--allow-folder", str(marks)
    )
    until(lambda: fleet(desk), "the device's application", 60)
    assert fleet(desk)[0]["enrollment"] == "pending"
    approved = desk.run(str(BIN / "controller"), "fleet", "approve", "device-1")
    assert approved.returncode == 0, approved.stderr
    until(lambda: fleet(desk)[0]["presence"] == "online", "the device", 60)

    # It works, with no network but the cable: what a job needs comes from the desk.
    done = desk.run(
        *(str(BIN / "controller"), "schedule", "toy", "--fleet", "name=device-1"),
        *("--param", f"marks={marks}", "--wait"),
    )
    assert done.returncode == 0, done.stdout + done.stderr

    # A second device finds the controller by itself: it has a token and no address.
    created = desk.run(str(BIN / "controller"), "token", "create", "--approve", "--json")
    token = json.loads(created.stdout)["token"]
    other = device.folder / "second"
    found = device.spawn(
        *(str(BIN / "agent"), "start", "--home", str(other), "--name", "device-2"),
        *("--token", token),
    )
    until(
        lambda: (
            {d["name"] for d in fleet(desk) if d["presence"] == "online"}
            == {"device-1", "device-2"}
        ),
        "the device that looked for it",
        60,
    )
    logged = [line.fields for line in parse_log(device.log()) if line.event == "controller found"]
    assert [fields["address"] for fields in logged] == [f"{DESK}:{PORT}"]
    assert agent.poll() is None and found.poll() is None

    # No other client on the cable gets in.
    stranger = device.run(
        *(str(BIN / "controller"), "fleet", "list", "--controller", f"{DESK}:{PORT}")
    )
    assert stranger.returncode == 4 and "no credential" in stranger.stderr
