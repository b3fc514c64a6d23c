"""What an agent keeps in memory while it has nothing to do: modules, threads, files."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fleetmark_agent.config.settings import AgentSettings
from fleetmark_agent.fingerprint import measure
from fleetmark_agent.net import grpc_codec
from fleetmark_agent.software.capabilities import with_findings
from fleetmark_agent.startup.handover import handover_document
from fleetmark_agent.state.file_locks import try_lock
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.errors import FleetmarkError
from fleetmark_core.serde import parse_trusted, to_plain
from fleetmark_protos.plain import from_plain
from fleetmark_protos.v1.capabilities_pb2 import Capabilities as WireCapabilities
from tests.integration.agent.test_agent_cli import HEAVY, agent_command, fails, loaded_by
from tests.support import device_tls as secure
from tests.support.agent_process import AgentProcess
from tests.support.fake_controller import FakeController

ABSENT = HEAVY | {
    # The command line and the settings' files: left behind when the agent becomes a server.
    *("click", "tomllib", "tomli", "difflib", "fleetmark_cli.app", "fleetmark_agent.cli"),
    # What joins a controller, and what makes keys.
    *("fleetmark_agent.startup.handover", "fleetmark_agent.startup.join"),
    "fleetmark_agent.startup.find_controller",
    "fleetmark_agent.startup.enroll",
    *("fleetmark_protos.token", "fleetmark_core.device_keys", "fleetmark_agent.cache.blob_cache"),
    # What only a job needs.
    *("fleetmark_agent.runner.attempt", "fleetmark_agent.runner.prepare", "packaging", "tempfile"),
    *("fleetmark_agent.runner.execution", "fleetmark_agent.runner.supervisor", "ctypes", "hashlib"),
    *("fleetmark_agent.cache.archives", "fleetmark_agent.cache.environments"),
    *("fleetmark_core.lockfile", "fleetmark_core.order", "fleetmark_core.blob_store"),
    *("fleetmark_protos.v1.blobs_pb2", "fleetmark_protos.v1.results_pb2"),
    "fleetmark_agent.config.loader",
    # What helper processes do.
    *("psutil", "installer", "fleetmark_agent.fingerprint.cpu", "fleetmark_agent.software.engine"),
    # What protobuf and JSON can do beyond our messages; compression; terminals.
    *("google.protobuf.json_format", "uuid", "random", "shutil", "lzma", "bz2", "rich"),
    *("cryptography", "zeroconf", "multiprocessing", "unittest", "http", "email", "xml"),
}  # fmt: skip
"""Modules of which an idle agent holds none; a package stands for all that is in it."""

SPY = """
import json, os, signal, sys, threading, time
from pathlib import Path

