"""Every command of the README runs as written."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.support import ROOT
from tests.support.processes import BIN, Fleet, fleet_in

pytestmark = pytest.mark.e2e


def commands(document: str) -> list[list[str]]:
    """The command lines of a document's sh blocks, split as a shell would."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)
    text = "\n".join(blocks).replace("\\\n", " ")
    return [words for line in text.splitlines() if (words := shlex.split(line, comments=True))]


README = commands("README.md")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_in(tmp_path_factory.mktemp("readme")) as fleet:
        fleet.start_controller()
        fleet.start_agent("bench-01")
        yield fleet


def test_the_commands_about_releases_work_in_their_order(fleet: Fleet) -> None:
    for words in commands("docs/releases.md"):
        done = fleet.run(*words[1:])
        assert done.returncode == 0, (words, done.stderr)


def test_the_commands_about_the_sandbox_work(fleet: Fleet) -> None:
    doctor, as_json, schedule = commands("docs/sandbox.md")
    said = {}
    for words in (doctor, as_json):
        done = subprocess.run(
            [str(BIN / words[0]), *words[1:], "--home", str(fleet.folder / "doctor")],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, (words, done.stderr)
        said[len(words)] = done.stdout
    level = json.loads(said[3])["sandbox"]["level"]
    assert re.search(rf"^sandbox +{level}$", said[2], re.MULTILINE)
    enough = level in ("landlock", "bubblewrap")
    assert fleet.run(*schedule[1:]).returncode == (0 if enough else 3)


def test_the_readme_begins_with_its_two_commands() -> None:
    assert README[:2] == [["make", "demo"], ["make", "test"]]
    assert ["controller", "serve"] in README
    assert ["agent", "start", "--controller", "HOST:7117", "--token", "T"] in README


@pytest.mark.parametrize("target", [words[1] for words in README if words[0] == "make"])
def test_make_knows_the_target(target: str) -> None:
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_commands_of_the_readme_work_in_their_order(fleet: Fleet) -> None:
    """What keeps running (serve, start) the fixture has started already."""
    ran = 0
    for words in README:
        if words[0] in ("make", "agent") or words[:2] == ["controller", "serve"]:
            continue
        if words[0] == "sqlite-utils":
            (fleet.folder / "fleetmark-demo").mkdir()
            shutil.copyfile(
                fleet.home / "results.db", fleet.folder / "fleetmark-demo" / "results.db"
            )
        done = subprocess.run(
            [str(BIN / words[0]), *words[1:]],
            cwd=fleet.folder,
            env=fleet.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        ran += 1
    assert ran >= 9
    assert (fleet.folder / "runs.csv").read_text().count("\n") == 9
    assert (fleet.folder / "backup-of-today" / "results.db").exists()
