"""Runs a whole MLPerf round with real processes, up to the official checker.

    python bench/mlperf_campaign.py --checkers FOLDER --round v6.1 [--division closed] [--seconds S]

It starts a controller and an agent in a scratch folder, schedules a campaign over all scenarios of
edge systems and exports its runs. Fleetmark's validator and the round's official checker examine
the tree. Where there are compliance tests (always in the closed division), MLCommons' verification
scripts examine the runs. FOLDER: see official_checker.py. The exit code is the checker's, or 1 if a
step before it failed.

MLPerf requires 600 seconds per run. With fewer, this is only a rehearsal of the process: the runs
have the profile `quick`, only this script treats them as long ones, and validator and checker must
reject the tree for the requirements that it does not meet. Their messages are printed.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from lab import Lab
from official_checker import find_checker, run_checker
from official_compliance import show_all, verify

from fleetmark_controller.client import export_mlperf
from fleetmark_controller.client.connection import Client
from fleetmark_controller.home.credential_files import admin_file
from fleetmark_controller.mlperf.layout import Layout
from fleetmark_controller.mlperf.rules import Rules, rules
from fleetmark_controller.mlperf.stored_run import StoredRun

FULL_S = 600.0
BENCHMARK = "fashion-mnist-50000"
DEVICE = "bench-01"
OUTPUT = (
    *("status=available", "system_type=edge", "system_name=A machine of a rehearsal"),
    *("host_processors_per_node=1", "host_memory_configuration=unknown: a rehearsal"),
    *("host_storage_type=SSD", "host_networking=loopback", "host_networking_topology=none"),
    *("host_network_card_count=1", "cooling=unknown: a rehearsal"),
)
"""Facts that an operator sets for the device; its agent measures everything else."""


def main() -> int:
    """Run the campaign; return the official checker's exit code."""
    options = _options()
    checker = find_checker(options.checkers, options.round)
    room = options.out or Path(tempfile.mkdtemp(prefix="fleetmark-mlperf-"))
    room.mkdir(parents=True, exist_ok=True)
    print(f"{time.strftime('%H:%M:%S')} round {options.round}, {options.division}; in {room}")
    with Lab(room) as lab:
        lab.start_controller(f'mirror = "{options.mirror}"\n' if options.mirror else "")
        lab.start_agent(DEVICE)
        _measure(lab, options)
        lab.controller("fleet", "set-system-info", DEVICE, *OUTPUT)
        tree = room / "submission"
        _export(lab, tree, options)
        own = _own_verdict(lab, tree, options.round)
        print(f"{time.strftime('%H:%M:%S')} official checker of round {options.round}: {checker}")
        official = run_checker(checker, tree, options.round, options.python)
        official.show()
        tests = 0
        if options.tests:
            scripts = options.checkers / options.round / "compliance"

            def save(run_id: str, folder: Path) -> None:
                lab.controller("results", "show", run_id, "--save", str(folder))

            tests = show_all(list(verify(tree, scripts, options.python, save)))
    return official.code or tests or (own if options.seconds >= FULL_S else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run a round of MLPerf and its official checker.")
    parser.add_argument("--checkers", type=Path, required=True)
    parser.add_argument("--round", required=True)
    parser.add_argument("--division", choices=("open", "closed"), default="open")
    parser.add_argument("--seconds", type=float, default=FULL_S)
    parser.add_argument("--variation", dest="variations", default="int8")
    parser.add_argument("--scenarios", default="SingleStream,MultiStream,Offline")
    parser.add_argument("--tests", action="store_true", help="also TEST01 and TEST04")
    parser.add_argument("--mirror", default="", help="a folder of files named by sha256")
    parser.add_argument("--out", type=Path, help="where all is kept [default: a new folder]")
    parser.add_argument("--python", default=sys.executable)
    options = parser.parse_args()
    options.tests = options.tests or options.division == "closed"
    try:
        find_checker(options.checkers, options.round)
    except FileNotFoundError as error:
        parser.error(str(error))
    return options


def _measure(lab: Lab, options: argparse.Namespace) -> None:
    """Schedule the campaign, and wait until all jobs have ended."""
    words = ["schedule", BENCHMARK, "--fleet", f"name={DEVICE}", "--round", options.round]
    words += ["--variation", options.variations, "--scenario", options.scenarios, "--wait"]
    words += ["--mode", f"performance,accuracy{',compliance' if options.tests else ''}"]
    if options.seconds >= FULL_S:
        words += ["--profile", "valid"]
    else:
        words += ["--param", f"min_duration_s={options.seconds:g}"]
    print(f"{time.strftime('%H:%M:%S')} controller {' '.join(words)}", flush=True)
    # A job that LoadGen calls INVALID makes the command exit with 1; the other runs may suffice.
    lab.controller(*words, may_end_with=(0, 1))
    for row in json.loads(lab.controller("results", "list", "--runs", "--json")):
        figure = row["metric_value"] if row["mode"] != "accuracy" else row["accuracy"]
        print(
            f"    {row['scenario']} {row['mode']}: {figure} {row['metric_name'] or ''} "
            f"{row['loadgen_validity'] or ''} {row['duration_s'] or 0:.0f} s"
        )


def _export(lab: Lab, tree: Path, options: argparse.Namespace) -> None:
    print(f"{time.strftime('%H:%M:%S')} export to {tree}", flush=True)
    if options.seconds >= FULL_S:
        words = ["export", "--format", "mlperf", "--round", options.round, "--out", str(tree)]
        words += ["--division", options.division, "--submitter", "Fleetmark"]
        print(lab.controller(*words), end="")
        return
    layout = Layout(options.round, options.division, "Fleetmark")

    def short(round_name: str, benchmark: str) -> Rules:
        found = rules(round_name, benchmark)
        shortest_ms = int(options.seconds * 1000)
        return replace(found, min_duration_ms=shortest_ms, offline_min_samples=1)

    with Client(lab.address, str(admin_file(lab.folder / "controller"))) as client:
        runs = [_as_if_long(run) for run in export_mlperf.stored_runs(client)]
        output = export_mlperf.descriptions_of(client)
        read = functools.cache(client.blob)
        export_mlperf.write_submission(runs, output, read, layout, tree, short)


def _as_if_long(run: StoredRun) -> StoredRun:
    """Return a quick run relabeled as a valid one; LoadGen's own verdict is kept."""
    return replace(run, row={**run.row, "profile": "valid", "submittable": 1})


def _own_verdict(lab: Lab, tree: Path, round_name: str) -> int:
    words = ("export", "--format", "mlperf", "--round", round_name, "--check", str(tree))
    problems = lab.controller(*words, may_end_with=(0, 4)).splitlines()
    print(f"Our own validator: {f'{len(problems)} problems' if problems else 'accepted'}")
    for problem in problems:
        print(f"    {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
