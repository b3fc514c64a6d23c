"""docs/reference/verdicts.md as written, by the default benchmark; its tables match the code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from fleetmark_controller.evaluation.condition import CODES
from fleetmark_controller.evaluation.thresholds import Thresholds
from fleetmark_core.repeat_bounds import RepeatBounds
from tests.e2e.test_docs import ROOT, commands
from tests.support.processes import Fleet, fleet_in

TEXT = (ROOT / "docs" / "reference" / "verdicts.md").read_text()
SCHEDULE, LIST, SHOW, SUSTAIN, IMPORT = commands("docs/reference/verdicts.md")


def test_the_limits_are_those_of_the_program() -> None:
    known = {**asdict(Thresholds()), **asdict(RepeatBounds()), "swap_bytes": 1}
    reported = re.findall(r"`(\w+)` (\d+)", TEXT)
    assert len(reported) >= 7
    for name, value in reported:
        assert known[name] == float(value), name
    for code in re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE):
        assert code in CODES


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_in(tmp_path_factory.mktemp("verdicts")) as fleet:
        fleet.start_controller()
        fleet.start_agent("device-1")
        yield fleet


@pytest.mark.e2e
@pytest.mark.slow
def test_the_commands(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = fleet.run(*SCHEDULE[1:], timeout_s=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert fleet.run(*LIST[1:]).returncode == 0
    runs = json.loads(fleet.run(*LIST[1:], "--json").stdout)
    assert 3 <= len(runs) <= 10, "as often as it takes"
    run = str(runs[-1]["run_id"])
    shown = fleet.run(*[run if word == "RUN" else word for word in SHOW[1:]])
    for word in ("LoadGen    VALID", "Condition  ", "Stable     began after", "Interval   95 %"):
        assert word in shown.stdout
    started = datetime.fromisoformat(runs[-1]["started_at"].replace("Z", "+00:00"))
    stamps = [(started + timedelta(seconds=0.1 * n)).strftime("%m-%d-%Y %H:%M:%S.%f")[:-3]
              for n in range(30)]  # fmt: skip
    lines = [f"Time,{at},Watts,5.0,Volts,230,Amps,0.1,PF,0.5,Mark,x" for at in stamps]
    (tmp_path / "spl.txt").write_text("\n".join(lines))
    done = fleet.run(*[run if word == "RUN" else word for word in IMPORT[1:]])
    assert done.returncode == 0, done.stderr
    assert "at 5 W" in done.stdout
    # Whether the machine has a trusted temperature sensor is not known here.
    without_limit = [word for word in SUSTAIN[1:-1] if word not in ("--start-below", "40C")]
    done = fleet.run(*without_limit, "--dry-run")
    assert done.returncode == 0, done.stderr
