"""Runs an official, unmodified MLCommons submission checker on an exported tree.

    python bench/official_checker.py --checkers FOLDER --tree OUT --round v6.1 [--python PROGRAM]

FOLDER has a checkout of mlcommons/inference for each round, named after the round: `v5.1` of tag
v5.1.1, whose checker is `tools/submission/submission_checker.py`, and `v6.1`, whose checker is the
folder `tools/submission/submission_checker` and needs PyYAML in the Python that runs it. `--checker
PATH` names such a file or folder directly. No check is skipped. The exit code is the checker's.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

_SHOWN_LINES = 12
_PLACES = ("tools/submission/submission_checker", "tools/submission/submission_checker.py")


@dataclass(frozen=True)
class Checked:
    """The exit code and output of a checker."""

    code: int
    lines: tuple[str, ...]

    @property
    def errors(self) -> tuple[str, ...]:
        """Output lines that report an error."""
        return tuple(line for line in self.lines if "ERROR" in line)

    def show(self) -> None:
        """Print the errors, the last lines and the exit code."""
        print("\n".join([*self.errors, *self.lines[-_SHOWN_LINES:]]))
        print(f"exit code {self.code}")


def find_checker(checkers: Path, round_name: str) -> Path:
    """Return the checker of a round in a folder of checkouts.

    Raises:
        FileNotFoundError: the round has no checkout there.
    """
    for place in _PLACES:
        path = checkers / round_name / place
        if path.exists():
            return path.resolve()
    raise FileNotFoundError(
        f"there is no checkout of mlcommons/inference in {checkers}/{round_name}"
    )


def run_checker(checker: Path, tree: Path, round_name: str, python: str) -> Checked:
    """Run the unmodified checker in its own folder; its files go to a scratch folder."""
    command = [python, "-B"]
    command += ["-m", f"{checker.name}.main"] if checker.is_dir() else [str(checker)]
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(
            [
                *(*command, "--input", str(tree.resolve())),
                *("--version", round_name, "--csv", str(Path(scratch) / "summary.csv")),
            ],
            cwd=checker.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    return Checked(done.returncode, tuple(done.stdout.splitlines()))


def main() -> int:
    """Run the checker; print its errors, last lines and exit code."""
    parser = argparse.ArgumentParser(description="Run an official MLPerf submission checker.")
    parser.add_argument("--checkers", default="")
    parser.add_argument("--checker", default="")
    parser.add_argument("--tree", type=Path, required=True)
    parser.add_argument("--round", required=True)
    parser.add_argument("--python", default=sys.executable)
    options = parser.parse_args()
    if not options.checker and not options.checkers:
        parser.error("name the official checkers: --checkers FOLDER (MLPERF_CHECKERS of make)")
    try:
        checker = Path(options.checker) if options.checker else None
        checker = checker or find_checker(Path(options.checkers), options.round)
    except FileNotFoundError as error:
        parser.error(str(error))
    if not checker.exists() or not options.tree.is_dir():
        parser.error(f"there is no {options.tree if checker.exists() else checker}")
    found = run_checker(checker.resolve(), options.tree, options.round, options.python)
    found.show()
    return found.code


if __name__ == "__main__":
    sys.exit(main())