def spy():
    status = Path(sys.argv[2]) / "status.json"
    while not (status.exists() and json.loads(status.read_bytes())["connected"]):
        time.sleep(0.05)
    time.sleep(1.5)  # some heartbeats
    Path(sys.argv[3]).write_text(json.dumps(sorted(sys.modules)))
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=spy, daemon=True).start()
from fleetmark_agent.daemon.main import main
sys.exit(main(int(sys.argv[1])))
"""


def held(modules: set[str]) -> set[str]:
    return {name for name in modules if name in ABSENT or name.partition(".")[0] in ABSENT}


def test_what_serves_loads_little() -> None:
    loaded = loaded_by(
        "fleetmark_agent.daemon.main, fleetmark_agent.daemon.app, fleetmark_agent.net.grpc_codec"
    )
    assert not held(loaded)
    assert not loaded_by("fleetmark_agent.startup.handover") & {
        "grpc",
        "google",
        "asyncio",
        "psutil",
    }


async def test_an_idle_connected_agent_holds_little(
    tmp_path: Path, controller: FakeController
) -> None:
    home = tmp_path / "home"
    secure.enroll(home, controller.address)
    lock = try_lock(home / "agent.lock")
    assert lock is not None
    settings = AgentSettings(home, controller.address, "device", detect_interval_s=0)
    read, write = os.pipe()
    os.write(write, handover_document(settings, "01890000-0000-7000-8000-000000000000", lock, True))
    os.close(write)
    listing = tmp_path / "modules.json"
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", SPY, str(read), str(home), str(listing)],
        pass_fds=(read, lock),
        stderr=subprocess.PIPE,
    )
    os.close(lock)
    os.close(read)
    await controller.online.wait()
    _, errors = await asyncio.to_thread(process.communicate, timeout=60)
    assert process.returncode == 0, errors
    modules = set(json.loads(listing.read_text()))
    assert {"grpc", "fleetmark_agent.daemon.daemon", "fleetmark_agent.net.grpc_codec"} <= modules
    assert not held(modules)


async def test_the_process_that_was_started_is_the_one_that_serves(agent: AgentProcess) -> None:
    await agent.start()
    assert agent.process is not None
    words = Path(f"/proc/{agent.process.pid}/cmdline").read_text().split("\0")
    assert "fleetmark_agent.daemon.main" in words
    environment = Path(f"/proc/{agent.process.pid}/environ").read_text().split("\0")
    assert "MALLOC_ARENA_MAX=1" in environment
    # The home's lock came through, and is held once.
    line = fails(agent_command("start", "--home", str(agent.home)), 4)
    assert "another agent runs with this home" in line


async def test_nothing_is_written_while_nothing_happens(
    agent: AgentProcess, controller: FakeController
) -> None:
    await agent.start()
    assert agent.process is not None
    await asyncio.sleep(1.0)

    def files() -> dict[str, tuple[int, int]]:
        found = (path for path in agent.home.rglob("*") if path.is_file())
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino) for path in found}

    def written() -> str:
        lines = Path(f"/proc/{agent.process.pid}/io").read_text().splitlines()
        return next(line for line in lines if line.startswith("write_bytes"))

    before = files(), written()
    count = len(controller.heartbeats)
    await controller.wait_for(lambda: len(controller.heartbeats) > count + 5)
    assert (files(), written()) == before


def test_labels_without_end_are_refused(tmp_path: Path) -> None:
    labels = [f"--label=key{number}={'x' * 200}" for number in range(300)]
    line = fails(agent_command("start", "--home", str(tmp_path / "home"), *labels), 2)
    assert "labels" in line


def test_a_damaged_ledger_is_one_line_also_after_the_change(tmp_path: Path) -> None:
    secure.enroll(tmp_path, "127.0.0.1:1")
    (tmp_path / "ledger.json").write_text("{")
    line = fails(agent_command("start", "--home", str(tmp_path)), 4)
    assert "Move the home away" in line


def test_capabilities_reach_the_wire_as_the_json_mapping_has_them(tmp_path: Path) -> None:
    here = measure(home=tmp_path)
    bare = Capabilities(here.os, here.arch, here.board, here.cpu, here.memory, here.storage)
    for facts in (here, bare, with_findings(here, ())):
        sent = grpc_codec._capabilities(facts)
        assert sent == from_plain(to_plain(facts), WireCapabilities)


def test_what_a_helper_wrote_is_read_or_refused(tmp_path: Path) -> None:
    here = measure(home=tmp_path)
    assert parse_trusted(Capabilities, json.dumps(to_plain(here)).encode()) == here
    for bad in (b"", b"[]", b"{}", b'{"os": 1}', b'{"unknown": 1}', b"null", b"\xff"):
        with pytest.raises(FleetmarkError):
            parse_trusted(Capabilities, bad)


def test_every_field_of_the_settings_is_handed_over(tmp_path: Path) -> None:
    settings = AgentSettings(tmp_path, labels={"site": "lab1"}, once=True)
    values = json.loads(handover_document(settings, "id", 3, False))["settings"]
    assert set(values) == {field.name for field in dataclasses.fields(AgentSettings)}
    assert AgentSettings(**{**values, "home": Path(values["home"])}) == settings
