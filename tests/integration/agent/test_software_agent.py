"""How findings become capabilities: in the session, in the agent's life, for selectors."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fleetmark_agent.session import events as h
from fleetmark_agent.session.machine import AgentIdentity, Session
from fleetmark_agent.session.messages import CapabilitiesChanged, Hello, Welcome
from fleetmark_agent.software import detection_cache, periodic
from fleetmark_agent.software.capabilities import with_findings
from fleetmark_agent.software.models import DetectedSoftware, DetectionStatus, Finding
from fleetmark_agent.state.ledger import Ledger
from fleetmark_catalog.selectors import Subject, parse_selector
from fleetmark_core import capabilities as c
from fleetmark_core.serde import to_plain
from tests.support.agent_process import AgentProcess
from tests.support.detection_devices import DetectionDevice, has_ended
from tests.support.fake_controller import FakeController

MEASURED = c.Capabilities(
    os=c.Os("linux", "Debian", "12", "6.1"),
    arch="aarch64",
    board=c.Board("Raspberry Pi 5 Model B"),
    cpu=c.Cpu(4, 4),
    memory=c.Memory(1 << 33, 0),
    storage=c.Storage(1 << 35, 1 << 34),
)
FINDINGS = (
    Finding("onnxruntime", "onnxruntime", DetectionStatus.FOUND, "1.22.1", "/usr/bin/python3",
            details={"providers": "CPUExecutionProvider"}, tags=("onnx",)),
    Finding("gcc", "gcc", DetectionStatus.FOUND, "12.2.0", "/usr/bin/gcc-12"),
    Finding("gcc", "gcc", DetectionStatus.FOUND, "11.4.0", "/usr/bin/gcc-11"),
    Finding("docker", "docker", DetectionStatus.BROKEN, "28.2.2", "/usr/bin/docker", "no engine",
            tags=("container-runtime",)),
    Finding("cmake", "cmake", DetectionStatus.WRONG_VERSION, "2.8", "/usr/bin/cmake", "too old"),
    Finding("cuda", "cuda", DetectionStatus.ABSENT, reason="not found"),
)  # fmt: skip


def test_only_what_was_found_counts() -> None:
    facts = with_findings(MEASURED, FINDINGS)
    assert [(s.name, s.version) for s in facts.software] == [
        ("gcc", "12.2.0"),
        ("gcc", "11.4.0"),
        ("onnxruntime", "1.22.1"),
    ]
    assert {"onnx", "onnxruntime", "gcc", "rpi5", "arm64"} <= set(facts.tags)
    assert not {"docker", "container-runtime", "cmake", "cuda"} & set(facts.tags)
    assert with_findings(facts, ()).software == ()
    assert "gcc" not in with_findings(facts, ()).tags


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ("onnxruntime>=1.20", True),
        ("onnxruntime>=1.23", False),
        ("onnxruntime,arm64", True),
        ("gcc<12", True),
        ("gcc=12.2.0", True),
        ("gcc>=13", False),
        ("!docker", True),
        ("!cuda", True),
        ("cmake", False),
        ("onnx,rpi5", True),
    ],
)
def test_selectors_choose_devices_by_what_was_found(selector: str, matches: bool) -> None:
    device = Subject("bench-01", {}, with_findings(MEASURED, FINDINGS))
    output = parse_selector(selector).explain(device)
    assert output.matches is matches, output.reason
    bare = Subject("bench-02", {}, with_findings(MEASURED, ()))
    assert not parse_selector("onnxruntime>=1.20").matches(bare)


def test_the_session_reports_changes_once_and_in_every_hello() -> None:
    identity = AgentIdentity("device", "boot", "device", "0", MEASURED)
    session = Session(identity, Ledger(), device_free=True, spooled={})
    welcome = h.MessageReceived(Welcome(1, "0", "controller", 15.0, 5.0, 30.0))
    facts = with_findings(MEASURED, FINDINGS)

    def sent(event: h.Event) -> list[object]:
        return [a.message for a in session.handle(event, 0.0) if isinstance(a, h.Send)]

    assert sent(h.CapabilitiesFound(MEASURED)) == []
    [hello] = sent(h.StreamOpened())
    assert isinstance(hello, Hello) and hello.capabilities == MEASURED
    # What is found between hello and welcome is said right after.
    assert sent(h.CapabilitiesFound(facts)) == []
    assert sent(welcome) == [CapabilitiesChanged(facts)]
    assert sent(h.CapabilitiesFound(facts)) == []
    assert sent(h.CapabilitiesFound(MEASURED)) == [CapabilitiesChanged(MEASURED)]
    sent(h.StreamClosed())
    assert sent(h.CapabilitiesFound(facts)) == []
    [hello] = sent(h.StreamOpened())
    assert isinstance(hello, Hello) and hello.capabilities == facts
    assert sent(welcome) == []


def detection(**changes: object) -> DetectedSoftware:
    values: dict[str, object] = {
        "findings": FINDINGS,
        "rules_digest": detection_cache.rules_digest(detection_cache.builtin_folder()),
        "boot": detection_cache.boot_mark(),
        "finished_unix_s": 1000.0,
        "duration_s": 1.0,
    }
    return DetectedSoftware(**{**values, **changes})  # type: ignore[arg-type]


def test_a_detection_is_remembered_for_this_boot_and_these_rules(tmp_path: Path) -> None:
    assert detection_cache.load(tmp_path) is None
    detection_cache.save(tmp_path, detection())
    assert detection_cache.load(tmp_path) == detection()
    for other in (detection(boot="another"), detection(rules_digest="0")):
        detection_cache.save(tmp_path, other)
        assert detection_cache.load(tmp_path) is None
    (tmp_path / "software.json").write_text("{")
    assert detection_cache.load(tmp_path) is None
    assert detection_cache.is_fresh(detection(), 1001.0)
    assert not detection_cache.is_fresh(detection(), 999.0)  # the clock went back
    assert not detection_cache.is_fresh(detection(), 1e9)
    detection_cache.save(
        tmp_path / "none" / "there", detection()
    )  # a disk that refuses is no fault


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A helper that says what stands in `answer`, once `go` is there; its pids are in `pids`."""
    script = tmp_path / "helper.py"
    script.write_text(
        "import os, pathlib, sys, time\n"
        f"here = pathlib.Path({str(tmp_path)!r})\n"
        "with open(here / 'pids', 'a') as file: print(os.getpid(), file=file)\n"
        "while not (here / 'go').exists(): time.sleep(0.01)\n"
        "sys.stdout.write((here / 'answer').read_text())\n"
    )
    monkeypatch.setattr(periodic, "COMMAND", (sys.executable, str(script)))
    monkeypatch.setattr(periodic, "_SETTLE_S", 0.01)
    (tmp_path / "answer").write_text(json.dumps(to_plain(detection())))
    return tmp_path


