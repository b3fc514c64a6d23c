"""Both commands in a Latin-1 locale, in plain ASCII, and for a user without a home folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import noop_benchmark
from tests.support.processes import BIN, Fleet, environment, fleet_in

pytestmark = pytest.mark.e2e
LOCALES = {
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}
LISTINGS = [
    *(["fleet", "list"], ["fleet", "list", "--json"], ["fleet", "show", "bench"]),
    *(
        ["jobs", "list"],
        ["campaign", "show", "last"],
        ["results", "list"],
        ["results", "list", "--runs"],
    ),
    *(
        ["catalog", "list"],
        ["token", "list"],
        ["operator", "list"],
        ["audit", "show"],
        ["audit", "verify"],
    ),
    ["schedule", noop_benchmark.NAME, "--dry-run"],
    ["schedule", "fashion-mnist", "--dry-run"],
]
REASON = "Lüfter → Ω 漢"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet with a result, and with names that no ASCII stream can write."""
    folder = tmp_path_factory.mktemp("fleet")
    with fleet_in(folder) as made:
        made.start_controller("--catalog", str(noop_benchmark.make_catalog(folder / "catalog")))
        made.start_agent("bench", "--label", f"place={REASON}")
        done = made.run(
            *("schedule", noop_benchmark.NAME, "--wait", "--param", f"marks={made.marks}")
        )
        assert done.returncode == 0, done.stderr
        assert made.run("fleet", "drain", "bench", "--reason", REASON).returncode == 0
        yield made


def run(
    program: str, words: list[str], variables: dict[str, str]
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [str(BIN / program), *words], env=variables, capture_output=True, check=False, timeout=120
    )


@pytest.mark.parametrize("name", LOCALES)
def test_every_listing_is_written_in_every_locale(name: str, fleet: Fleet) -> None:
    encoding = "ascii" if name == "C" else name
    variables = {**fleet.environment(), **LOCALES[name]}
    for words in LISTINGS:
        done = run("controller", words, variables)
        output = (done.stdout + done.stderr).decode(encoding)
        assert done.returncode == 0, (words, output)
        assert "Traceback" not in output
        if "--json" in words:
            (device,) = json.loads(done.stdout)
            assert device["labels"]["place"] == REASON
    drained = run("controller", ["fleet", "show", "bench"], variables).stdout.decode(encoding)
    assert ("Lüfter" if encoding == "latin-1" else "Lufter") + " -> " in drained


@pytest.mark.parametrize("name", LOCALES)
def test_the_agents_commands_are_written_in_every_locale(name: str, fleet: Fleet) -> None:
    variables = {**environment(), **LOCALES[name]}
    home = str(fleet.folder / "bench")
    for words in (["status"], ["capabilities"], ["doctor"], ["status", "--json"]):
        done = run("agent", [*words, "--home", home], variables)
        output = (done.stdout + done.stderr).decode("ascii" if name == "C" else name)
        assert done.returncode == 0 and "Traceback" not in output, (words, output)
    done = run("agent", ["start", "--name", REASON, "--home", home], variables)
    assert done.returncode == 2 and b"is not a name" in done.stderr


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv"
)
@pytest.mark.parametrize(
    ("program", "words", "advice"),
    [
        ("agent", ["start"], "Set HOME or FLEETMARK_AGENT_HOME, or name the agent's folder"),
        ("agent", ["status"], "Set HOME or FLEETMARK_AGENT_HOME, or name the agent's folder"),
        (
            "controller",
            ["serve"],
            "Set HOME or FLEETMARK_CONTROLLER_HOME, or name the controller's",
        ),
        ("controller", ["fleet", "list"], "Set HOME or FLEETMARK_CONTROLLER_HOME"),
        ("controller", ["fleet", "list", "--credentials", "~/x"], "give '~/x' without ~"),
    ],
    ids=["start", "status", "serve", "fleet list", "tilde"],
)
def test_a_user_without_a_home_folder_gets_one_line(
    program: str, words: list[str], advice: str
) -> None:
    variables = environment()
    del variables["HOME"]
    done = subprocess.run(
        [
            *("setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"),
            *(str(BIN / program), *words),
        ],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if "Permission denied" in done.stderr and "HOME" not in done.stderr:
        pytest.skip("this checkout is closed to other users")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert "HOME is not set, and user 54321 has no entry in the password database" in line
    assert advice in line


def test_without_a_home_folder_named_places_suffice(fleet: Fleet, tmp_path: Path) -> None:
    variables = fleet.environment()
    del variables["HOME"]
    command = [str(BIN / "controller"), "fleet", "list", "--credentials", fleet.credentials]
    if os.geteuid() == 0 and shutil.which("setpriv"):
        # A user without an entry in the password database, who may read root's files all the same.
        command = [
            *(
                "setpriv",
                "--reuid=54321",
                "--inh-caps=+dac_override",
                "--ambient-caps=+dac_override",
            ),
            *command,
        ]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "bench" in done.stdout
