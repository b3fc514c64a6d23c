"""The readable texts of a submission."""

from __future__ import annotations

import json
from collections.abc import Sequence

from fleetmark_controller.mlperf.compliance import LATENCIES
from fleetmark_controller.mlperf.layout import IMPLEMENTATION
from fleetmark_controller.mlperf.rules import ROUNDS
from fleetmark_controller.mlperf.selection import SubmissionEntry
from fleetmark_controller.mlperf.stored_run import StoredRun

STAMP = "REHEARSAL"
"""Mark in every readme and system description of a result that is not of the official benchmark."""


def rehearsal(run: StoredRun) -> str:
    """Return the mark and what is not official about a benchmark; empty for an official one."""
    why = str(run.mlperf.get("rehearsal", ""))
    return f"{STAMP}, not an official result: {why}" if why else ""


def framework(run: StoredRun) -> str:
    """Return the runtime with its version and the provider or delegate that it used."""
    row = run.row
    text = f"{row.get('runtime') or 'none'} {row.get('runtime_version') or ''}".strip()
    return f"{text} ({row['accelerator']})" if row.get("accelerator") else text


def software(run: StoredRun) -> str:
    """Return the other software of a run, with versions."""
    result = run.program_result
    parts = [
        f"MLPerf LoadGen {run.row.get('loadgen_version') or 'unknown'}",
        f"Python {result.get('python_version') or run.lock.environment.python_version}",
    ]
    if result.get("numpy_version"):
        parts.append(f"NumPy {result['numpy_version']}")
    parts.append(f"Fleetmark agent {run.row.get('agent_version') or 'unknown'}")
    return ", ".join(parts)


def top_readme(
    entries: Sequence[SubmissionEntry], round_name: str, division: str, submitter: str
) -> str:
    """Return the readme at the root of the tree."""
    notes = sorted({note for entry in entries if (note := rehearsal(entry.performance))})
    lines = [f"# {submitter}: MLPerf Inference {round_name}, {division} division", ""]
    lines += [f"**{note}**\n" for note in notes]
    lines += ["| system | model | scenario | official figure |", "|---|---|---|---|"]
    for entry in entries:
        place = entry.place
        lines.append(
            f"| {place.system} | {place.model} | {place.scenario} | {entry.figure:g} "
            f"({_metric(entry)}) |"
        )
    lines += ["", "Written by Fleetmark from the raw logs of its results store.", ""]
    return "\n".join(lines)


def readme(entry: SubmissionEntry) -> str:
    """Return the readme of one result: what ran, and how to repeat it."""
    run, place = entry.performance, entry.place
    row = run.row
    parameters = json.loads(str(row["parameters"]))
    note = rehearsal(run)
    lines = [f"# {place.system}, {place.model}, {place.scenario}", ""]
    lines += [f"**{note}**", ""] if note else []
    lines += _inferred(entry)
    lines += [
        f"- Device: {row['device']} ({row['board'] or row['arch']}, {row['os']})",
        f"- Model: {row['model']}, {row['precision']}; data set: {row['dataset']}",
        f"- Runtime: {framework(run)}",
        f"- Other software: {software(run)}",
        f"- Parameters: {json.dumps(parameters, sort_keys=True)}",
        f"- Fleetmark's own verdict on the conditions: {row['condition']}{_reasons(run)}",
        "",
        "| part | run |",
        "|---|---|",
        *(f"| {mode} | {found.run_id} |" for mode, found in entry.runs()),
        "",
        "To run it again, with a Fleetmark controller that has the same catalog:",
        "",
        f"    {command(run)}",
        "",
        "`user.conf` is the one that LoadGen read in the performance run; Fleetmark calibrates",
        f"it before each run. The code is in `{place.model}/{IMPLEMENTATION}` of the code folder.",
        "",
    ]
    return "\n".join(lines)


def _metric(entry: SubmissionEntry) -> str:
    """Return the name of the official metric; for an inferred result also its source scenario."""
    if not entry.inferred_from:
        return str(entry.performance.row["metric_name"])
    latency = entry.place.scenario in LATENCIES
    unit = "latency of a query in ms" if latency else "samples per second"
    return f"{unit}, inferred from {entry.inferred_from}"


def _inferred(entry: SubmissionEntry) -> list[str]:
    """Return the lines that mark an inferred result."""
    if not entry.inferred_from:
        return []
    return [
        f"**Inferred from the {entry.inferred_from} result**, as MLPerf's rules allow for edge",
        f"systems: {entry.figure:g} ({_metric(entry)}). The logs are copies of those of",
        f"{entry.inferred_from}.",
        "",
    ]


def _reasons(run: StoredRun) -> str:
    codes = [str(reason["code"]) for reason in json.loads(str(run.row["condition_reasons"]))]
    return f" ({', '.join(codes)})" if codes else ""


def command(run: StoredRun) -> str:
    """Return the command that schedules an equal run."""
    chosen = dict.fromkeys(word for part in run.lock.components for word in part.variations)
    words = ",".join(word for word in chosen if word not in ROUNDS)
    parameters = json.loads(str(run.row["parameters"]))
    parts = [f"controller schedule {run.row['benchmark']} --fleet name={run.device}"]
    parts += [f"--variation {words}"] if words else []
    parts += [f"--param {name}={value}" for name, value in sorted(parameters.items())]
    parts += [f"--scenario {run.scenario} --profile valid --round {run.round}"]
    return " ".join(parts)


def calibration(entries: Sequence[SubmissionEntry]) -> str:
    """Return the document about weight quantization, which the closed division requires."""
    lines = ["# Calibration and quantisation", ""]
    seen = {
        (str(entry.performance.row["model"]), str(entry.performance.row["precision"])): str(
            entry.performance.table("model").get("mlperf", {}).get("weight_transformations", "")
        )
        for entry in entries
    }
    lines += [f"- {model}, {precision}: {how}" for (model, precision), how in sorted(seen.items())]
    notes = sorted({note for entry in entries if (note := rehearsal(entry.performance))})
    lines += ["", *notes, ""]
    return "\n".join(lines)


def code_readme(entry: SubmissionEntry) -> str:
    """Return the readme of the folder with the code of a model."""
    run = entry.performance
    note = rehearsal(run)
    lines = [f"# Code of {entry.place.model}", ""]
    lines += [f"**{note}**", ""] if note else []
    lines += [
        "One folder for each lock (its sha256 begins so): `program/` is what ran, `harness/` the",
        "glue between it, the runtime and LoadGen, `lock.json` names every file that took part by",
        "sha256, wheels and data included. `manifest.json` names the runs and the sha256 of their",
        "raw logs as the device delivered them.",
        "",
    ]
    return "\n".join(lines)
