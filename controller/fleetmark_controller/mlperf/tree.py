"""The files of a submission, built from stored runs. Pure, except for reading blobs.

The same runs give the same bytes. Raw logs are those that the device delivered; a long accuracy log
is reduced to its beginning and end, with the sha256 of the whole.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

from fleetmark_controller.mlperf import templates
from fleetmark_controller.mlperf.compliance_check import compare_test
from fleetmark_controller.mlperf.layout import (
    ACCURACY,
    ANSWERS,
    DETAIL,
    IMPLEMENTATION,
    MANIFEST,
    README,
    SUMMARY,
    USER_CONF,
    VERIFIED_ACCURACY,
    VERIFIED_PERFORMANCE,
    Layout,
)
from fleetmark_controller.mlperf.rules import ACCURACY_LOG_BYTES, CLOSED, OPEN
from fleetmark_controller.mlperf.selection import SubmissionEntry
from fleetmark_controller.mlperf.stored_run import ReadBlob, StoredRun
from fleetmark_controller.mlperf.system import Description
from fleetmark_core.digest import sha256_hex

SHOWN_BYTES = 4096
"""Number of bytes kept at each end of a cut accuracy log."""
CUT = b"\n\n...\n\n"
_LOCK_DIGITS = 12
Tree = dict[str, bytes]


def build(
    entries: Sequence[SubmissionEntry],
    descriptions: Mapping[str, Description],
    layout: Layout,
    read: ReadBlob,
) -> Tree:
    """Return all files by path. `descriptions` are those of the entries' systems.

    Raises:
        FleetmarkError: a blob cannot be read.
        KeyError: a run lacks a raw log.
    """
    note = templates.top_readme(entries, layout.round, layout.division, layout.submitter)
    tree: Tree = {README: note.encode()}
    for system in sorted({entry.place.system for entry in entries}):
        tree[layout.system(system)] = _json(descriptions[system].fields)
    for model in sorted({entry.place.model for entry in entries}):
        of_model = [entry for entry in entries if entry.place.model == model]
        tree |= _code(model, of_model, layout, read)
    for entry in entries:
        tree |= _result(entry, layout, read)
    if layout.division == CLOSED:
        tree[layout.calibration] = templates.calibration(entries).encode()
    elif layout.division == OPEN:
        mapping = {entry.place.model: entry.rules.benchmark for entry in entries}
        tree[layout.model_mapping] = _json(dict(sorted(mapping.items())))
    return tree


def _result(entry: SubmissionEntry, layout: Layout, read: ReadBlob) -> Tree:
    place, run = entry.place, entry.performance
    measurements = layout.measurements(place)
    tree: Tree = {
        layout.implementation(place): _json(implementation(run)),
        f"{measurements}/{USER_CONF}": str(run.program_result["loadgen_user_conf"]).encode(),
        f"{measurements}/{README}": templates.readme(entry).encode(),
    }
    tree |= _logs(run, layout.performance(place), read)
    folder = layout.accuracy(place)
    tree |= _logs(entry.accuracy, folder, read)
    log = read(entry.accuracy.files[ANSWERS].sha256)
    tree[f"{folder}/{ANSWERS}"] = cut(log)
    tree[f"{folder}/{ACCURACY}"] = accuracy_text(entry.accuracy, sha256_hex(log)).encode()
    for test, tested in sorted(entry.tests.items()):
        folder = layout.test(place, test)
        tree |= _logs(tested, f"{folder}/performance/run_1", read)
        for name, verdict in compare_test(entry, test, read).items():
            tree[f"{folder}/{name}"] = verdict.text.encode()
        if f"{folder}/{VERIFIED_ACCURACY}" in tree:
            log = read(tested.files[ANSWERS].sha256)
            tree[f"{folder}/accuracy/{ANSWERS}"] = cut(log)
            tree[f"{folder}/accuracy/{ACCURACY}"] = f"hash={sha256_hex(log)}\n".encode()
        assert f"{folder}/{VERIFIED_PERFORMANCE}" in tree
    return tree


def _logs(run: StoredRun, folder: str, read: ReadBlob) -> Tree:
    return {f"{folder}/{name}": read(run.files[name].sha256) for name in (SUMMARY, DETAIL)}


def cut(log: bytes) -> bytes:
    """Return an accuracy log of permitted size: the whole if it is short, else its two ends."""
    if len(log) < ACCURACY_LOG_BYTES:
        return log
    return log[:SHOWN_BYTES] + CUT + log[-SHOWN_BYTES:]


def accuracy_text(run: StoredRun, sha256: str) -> str:
    """Return the text of accuracy.txt: the figure in MLPerf's format, and the log's digest."""
    total = int(str(run.row["sample_count"]))
    good = round(float(str(run.row["accuracy"])) * total)
    return f"accuracy={100 * good / total:.3f}%, good={good}, total={total}\n\nhash={sha256}\n"


def implementation(run: StoredRun) -> dict[str, str]:
    """Return the description of weights and inputs, in MLPerf's fields."""
    model = run.table("model")
    described: Mapping[str, Any] = model.get("mlperf", {})
    precision = str(model.get("precision", "fp32"))
    return {
        "input_data_types": str(described.get("input_data_types", precision)),
        "retraining": str(described.get("retraining", "")),
        "starting_weights_filename": str(
            described.get("starting_weights_filename", run.lock.inputs["model"].name)
        ),
        "weight_data_types": precision,
        "weight_transformations": str(described.get("weight_transformations", "")),
    }


