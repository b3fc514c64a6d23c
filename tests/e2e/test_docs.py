"""Every command of the README runs as written."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.processes import BIN, Fleet, environment, fleet_in, free_port

pytestmark = pytest.mark.e2e


def commands(document: str) -> list[list[str]]:
    """The command lines of a document's sh blocks, split as a shell would."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)
    text = "\n".join(blocks).replace("\\\n", " ")
    return [words for line in text.splitlines() if (words := shlex.split(line, comments=True))]


README = commands("README.md")
ARCHITECTURE = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_in(tmp_path_factory.mktemp("readme")) as fleet:
        fleet.start_controller()
        fleet.start_agent("bench-01")
        yield fleet


def test_the_commands_about_releases_work_in_their_order(fleet: Fleet) -> None:
    for words in commands("docs/explanation/releases.md"):
        done = fleet.run(*words[1:])
        assert done.returncode == 0, (words, done.stderr)


def test_the_commands_about_the_sandbox_work(fleet: Fleet) -> None:
    doctor, as_json, schedule = commands("docs/explanation/sandbox.md")
    output = {}
    for words in (doctor, as_json):
        done = subprocess.run(
            [str(BIN / words[0]), *words[1:], "--home", str(fleet.folder / "doctor")],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, (words, done.stderr)
        output[len(words)] = done.stdout
    level = json.loads(output[3])["sandbox"]["level"]
    assert re.search(rf"^sandbox +{level}$", output[2], re.MULTILINE)
    enough = level in ("landlock", "bubblewrap")
    assert fleet.run(*schedule[1:]).returncode == (0 if enough else 3)


def test_the_readme_begins_with_its_two_commands() -> None:
    assert README[:2] == [["make", "demo"], ["make", "test"]]


@pytest.mark.parametrize("target", [words[1] for words in README if words[0] == "make"])
def test_make_knows_the_target(target: str) -> None:
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


USERS = {
    "UTF-8": ("utf-8", {}),
    "Latin-1, 80 columns": (
        "latin-1",
        {"PYTHONIOENCODING": "latin-1", "LC_ALL": "C", "COLUMNS": "80", "TERM": "dumb"},
    ),
}


@pytest.mark.parametrize(
    "user", ["UTF-8", pytest.param("Latin-1, 80 columns", marks=pytest.mark.slow)]
)
def test_the_commands_of_the_readme_work_as_pasted(tmp_path: Path, user: str) -> None:
    """By a shell without a terminal, to the letter, as a new user with an empty HOME.

    The folder has a `.venv` like that of a checkout.
    """
    encoding, variables = USERS[user]
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    first = next(n for n, block in enumerate(blocks) if "controller serve" in block)
    text = "".join(blocks[first:]).replace("x86_64", ARCHITECTURE)
    (tmp_path / ".venv").symlink_to(BIN.parent)
    home = tmp_path / "home"
    home.mkdir()
    address = f"127.0.0.1:{free_port()}"
    (home / "config.toml").write_text(f'listen = "{address}"\n')
    own = {
        **environment(),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "FLEETMARK_CONTROLLER_HOME": str(home),
        "FLEETMARK_CONTROLLER": address,
        "HOME": str(fresh),
        **variables,
    }
    # What the demo leaves, for the commands about its store.
    demo = "mkdir fleetmark-demo; cp home/results.db* fleetmark-demo/\n"
    text = text.replace("kill $AGENT", f"{demo}kill $AGENT")
    shell = subprocess.Popen(
        ["bash", "-c", f"set -ev\n{text}"],
        cwd=tmp_path,
        env=own,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding=encoding,
        start_new_session=True,
    )
    try:
        output, _ = shell.communicate(timeout=280)
    finally:
        # What a line that failed left running has the shell's process group.
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
    assert shell.returncode == 0, output
    assert (tmp_path / "runs.csv").read_text().count("\n") == 9
    assert (tmp_path / "backup-of-today" / "results.db").exists()
    assert '"accuracy"' in output
