"""Export of a controller's runs as a submission to MLPerf Inference."""

from __future__ import annotations

import functools
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetmark_controller.client.connection import Client, values
from fleetmark_controller.mlperf import templates
from fleetmark_controller.mlperf.compliance_check import failing, infer
from fleetmark_controller.mlperf.layout import Layout
from fleetmark_controller.mlperf.rules import CHECKED_ROUNDS, DIVISIONS, ROUNDS, FindRules, rules
from fleetmark_controller.mlperf.selection import RunChoice, SubmissionEntry, choose
from fleetmark_controller.mlperf.stored_run import ReadBlob, StoredFile, StoredRun
from fleetmark_controller.mlperf.system import Description, describe
from fleetmark_controller.mlperf.tree import Tree, build
from fleetmark_controller.mlperf.validate import Checked, check_tree, validate
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.lockfile import parse_lockfile
from fleetmark_core.plural import counted
from fleetmark_core.received_files import check_distinct, received_tree_path
from fleetmark_protos.v1 import fleet_pb2, results_pb2

_SUBMITTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
Describe = Callable[[str], tuple[Mapping[str, str], Mapping[str, str]]]
"""Function that returns the operator's and the catalog's description of a device by its name."""


@dataclass(frozen=True)
class Exported:
    """The paths of the results that were written, and the runs left out with their reasons."""

    results: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]


def export_mlperf(
    client: Client,
    out: Path,
    *,
    round_name: str,
    division: str,
    submitter: str,
    campaign: str = "",
    selector: str = "",
    since: str = "",
    infer_missing: bool = False,
) -> Exported:
    """Write the submission of a controller's runs to the new folder `out`.

    With `infer_missing`, scenarios that were not measured are inferred if MLPerf's rules allow it.

    Raises:
        FleetmarkError: USAGE. NOTHING_FITS: no run can be submitted, with the reasons.
            SUBMISSION_INVALID: the result breaks rules. Or an error of the controller.
    """
    runs = stored_runs(client, campaign=campaign, selector=selector, since=since)
    layout = Layout(round_name, division, submitter)
    return write_submission(
        runs,
        descriptions_of(client),
        functools.cache(client.blob),
        layout,
        out,
        infer_missing=infer_missing,
    )


def stored_runs(
    client: Client, *, campaign: str = "", selector: str = "", since: str = ""
) -> list[StoredRun]:
    """Return the runs that a controller has, with their lockfiles and the digests of their files.

    Raises:
        FleetmarkError: an error of the controller.
    """
    columns, rows = client.rows(view="runs", campaign_id=campaign, selector=selector, since=since)
    place = columns.index("run_id")
    return [_stored(client, str(row[place])) for row in rows]


