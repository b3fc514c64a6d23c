"""The benches run, with the least that they can do; what they measure is no matter here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.processes import environment

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def bench(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    before = tracked()
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / name), *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert tracked() == before, "a bench has written into the tree"
    assert not done.stderr, done.stderr
    return done


def tracked() -> str:
    return subprocess.run(
        ["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout


def cells(text: str, row: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {row}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_resolve() -> None:
    done = bench("resolve.py", "--components", "60", "--devices", "3", "--limit-s", "100")
    assert done.returncode == 0 and '"devices": 3' in done.stdout


def test_schedule() -> None:
    done = bench("schedule.py", "--jobs", "200", "--devices", "20", "--limit-s", "100")
    assert done.returncode == 0, done.stderr


def test_fleet() -> None:
    numbers = ("--agents", "5", "--more", "8", "--dispatches", "2", "--tries", "1", "--idle-s", "1")
    done = bench("fleet.py", *numbers, "--no-peers")
    assert done.returncode == 0, done.stdout
    for row in (
        "5 agents visible",
        "8 agents visible",
        "8 agents: dispatch p99",
        "submit to first",
    ):
        ours, floor = cells(done.stdout, row)[1:3]
        assert float(ours) > 0 and float(floor) > 0
    assert float(cells(done.stdout, "… by command")[1]) > 0
    for row in ("a line of a job's log", "100 watch a job", "… load generator, cores"):
        assert float(cells(done.stdout, row)[1]) >= 0


def test_footprint() -> None:
    done = bench("footprint.py", "--repeat", "2", "--idle-s", "1")
    # How quickly an agent starts depends on what else runs; what it writes does not.
    assert done.returncode in (0, 1)
    text = done.stdout
    assert "load" in text.splitlines()[0]
    agent, bare = cells(text, "agent, idle"), cells(text, "bare client, TLS ")
    assert float(agent[2]) > 1 and float(bare[2]) == 1
    assert cells(text, "idle: bytes to disk")[1] == "0 / 0"
    assert cells(text, "two idle hours")[1] == "0 / 0"
    assert "memory is" not in text.splitlines()[-1], text


def test_fidelity() -> None:
    done = bench("fidelity.py", "--rounds", "1", "--seconds", "0.2")
    assert done.returncode == 0
    rows = [line for line in done.stdout.splitlines() if re.match(r"\| (DS-CNN|CNN).* p\d\d", line)]
    assert len(rows) == 9
    for row in rows:
        ratios = [float(number) for number in re.findall(r"(\d+\.\d+) \[", row)]
        assert len(ratios) == 4 and all(ratio > 0 for ratio in ratios)
    assert "blocks marked" in done.stdout


def test_results() -> None:
    done = bench("results.py", "--samples", "600000", "--turns", "1")
    # Whether goals of speed are met depends on what else runs.
    assert done.returncode in (0, 1), done.stderr
    assert float(cells(done.stdout, "0.6 million samples to Parquet")[3]) > 0
    for form in ("parquet", "csv"):
        assert cells(done.stdout, f"memory of one run to {form}")[-1] == "yes"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_random_models() -> None:
    done = bench("models.py", "--only-random", "--rounds", "1", "--seconds", "0.02")
    # Whether goals are met depends on what else runs; that an unmet one is printed does not.
    rows = re.findall(
        r"(?m)^\| ((?:onnxruntime|openvino|tflite), \d+: [^|]+?) *\|(.*)\|$", done.stdout
    )
    assert len(rows) == len({title for title, _ in rows}) == 20
    unmet = {title for title, text in rows if text.split("|")[-1].strip() == "unmet"}
    named = re.findall(r"(?m)^UNMET: (.+?): [^:]+$", done.stdout)
    assert set(named) == unmet and done.returncode == (1 if unmet else 0)
    assert f"Met by {20 - len(unmet)} of 20." in done.stdout
    for _, text in rows:
        figures = [float(cell) for cell in text.split("|")[:-1]]
        assert len(figures) == 7 and all(figures[n] > 0 for n in (0, 1, 2, 5, 6))


CHECKERS = os.environ.get("MLPERF_CHECKERS", "")


def test_the_official_checker_needs_its_folder() -> None:
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "bench" / "official_checker.py"),
            "--tree",
            ".",
            "--round",
            "x",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "name the official checkers" in done.stderr


@pytest.mark.timeout(900)
@pytest.mark.skipif(not CHECKERS, reason="MLPERF_CHECKERS names no folder with MLCommons' checkers")
@pytest.mark.parametrize("round_name", ["v5.1", "v6.1"])
def test_a_short_campaign_is_refused_for_its_shortness_alone(
    round_name: str, tmp_path: Path
) -> None:
    """By the official checker of the round, on a tree that went the whole way."""
    mirror = os.environ.get("FLEETMARK_TEST_MIRROR", "")
    done = bench(
        "mlperf_campaign.py",
        *("--checkers", CHECKERS, "--round", round_name, "--seconds", "3", "--mirror", mirror),
        *("--scenarios", "SingleStream,MultiStream", "--out", str(tmp_path / "campaign")),
        *("--python", os.environ.get("CHECKER_PYTHON", "python3")),
    )
    assert done.returncode == 1, done.stdout
    errors = [line for line in done.stdout.splitlines() if " ERROR] " in line]
    consequences = ("has issues", "NoResults", "SUMMARY", "Checks failed")
    causes = [line for line in errors if not any(word in line for word in consequences)]
    assert len(causes) == 2 and all("Test duration less" in line for line in causes), causes
