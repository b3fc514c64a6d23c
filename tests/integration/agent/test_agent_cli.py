"""The command `agent`: what it loads, what it prints, how it fails."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fleetmark_agent.config.device_name import device_name, name_from_host
from fleetmark_agent.config.loader import load_settings
from fleetmark_agent.state.file_locks import try_lock
from fleetmark_agent.state.identity import (
    ACTIVE,
    PENDING,
    Enrollment,
    load_enrollment,
    save_enrollment,
)
from fleetmark_cli.paths import ConfigError
from fleetmark_core.device_names import is_device_name
from tests.support import device_tls as secure
from tests.support.agent_process import AgentProcess
from tests.support.fake_controller import FakeController


def agent_command(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fleetmark_agent.cli", *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )


def fails(done: subprocess.CompletedProcess[str], exit_code: int) -> str:
    """The one line that it says, after checking that it is one."""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert (done.returncode, len(lines)) == (exit_code, 1), done.stderr
    assert lines[0].startswith("agent: ")
    return lines[0]


def loaded_by(module: str) -> set[str]:
    program = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    return {name.partition(".")[0] for name in done.stdout.split()} | set(done.stdout.split())


HEAVY = {"sqlite_utils", "numpy", "resolvelib", "onnxruntime", "ai_edge_litert", "tflite_runtime"}
HEAVY |= {
    "cryptography",
    "zeroconf",
    "fleetmark_agent.startup.mdns_browse",
    "fleetmark_agent.helpers.enroll",
}
HEAVY |= {"fleetmark_controller", "fleetmark_harness", "fleetmark_catalog.load", "mlperf_loadgen"}


def test_the_command_line_loads_little() -> None:
    loaded = loaded_by("fleetmark_agent.cli")
    assert not loaded & (HEAVY | {"grpc", "google", "psutil", "installer", "rich", "asyncio"})


def test_pure_modules_stay_pure() -> None:
    for module in (
        "session.machine",
        "session.messages",
        "session.events",
        "state.ledger",
        "state.spool",
    ):
        loaded = loaded_by(f"fleetmark_agent.{module}")
        assert not loaded & {"grpc", "google", "asyncio", "psutil", "subprocess"}, module


def test_capabilities_for_operators_and_for_programs(tmp_path: Path) -> None:
    done = agent_command("capabilities", "--home", str(tmp_path))
    assert done.returncode == 0 and "cpu.usable_cores" in done.stdout
    assert "None" not in done.stdout
    values = json.loads(agent_command("capabilities", "--json", "--home", str(tmp_path)).stdout)
    assert values["os"]["family"] == "linux" and values["tags"]


async def test_status_of_no_agent_and_of_a_running_one(
    tmp_path: Path, agent: AgentProcess, controller: FakeController
) -> None:
    none = json.loads(agent_command("status", "--json", "--home", str(tmp_path / "none")).stdout)
    assert (none["running"], none["attempts"], none["cache_bytes"]) == (False, [], 0)
    assert not (tmp_path / "none").exists()
    await agent.start()

    async def status() -> dict[str, Any]:
        words = ("status", "--json", "--home", str(agent.home))
        # In a thread: the controller, which runs in this loop, must be able to answer.
        done = await asyncio.to_thread(agent_command, *words)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    while not (values := await status())["connected"]:
        await asyncio.sleep(0.05)
    assert (values["running"], values["connected"], values["name"]) == (True, True, "device")
    assert values["pid"] == agent.process.pid if agent.process else False
    await agent.end(signal.SIGKILL)
    done = agent_command("status", "--home", str(agent.home))
    assert done.returncode == 3 and "running      no" in done.stdout


async def test_a_second_agent_on_the_same_home_is_refused(
    agent: AgentProcess, controller: FakeController
) -> None:
    await agent.start()
    line = fails(agent_command("start", "--home", str(agent.home)), 4)
    assert "another agent runs with this home" in line and str(agent.home) in line


def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    line = fails(agent_command("start", "--home", str(tmp_path / "file")), 4)
    assert "--home" in line
    line = fails(agent_command("start", "--home", "/proc/home"), 4)
    assert "/proc/home" in line


def test_a_full_disk_at_start(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount)],
        check=False,
        capture_output=True,
    )
    if done.returncode:
        pytest.skip("needs the right to mount")
    try:
        (mount / "filler").write_bytes(b"x" * 50_000)
        line = fails(agent_command("start", "--home", str(mount / "home")), 4)
        assert "no space left" in line and str(mount) in line
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_once_without_a_controller_gives_up(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("once_wait_s = 1\n")
    secure.enroll(tmp_path, "127.0.0.1:1")
    done = agent_command("start", "--home", str(tmp_path), "--once", "--controller", "127.0.0.1:1")
    assert "no controller answered at 127.0.0.1:1 within 1 s" in fails(done, 5)
    logs = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert len([line for line in logs if line["level"] == "warning"]) == 1


async def test_without_a_controller_an_agent_waits_for_it(
    agent: AgentProcess, controller: FakeController
) -> None:
    await controller.stop()
    await agent.start(wait=False)
    while "connection failed" not in agent.events():
        await asyncio.sleep(0.05)
    await controller.start()
    await asyncio.wait_for(controller.online.wait(), 30)
    assert agent.events().count("connection failed") == 1
    assert await agent.end() == 0


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("start", "--label", "site"), "'site' does not have the form key=value"),
        (("start", "--label", "1x=y"), "not a label key"),
        (("start", "--controller", "somewhere"), "'somewhere' is not HOST:PORT"),
        (("start", "--name", "a b"), "is not a name"),
        (("statsu",), "statsu"),
        (("start", "--frobnicate"), "--frobnicate"),
    ],
)
def test_usage_errors(tmp_path: Path, words: tuple[str, ...], text: str) -> None:
    line = fails(agent_command(*words, FLEETMARK_AGENT_HOME=str(tmp_path / "home")), 2)
    assert text in line


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("controler = 'x:1'", "unknown key 'controler'. Did you mean 'controller'?"),
        ("controller = 'x'", "controller: 'x' is not HOST:PORT"),
        ("controller = 7", "controller: 7 is not HOST:PORT"),
        ("cache_limit_bytes = '1G'", "cache_limit_bytes: found '1G', expected an integer"),
        ("cache_limit_bytes = true", "cache_limit_bytes: found True"),
        ("telemetry_interval_s = 0", "telemetry_interval_s: found 0, expected seconds"),
        ("telemetry_interval_s = nan", "telemetry_interval_s: nan is not a finite number"),
        ("labels = ['a']", "labels: found ['a']"),
        ("labels = {a = 1}", "label 'a' has the value 1"),
        ("controller = ", "config.toml: "),
    ],
)
def test_a_bad_configuration_names_file_and_key(tmp_path: Path, content: str, text: str) -> None:
    (tmp_path / "config.toml").write_text(content)
    line = fails(agent_command("start", "--home", str(tmp_path)), 2)
    assert text in line and str(tmp_path / "config.toml") in line


def test_flags_over_environment_over_file_over_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLEETMARK_CONTROLLER", raising=False)
    assert load_settings(tmp_path).controller == ""
    (tmp_path / "config.toml").write_text("controller = 'file:1'\nlabels = {a = '1', b = '2'}\n")
    assert load_settings(tmp_path).controller == "file:1"
    monkeypatch.setenv("FLEETMARK_CONTROLLER", "environment:2")
    assert load_settings(tmp_path).controller == "environment:2"
    settings = load_settings(tmp_path, controller="[::1]:3", labels={"b": "3"})
    assert settings.controller == "[::1]:3" and settings.labels == {"a": "1", "b": "3"}
    (tmp_path / "config.toml").write_text("\0")
    with pytest.raises(ConfigError):
        load_settings(tmp_path)


def test_a_damaged_ledger_stops_the_start_and_stays(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.json"
    ledger.write_text("{")
    secure.enroll(tmp_path, "127.0.0.1:1")
    line = fails(agent_command("start", "--home", str(tmp_path), "--once"), 4)
    assert "ledger.json is damaged" in line
    assert ledger.read_text() == "{"


def test_the_locks_of_a_home_are_seen(tmp_path: Path) -> None:
    held: Any = try_lock(tmp_path / "device.lock")
    values = json.loads(agent_command("status", "--json", "--home", str(tmp_path)).stdout)
    assert values["job_running"] and not values["running"]
    os.close(held)


def test_status_exits_with_the_state_of_the_enrollment(tmp_path: Path) -> None:
    def status() -> tuple[int, str]:
        done = agent_command("status", "--json", "--home", str(tmp_path))
        return done.returncode, json.loads(done.stdout)["enrollment"]

    assert status() == (4, "none")
    save_enrollment(tmp_path, Enrollment(PENDING, "127.0.0.1:1", 2, "", ""))
    assert status() == (4, "pending")
    save_enrollment(tmp_path, Enrollment(ACTIVE, "127.0.0.1:1", 2, "", ""))
    assert status() == (3, "active")
    (tmp_path / "identity" / "enrolment.json").write_text("[]")
    assert status() == (4, "damaged")


async def test_status_exits_with_the_state_of_the_connection(
    agent: AgentProcess, controller: FakeController
) -> None:
    await agent.start()
    assert agent_command("status", "--home", str(agent.home)).returncode == 0
    # What an agent that was killed wrote no longer counts when the next one starts.
    await agent.end(signal.SIGKILL)
    assert json.loads((agent.home / "status.json").read_text())["connected"] is True
    await controller.stop()
    await agent.start(wait=False)
    while agent_command("status", "--home", str(agent.home)).returncode == 3:
        await asyncio.sleep(0.05)
    done = agent_command("status", "--json", "--home", str(agent.home))
    assert (done.returncode, json.loads(done.stdout)["connected"]) == (5, False)


def test_help_documents_the_exit_codes_of_status() -> None:
    text = agent_command("status", "--help").stdout
    assert all(f"  {code}  " in text for code in (0, 3, 4, 5)), text


def test_an_older_enrollment_has_no_name_and_is_read(tmp_path: Path) -> None:
    known = Enrollment(ACTIVE, "127.0.0.1:1", 2, "", "", 3, 4, "bench-01")
    save_enrollment(tmp_path, known)
    assert load_enrollment(tmp_path) == known
    path = tmp_path / "identity" / "enrolment.json"
    values = json.loads(path.read_text())
    del values["name"]
    path.write_text(json.dumps(values))
    read = load_enrollment(tmp_path)
    assert read is not None and read.name == ""
    assert device_name("", read) == name_from_host(os.uname().nodename)


@pytest.mark.parametrize(
    ("given", "stored", "name"),
    [("a", "b", "a"), ("", "b", "b"), ("a", "", "a"), ("", "not a name", None), ("", "", None)],
)
def test_a_device_is_called_as_given_then_as_enrolled(
    given: str, stored: str, name: str | None
) -> None:
    known = Enrollment(ACTIVE, "127.0.0.1:1", 2, "", "", name=stored)
    assert device_name(given, known) == (name or name_from_host(os.uname().nodename))


@pytest.mark.parametrize("host", ["", "-", "vm", "my host", "Lüfter", ".local", "x" * 200])
def test_every_host_name_makes_a_device_name(host: str) -> None:
    assert is_device_name(name_from_host(host))