def descriptions_of(client: Client) -> Describe:
    """Return a function that fetches the descriptions of a device from the controller."""

    def describe(device: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
        found = client.call(
            client.fleet.GetDescription, fleet_pb2.GetDescriptionRequest(name=device)
        )
        return dict(found.operator_fields), dict(found.catalog_fields)

    return describe


def check_submission(tree: Path, round_name: str) -> Checked:
    """Check a submission in the folder `tree`, whether or not Fleetmark wrote it.

    Raises:
        FleetmarkError: USAGE: the folder or round does not exist, or the folder cannot be read.
    """
    if round_name not in CHECKED_ROUNDS:
        raise FleetmarkError(
            ErrorKind.USAGE,
            f"unknown round {round_name!r}; rounds are {', '.join(CHECKED_ROUNDS)}",
            "--round",
        )
    if not tree.is_dir():
        raise FleetmarkError(ErrorKind.USAGE, "the folder does not exist", str(tree))
    try:
        return check_tree(tree, round_name)
    except OSError as error:
        raise FleetmarkError(
            ErrorKind.USAGE, f"cannot be read: {error.strerror or error}", str(tree)
        ) from error


def write_submission(
    runs: list[StoredRun],
    describe_system: Describe,
    read: ReadBlob,
    layout: Layout,
    out: Path,
    find_rules: FindRules = rules,
    *,
    infer_missing: bool = False,
) -> Exported:
    """Select runs, build and validate the submission, and only then create `out`.

    Raises:
        FleetmarkError: USAGE. NOTHING_FITS: no run can be submitted. SUBMISSION_INVALID: the result
            breaks rules.
    """
    _check_words(layout, out)
    choice = choose(
        runs,
        layout.round,
        layout.division,
        functools.partial(failing, read),
        find_rules,
        functools.partial(infer, read) if infer_missing else None,
    )
    descriptions = {
        entry.place.system: _describe(entry, describe_system, layout) for entry in choice.entries
    }
    choice = _described(choice, descriptions)
    if not choice.entries:
        reasons = "; ".join(f"{title}: {why}" for title, why in choice.left_out[:5])
        more = len(choice.left_out) - 5
        raise FleetmarkError(
            ErrorKind.NOTHING_FITS,
            f"no run can be submitted ({reasons or 'no runs were found'}"
            + (f"; and {more} more)" if more > 0 else ")"),
            f"{layout.division} division, round {layout.round}",
        )
    tree = build(choice.entries, descriptions, layout, read)
    partial = out.with_name(f".{out.name[:100]}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        _write(tree, partial)
        problems = validate(partial, layout.round, find_rules)
        if problems:
            raise FleetmarkError(
                ErrorKind.SUBMISSION_INVALID,
                f"the submission has {counted(len(problems), 'problem')}:"
                f" {'; '.join(map(str, problems[:5]))}",
                str(out),
                "Nothing was written. Exclude the runs that are named here (--campaign, --fleet)",
            )
        partial.rename(out)
    except OSError as error:
        raise FleetmarkError(
            ErrorKind.USAGE, f"cannot be written: {error.strerror or error}", str(out)
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Exported(tuple(_title(entry) for entry in choice.entries), choice.left_out)


def _title(entry: SubmissionEntry) -> str:
    source = entry.inferred_from
    return f"{entry.place.path} (inferred from {source})" if source else entry.place.path


def _check_words(layout: Layout, out: Path) -> None:
    if layout.round not in ROUNDS or layout.division not in DIVISIONS:
        raise FleetmarkError(
            ErrorKind.USAGE,
            f"rounds are {', '.join(ROUNDS)}, divisions {', '.join(DIVISIONS)}",
        )
    if not _SUBMITTER.fullmatch(layout.submitter):
        raise FleetmarkError(
            ErrorKind.USAGE,
            f"{layout.submitter!r} cannot be the name of a folder: use letters, digits, . _ -",
            "--submitter",
        )
    if out.exists():
        raise FleetmarkError(
            ErrorKind.USAGE, "the folder already exists", str(out), "Give a new folder"
        )
    if not out.parent.is_dir():
        raise FleetmarkError(ErrorKind.USAGE, f"the folder {out.parent} does not exist", str(out))


def _describe(entry: SubmissionEntry, describe_system: Describe, layout: Layout) -> Description:
    run = entry.performance
    given, known = describe_system(run.device)
    return describe(
        run.provenance.get("capabilities") or {},
        known,
        given,
        division=layout.division,
        submitter=layout.submitter,
        framework=templates.framework(run),
        software=templates.software(run),
        notes=templates.rehearsal(run),
    )


def _described(choice: RunChoice, descriptions: Mapping[str, Description]) -> RunChoice:
    """Keep the systems with a complete description.

    The others are left out, with the command that adds the missing fields.
    """
    kept: list[SubmissionEntry] = []
    left_out = list(choice.left_out)
    for entry in choice.entries:
        missing = descriptions[entry.place.system].missing
        if not missing:
            kept.append(entry)
            continue
        fields = " ".join(f'{name}="…"' for name in missing)
        command = f"controller fleet set-system-info {entry.performance.device} {fields}"
        left_out += [
            (run.title, f"the description of its system is incomplete: {command}")
            for _, run in entry.runs()
        ]
    return RunChoice(tuple(kept), tuple(left_out))


def _write(tree: Tree, folder: Path) -> None:
    # Devices, operators and catalogs choose parts of these names.
    check_distinct(tree)
    places = {name: received_tree_path(folder, name) for name in tree}
    for name, data in sorted(tree.items()):
        path = places[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _stored(client: Client, run_id: str) -> StoredRun:
    found = client.call(client.results.GetRun, results_pb2.GetRunRequest(run_id=run_id))
    row: dict[str, Any] = dict(zip(found.columns, values(found.row), strict=True))
    return StoredRun(
        row,
        json.loads(found.provenance),
        parse_lockfile(client.blob(str(row["lockfile_sha256"]))),
        {file.name: StoredFile(file.sha256, file.size_bytes) for file in found.files},
    )
