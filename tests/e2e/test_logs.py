"""Logs of a controller and an agent: JSON lines in a file, text on a terminal."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import noop_benchmark as toy
from tests.support.log_lines import LogLine, parse_line, parse_log
from tests.support.processes import BIN, Fleet, environment, fleet_in, until
from tests.support.terminal import Terminal

pytestmark = pytest.mark.e2e
ABOUT_AN_ATTEMPT = ["attempt accepted", "job ended", "attempt settled"]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with fleet_in(tmp_path) as made:
        yield made


def words(fleet: Fleet, program: str, *arguments: str) -> list[str]:
    """Command line of the controller, or of an agent called bench-01."""
    if program == "controller":
        catalog = fleet.folder / "catalog"
        if not catalog.exists():
            toy.make_catalog(catalog)
        own = ["serve", "--home", str(fleet.home), "--listen", fleet.address]
        own += ["--catalog", str(catalog)]
    else:
        own = ["start", "--home", str(fleet.folder / "bench"), "--controller", fleet.address]
        own += ["--name", "bench-01", "--allow-folder", str(fleet.marks)]
    return [str(BIN / program), *own, *arguments]


def spawn(fleet: Fleet, program: str, *arguments: str, **variables: str) -> Path:
    """Start a program whose standard error is a file; return the file."""
    log = fleet.folder / f"{program}.stderr"
    with log.open("ab") as stderr:
        fleet.children[program] = subprocess.Popen(
            words(fleet, program, *arguments),
            env={**environment(), **variables},
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
    return log


def answers(fleet: Fleet) -> bool:
    return fleet.run("fleet", "list").returncode == 0


def run_job(fleet: Fleet) -> tuple[str, int, str]:
    """Run one job to its end; return its id, epoch and campaign."""
    done = fleet.run(
        *("schedule", toy.NAME, "--set", f"marks={fleet.marks}", "--set", "duration_s=0.2"),
        "--wait",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ((job, epoch, campaign),) = fleet.query("SELECT job_id, epoch, campaign_id FROM attempts")
    assert isinstance(epoch, int)
    return str(job), epoch, str(campaign)


def test_a_file_holds_json_lines_that_name_the_attempt(fleet: Fleet) -> None:
    logs = {"controller": spawn(fleet, "controller")}
    until(lambda: answers(fleet), "the controller")
    logs["agent"] = spawn(fleet, "agent", FLEETMARK_TOKEN=fleet.token)
    until(lambda: fleet.presence("bench-01") == "online", "the agent")
    job, epoch, campaign = run_job(fleet)
    until(lambda: "attempt settled" in logs["agent"].read_text(), "the end of the attempt")
    for program in ("agent", "controller"):
        fleet.children[program].terminate()
        assert fleet.children[program].wait(30) == 0

    parsed: dict[str, list[LogLine]] = {}
    for program, log in logs.items():
        lines = log.read_text().splitlines()
        assert lines
        for line in lines:
            values = json.loads(line)
            assert list(values)[:4] == ["time", "level", "logger", "event"], line
        parsed[program] = parse_log(log.read_text())
        assert len(parsed[program]) == len(lines)

    about = {"job": job, "epoch": epoch, "campaign": campaign, "device": "bench-01"}
    agent = [line for line in parsed["agent"] if "job" in line.fields]
    assert [line.event for line in agent] == ABOUT_AN_ATTEMPT
    controller = [line for line in parsed["controller"] if "job" in line.fields]
    assert [line.event for line in controller] == ["attempt dispatched", "attempt ended"]
    assert controller[-1].fields["outcome"] == "valid"
    for line in agent + controller:
        assert {name: line.fields.get(name) for name in about} == about, line
    assert all(line.fields["device"] == "bench-01" for line in parsed["agent"])


def test_a_terminal_shows_text(fleet: Fleet) -> None:
    controller = Terminal(words(fleet, "controller"), environment(), columns=200)
    try:
        until(lambda: answers(fleet), "the controller")
        variables = {**environment(), "FLEETMARK_TOKEN": fleet.token}
        agent = Terminal(words(fleet, "agent"), variables, columns=200)
        try:
            until(lambda: "controller connected" in agent.text(), "the agent")
        finally:
            agent.process.terminate()
            assert agent.wait(30) == 0
        until(lambda: "device connected" in controller.text(), "the line of the controller")
    finally:
        controller.process.terminate()
        assert controller.wait(30) == 0
    lines = agent.text().splitlines()
    found = [parse_line(line) for line in lines]
    assert all(found), lines
    assert ("info", "controller connected") in [line[:2] for line in found if line]
    assert not any(line.startswith("{") for line in controller.text().splitlines())
    shown = [line.event for line in parse_log(controller.text())]
    assert {"device connected", "shutdown requested"} <= set(shown)


@pytest.mark.parametrize("source", ["flag", "variable", "config.toml"])
def test_the_form_can_be_chosen(fleet: Fleet, source: str) -> None:
    flags = ("--log-format", "text") if source == "flag" else ()
    variables = {"FLEETMARK_LOG_FORMAT": "text"} if source == "variable" else {}
    if source == "config.toml":
        (fleet.folder / "bench").mkdir()
        for home in (fleet.home, fleet.folder / "bench"):
            with (home / "config.toml").open("a") as file:
                file.write('log_format = "text"\n')
    controller = spawn(fleet, "controller", *flags, **variables)
    until(lambda: answers(fleet), "the controller")
    agent = spawn(fleet, "agent", *flags, **variables, FLEETMARK_TOKEN=fleet.token)
    until(lambda: "device connected" in controller.read_text(), "the line of the controller")
    until(lambda: "controller connected" in agent.read_text(), "the line of the agent")
    for log in (controller, agent):
        assert all(parse_line(line) for line in log.read_text().splitlines())
        assert "{" not in log.read_text()


@pytest.mark.parametrize("program", ["controller", "agent"])
@pytest.mark.parametrize("source", ["flag", "variable", "config.toml"])
def test_an_unknown_form_is_refused(fleet: Fleet, program: str, source: str) -> None:
    flags = ("--log-format", "xml") if source == "flag" else ()
    variables = {"FLEETMARK_LOG_FORMAT": "xml"} if source == "variable" else {}
    if source == "config.toml":
        home = fleet.home if program == "controller" else fleet.folder / "bench"
        home.mkdir(exist_ok=True)
        (home / "config.toml").write_text('log_format = "xml"\n')
    done = subprocess.run(
        words(fleet, program, *flags),
        env={**environment(), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert "'xml'" in line and "auto, text, json" in line