def _code(model: str, entries: Sequence[SubmissionEntry], layout: Layout, read: ReadBlob) -> Tree:
    folder = layout.code_of(model)
    tree: Tree = {f"{folder}/{README}": templates.code_readme(entries[0]).encode()}
    locks = {str(run.row["lockfile_sha256"]): run for entry in entries for _, run in entry.runs()}
    for digest, run in sorted(locks.items()):
        place = f"{folder}/{digest[:_LOCK_DIGITS]}"
        tree[f"{place}/lock.json"] = run.lock.canonical()
        for file in run.lock.program.files:
            tree[f"{place}/program/{file.name}"] = read(file.sha256)
        for wheel in run.lock.environment.wheels:
            if wheel.name.startswith("fleetmark_harness-"):
                tree |= _unpacked(read(wheel.sha256), f"{place}/harness")
    tree[f"{folder}/{MANIFEST}"] = _json(manifest(entries, layout, read))
    return tree


def _unpacked(wheel: bytes, folder: str) -> Tree:
    """Return the modules of a wheel that the controller packed itself, without empty ones."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        names = [name for name in archive.namelist() if name.endswith(".py")]
        return {f"{folder}/{name}": data for name in sorted(names) if (data := archive.read(name))}


def manifest(entries: Sequence[SubmissionEntry], layout: Layout, read: ReadBlob) -> dict[str, Any]:
    """Return the run of each part, with the sha256 of its raw logs as the device delivered them."""
    results = []
    for entry in entries:
        place = entry.place
        folders = {
            "performance": layout.performance(place),
            "accuracy": layout.accuracy(place),
            **{test: f"{layout.test(place, test)}/performance/run_1" for test in entry.tests},
        }
        parts = {
            mode: {
                "run_id": run.run_id,
                "job_id": str(run.row["job_id"]),
                "lock_sha256": str(run.row["lockfile_sha256"]),
                "folder": folders[mode],
                "files": {
                    name: run.files[name].sha256
                    for name in (SUMMARY, DETAIL, ANSWERS)
                    if name in run.files
                },
            }
            for mode, run in entry.runs()
        }
        for mode in ("accuracy", "TEST01"):
            if mode in parts:
                found = dict(entry.runs())[mode]
                log = cut(read(found.files[ANSWERS].sha256))
                parts[mode]["shown_sha256"] = sha256_hex(log)
        results.append(
            {
                "system": place.system,
                "model": place.model,
                "scenario": place.scenario,
                **({"inferred_from": entry.inferred_from} if entry.inferred_from else {}),
                "parts": parts,
            }
        )
    return {
        "format": 1,
        "round": layout.round,
        "division": layout.division,
        "implementation": IMPLEMENTATION,
        "rehearsal": bool(templates.rehearsal(entries[0].performance)),
        "results": results,
    }


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
