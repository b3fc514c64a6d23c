"""Runs MLCommons' verification scripts of TEST01 and TEST04 on the runs of a submission.

    python bench/official_compliance.py --checkers FOLDER --tree OUT --round v6.1 [--python PROGRAM]

The scripts need complete accuracy logs, of which a submission holds only the ends. So the runs that
the tree's manifests name are fetched from the controller (`controller results show RUN --save`) and
laid out as the scripts expect. The scripts run unmodified, from FOLDER/ROUND/compliance (see
official_checker.py), with NumPy in the Python that runs them. They exit with 0 whatever they find,
so their output decides. The exit code is 0 if every test of every result passed, else 1.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

BIN = Path(sys.executable).parent
TESTS = {
    "TEST01": ("Accuracy check pass: True", "Performance check pass: True"),
    "TEST04": ("Performance check pass: True",),
}
"""Lines that the script of each test prints if it passes."""
_ANSWERS = "mlperf_log_accuracy.json"
_SUMMARY, _DETAIL = "mlperf_log_summary.txt", "mlperf_log_detail.txt"
Save = Callable[[str, Path], None]
"""Writes the raw files of a run into a folder."""


@dataclass(frozen=True)
class Verified:
    """The outcome of one test's script for one result."""

    result: str
    test: str
    passed: bool
    lines: tuple[str, ...]

    def show(self) -> None:
        """Print the outcome and the script's last lines; all its lines if it failed."""
        print(f"{self.result} {self.test}: {'passed' if self.passed else 'NOT passed'}")
        for line in self.lines if not self.passed else self.lines[-3:]:
            print(f"    {line}")


def verify(tree: Path, tests: Path, python: str, save: Save) -> Iterator[Verified]:
    """Run every compliance test of every result of a submission; yield each outcome.

    Raises:
        FileNotFoundError: the scripts are missing.
    """
    for test in TESTS:
        if not (tests / test / "run_verification.py").is_file():
            raise FileNotFoundError(f"there is no {tests / test / 'run_verification.py'}")
    for manifest in sorted(tree.glob("*/*/*/*/fleetmark/manifest.json")):
        for result in json.loads(manifest.read_text())["results"]:
            name = f"{result['system']}/{result['model']}/{result['scenario']}"
            runs = {mode: part["run_id"] for mode, part in result["parts"].items()}
            for test in TESTS:
                if test in runs:
                    yield _verify(name, test, runs, tests, python, save)


def _verify(
    name: str, test: str, runs: dict[str, str], tests: Path, python: str, save: Save
) -> Verified:
    with tempfile.TemporaryDirectory(prefix="fleetmark-") as scratch:
        room = Path(scratch)
        for mode in ("performance", "accuracy", test):
            save(runs[mode], room / "raw" / mode)
        results, tested = room / "results", room / "tested"
        for source, files, target in (
            ("performance", (_SUMMARY, _DETAIL), results / "performance" / "run_1"),
            ("accuracy", (_SUMMARY, _DETAIL, _ANSWERS), results / "accuracy"),
            (test, (_SUMMARY, _DETAIL, _ANSWERS), tested),
        ):
            target.mkdir(parents=True)
            for file in files:
                shutil.copyfile(room / "raw" / source / file, target / file)
        script = (tests / test / "run_verification.py").resolve()
        done = subprocess.run(
            [
                *(python, "-B", str(script)),
                *("-r", str(results), "-c", str(tested), "-o", str(room / "out")),
                *(("--dtype", "int32") if test == "TEST01" else ()),
            ],
            cwd=room,
            # One script imports a module of a sibling folder, and not all rounds' scripts add its
            # path.
            env={
                **{"PYTHONDONTWRITEBYTECODE": "1", "PATH": "/usr/bin:/bin"},
                "PYTHONPATH": str((tests.parent / "tools" / "submission").resolve()),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    lines = tuple(line for line in done.stdout.splitlines() if line.strip())
    passed = done.returncode == 0 and all(text in lines for text in TESTS[test])
    return Verified(name, test, passed, lines)


def save_by_command(run_id: str, folder: Path) -> None:
    """Save a run with the `controller` command, under the caller's identity.

    Raises:
        RuntimeError: the command failed.
    """
    done = subprocess.run(
        [str(BIN / "controller"), "results", "show", run_id, "--save", str(folder), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"run {run_id}: {done.stderr.strip()}")


def show_all(found: list[Verified]) -> int:
    """Print the outcomes; return the exit code."""
    for one in found:
        one.show()
    passed = sum(one.passed for one in found)
    print(f"{passed} of {len(found)} compliance tests passed the official scripts")
    return 0 if passed == len(found) else 1


def main() -> int:
    """Run the scripts and print their outcomes."""
    parser = argparse.ArgumentParser(description="Run MLPerf's official compliance scripts.")
    parser.add_argument("--checkers", type=Path, required=True)
    parser.add_argument("--tree", type=Path, required=True)
    parser.add_argument("--round", required=True)
    parser.add_argument("--python", default=sys.executable)
    options = parser.parse_args()
    tests = options.checkers / options.round / "compliance"
    try:
        return show_all(list(verify(options.tree, tests, options.python, save_by_command)))
    except (FileNotFoundError, RuntimeError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    sys.exit(main())