def pids(folder: Path) -> list[int]:
    path = folder / "pids"
    return [int(word) for word in path.read_text().split()] if path.exists() else []


async def test_a_detection_gives_way_to_jobs_and_is_begun_again(helper: Path) -> None:
    reported: asyncio.Queue[DetectedSoftware] = asyncio.Queue()
    watched = periodic.DetectionSchedule(helper, 3600, None, reported.put_nowait)
    running = asyncio.ensure_future(watched.run())
    watched.quiet(True)
    await asyncio.sleep(0.05)
    assert not pids(helper)  # the controller does not know this agent yet
    watched.start()
    while not pids(helper):
        await asyncio.sleep(0.01)
    watched.quiet(False)
    [first] = pids(helper)
    assert await asyncio.to_thread(has_ended, first)
    (helper / "go").touch()
    assert reported.empty()
    watched.quiet(True)
    assert await asyncio.wait_for(reported.get(), 30) == detection()
    assert len(pids(helper)) == 2
    assert detection_cache.load(helper) == detection()
    watched.wake()
    assert await asyncio.wait_for(reported.get(), 30) == detection()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_helper_that_fails_changes_nothing_and_ends_with_the_agent(helper: Path) -> None:
    reported: asyncio.Queue[DetectedSoftware] = asyncio.Queue()
    (helper / "go").touch()
    (helper / "answer").write_text("no JSON")
    watched = periodic.DetectionSchedule(
        helper, 3600, detection(finished_unix_s=0.0), reported.put_nowait
    )
    running = asyncio.ensure_future(watched.run())
    watched.quiet(True)
    watched.start()
    while not pids(helper):
        await asyncio.sleep(0.01)
    assert await asyncio.to_thread(has_ended, pids(helper)[0])
    (helper / "go").unlink()
    watched.wake()
    while len(pids(helper)) < 2:
        await asyncio.sleep(0.01)
    assert reported.empty()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert has_ended(pids(helper)[1])


async def test_an_agent_registers_first_then_reports_its_software(
    agent: AgentProcess, controller: FakeController, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = DetectionDevice(tmp_path / "device")
    device.program("adb", "echo Version 34.0.4-debian")
    monkeypatch.setenv("PATH", f"{device.bin}:/usr/bin:/bin")
    config = agent.home / "config.toml"
    config.write_text(config.read_text().replace("detect_interval_s = 0", "") + "\n")
    await agent.start()
    assert not controller.hellos[0].capabilities.software

    def adb(version: str) -> bool:
        return bool(controller.changes) and any(
            (s.name, s.version) == ("adb", version) for s in controller.changes[-1].software
        )

    await controller.wait_for(lambda: adb("34.0.4"))
    assert "adb" in controller.changes[-1].tags
    device.program("adb", "echo Version 35.0.2")
    assert agent.process is not None
    agent.process.send_signal(signal.SIGHUP)
    await controller.wait_for(lambda: adb("35.0.2"))
    assert await agent.end() == 0
    # What is known already is in the next hello.
    await agent.start()
    software = {s.name: s.version for s in controller.hellos[-1].capabilities.software}
    assert software["adb"] == "35.0.2"


def test_capabilities_show_every_verdict(tmp_path: Path) -> None:
    device = DetectionDevice(tmp_path / "device")
    device.program("adb", "echo Version 34.0.4")
    device.program("podman", "exit 3")
    command = [sys.executable, "-m", "fleetmark_agent.cli", "capabilities", "--home", str(tmp_path)]
    environment = {**os.environ, "PATH": f"{device.bin}:/usr/bin:/bin"}
    done = subprocess.run(
        [*command, "--json"], check=True, capture_output=True, env=environment, timeout=120
    )
    values = json.loads(done.stdout)
    verdicts = {(f["software"], f["verdict"]) for f in values["detected"]}
    assert {("adb", "found"), ("podman", "broken")} <= verdicts
    assert "absent" in {verdict for _, verdict in verdicts}
    found = {(s["name"], s["version"]) for s in values["software"]}
    assert ("adb", "34.0.4") in found and "adb" in values["tags"]
    done = subprocess.run(command, check=True, capture_output=True, env=environment, timeout=120)
    text = done.stdout.decode()
    assert f"found 34.0.4, {device.bin}/adb" in text
    assert f"broken, {device.bin}/podman: exit code 3" in text
