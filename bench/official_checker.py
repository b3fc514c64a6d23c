"""Runs an official submission checker of MLCommons on an exported tree, as it is.

    python bench/official_checker.py --checker PATH --tree OUT --round v6.1 [--python PROGRAM]

PATH is what one gets of mlcommons/inference: `tools/submission/submission_checker.py` of tag
v5.1.1, with `log_parser.py` beside it, or the folder `tools/submission/submission_checker` of round
v6.1, which needs PyYAML in the Python that runs it. No check is skipped. The exit code is the
checker's.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

_SHOWN_LINES = 12


def main() -> int:
    """Run it; print its last lines and its exit code."""
    parser = argparse.ArgumentParser(description="Run an official MLPerf submission checker.")
    parser.add_argument("--checker", type=Path, required=True)
    parser.add_argument("--tree", type=Path, required=True)
    parser.add_argument("--round", required=True)
    parser.add_argument("--python", default=sys.executable)
    options = parser.parse_args()
    checker = options.checker.resolve()
    if not checker.exists() or not options.tree.is_dir():
        parser.error(f"there is no {checker if not checker.exists() else options.tree}")
    command = [options.python, "-B"]
    if checker.is_dir():
        command += ["-m", f"{checker.name}.main"]
    else:
        command += [str(checker)]
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(
            [
                *(*command, "--input", str(options.tree.resolve())),
                *("--version", options.round, "--csv", str(Path(scratch) / "summary.csv")),
            ],
            cwd=checker.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    lines = done.stdout.splitlines()
    errors = [line for line in lines if "ERROR" in line]
    print("\n".join([*errors, *lines[-_SHOWN_LINES:]]))
    print(f"exit code {done.returncode}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
