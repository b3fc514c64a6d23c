"""docs/how-to/comparing.md as written, and what a comparison says that cannot be made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.e2e.test_docs import commands
from tests.support import ROOT
from tests.support.processes import Fleet, fleet_in
from tests.support.sample_output import sample_outputs, unmatched_lines

pytestmark = pytest.mark.e2e
SCHEDULE, *COMPARE, RUNS, REPLAY, _ = commands("docs/how-to/comparing.md")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_in(tmp_path_factory.mktemp("comparing")) as fleet:
        fleet.start_controller()
        fleet.start_agent("device-1")
        assert fleet.run(*SCHEDULE[1:]).returncode == 0
        yield fleet


def test_the_document(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    table, bound, as_json = (fleet.run(*command[1:]) for command in COMPARE)
    assert table.returncode == 0, table.stderr
    assert "6 pairs" in table.stdout
    header = sample_outputs((ROOT / "docs" / "how-to" / "comparing.md").read_text())[
        0
    ].splitlines()[0]
    assert unmatched_lines(header, table.stdout) == []
    assert (tmp_path / "compare.md").read_text().startswith("## last:threads=2 against last:th")
    assert bound.returncode == 0, bound.stderr
    suite = ElementTree.fromstring((tmp_path / "compare.xml").read_bytes())
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("1", "0", "0")
    (verdict,) = json.loads(as_json.stdout)
    assert verdict["metric_name"] == "latency_p50_ms"
    assert verdict["time_ratio_low"] <= verdict["time_ratio"] <= verdict["time_ratio_high"]
    rows = fleet.query("SELECT latency_p50_ms FROM runs WHERE official ORDER BY epoch")
    assert min(v for (v,) in rows) <= verdict["a"] <= max(v for (v,) in rows)  # type: ignore[type-var]


@pytest.mark.parametrize(
    ("arguments", "code", "output"),
    [
        (("last", "last"), 2, "runs in common"),
        (("last:thread=1", "last:threads=2"), 2, "Did you mean 'threads'?"),
        (("last:threads=1", "last:threads=7"), 3, "Values of threads: 1, 2"),
        (("last:threads=1", "0123456"), 3, "0123456"),
        (("last:threads=1", "last:threads=2", "--metric", "latency_p50"), 2, "latency_p50_ms"),
        (("last:threads=1", "last:threads=2", "--fail-if", "worse"), 2, "slower=3%"),
        (("last:threads=1", "last:threads=2", "--junit", "no/such/folder.xml"), 2, "no/such"),
    ],
)
def test_comparisons_that_cannot_be_made(
    fleet: Fleet, arguments: tuple[str, ...], code: int, output: str
) -> None:
    done = fleet.run("compare", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert output in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bound_that_is_broken(fleet: Fleet) -> None:
    """Of the two directions of the comparison, at most one reports a broken bound."""
    codes = []
    for a, b in (("1", "2"), ("2", "1")):
        sides = (f"last:threads={a}", f"last:threads={b}")
        done = fleet.run("compare", *sides, "--fail-if", "slower", "--json")
        (verdict,) = json.loads(done.stdout)
        assert verdict["failed"] is (verdict["answer"] == "slower")
        assert done.returncode == int(verdict["failed"])
        assert ("Bound exceeded (slower)" in done.stderr) is verdict["failed"]
        codes.append(done.returncode)
    assert sum(codes) <= 1


def test_a_replay(fleet: Fleet) -> None:
    runs = json.loads(fleet.run(*RUNS[1:], "--json").stdout)
    first = str(min(run["run_id"] for run in runs))
    replay = [first if word == "RUN" else word for word in REPLAY[1:]]
    done = fleet.run(*replay)
    assert done.returncode == 0, done.stderr
    for output in ("latency_p50_ms", "now, least", "loadgen_validity"):
        assert output in done.stdout, done.stdout
    assert "program_result." not in done.stdout, "the same lock runs alike"
    made = fleet.query(
        "SELECT lockfile_sha256, parameters, device FROM runs JOIN campaigns USING (campaign_id)"
        " WHERE selector = 'name=device-1'"
    )
    before = fleet.query(
        f"SELECT lockfile_sha256, parameters, device FROM runs WHERE run_id = '{first}'"
    )
    assert made == before * 2
    assert fleet.run("replay", "0000000").returncode == 3
    audit = json.loads(fleet.run("audit", "show", "--json").stdout)
    assert any(row["action"] == "run.replay" and row["subject"] == first for row in audit)
