"""`fleetmark controller …` and `fleetmark agent …`, for machines with other such commands."""

from __future__ import annotations

import subprocess

import pytest

from tests.support.processes import BIN


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)


def fleetmark(*words: str) -> subprocess.CompletedProcess[str]:
    return run(str(BIN / "fleetmark"), *words)


@pytest.mark.parametrize("program", ["agent", "controller"])
def test_both_programs_are_commands_of_one(program: str) -> None:
    shown, alone = fleetmark(program, "-h"), run(str(BIN / program), "--help")
    assert (shown.returncode, alone.returncode) == (0, 0)
    assert shown.stdout == alone.stdout.replace(
        f"Usage: {program} ", f"Usage: fleetmark {program} ", 1
    )
    assert f"  {program} " in fleetmark().stdout


def test_every_program_prints_its_version_alike() -> None:
    number = fleetmark("--version").stdout.removeprefix("fleetmark ")
    assert number.count(".") == 2
    for program in ("agent", "controller"):
        for done in (fleetmark(program, "--version"), run(str(BIN / program), "--version")):
            assert done.stdout == f"fleetmark {program} {number}"


def test_errors_name_the_words_to_type() -> None:
    done = fleetmark("controler", "jobs")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "fleetmark: no command 'controler'. Did you mean 'controller'?\n"
    done = fleetmark("controller", "jobs", "lsit")
    assert done.returncode == 2
    assert "Try `fleetmark controller jobs --help`" in done.stderr
