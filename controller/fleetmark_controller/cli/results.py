"""`controller results`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from fleetmark_cli.output import echo
from fleetmark_controller.cli import options, power_import
from fleetmark_core.plural import counted


@click.group(name="results")
def command() -> None:
    """Show results, and import results from files."""


@command.command(name="import")
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, exists=True))
@options.as_json
@options.controller
def import_results(file: str, as_json: bool, address: str | None) -> None:
    """Import the results that `agent run-bundle` wrote to FILE. A repeated import has no effect."""
    from fleetmark_cli import output
    from fleetmark_controller.client.bundle_files import send_results

    with options.connect(address) as client:
        reply = send_results(client, Path(file))
    if as_json:
        output.print_json(
            {
                "job_id": reply.job_id,
                "epoch": reply.epoch,
                "records": reply.records,
                "new_records": reply.new_records,
            }
        )
        return
    new = f"{reply.new_records} new" if reply.new_records else "all of them already stored"
    echo(f"job {reply.job_id}: {counted(reply.records, 'record')}, {new}")


command.add_command(power_import.command)


@command.command(name="list")
@options.campaign
@options.fleet
@click.option("--since", default="", metavar="T", help="Only results since this ISO 8601 time.")
@click.option("--runs", is_flag=True, help="List single runs instead of results by configuration.")
@options.as_json
@options.controller
def list_results(
    campaign: str, selector: str, since: str, runs: bool, as_json: bool, address: str | None
) -> None:
    """List results, one row per configuration and device, with performance and accuracy."""
    from fleetmark_cli import tables
    from fleetmark_controller.cli.failed_jobs import failures_note

    with options.connect(address) as client:
        columns, rows = client.rows(
            view="runs" if runs else "results", campaign_id=campaign, selector=selector, since=since
        )
        print_results(columns, list(rows), runs=runs, as_json=as_json)
        if not as_json and (note := failures_note(client, campaign, selector, since)):
            tables.print_note(note)


def print_results(
    columns: list[str], rows: list[tuple[object, ...]], *, runs: bool = False, as_json: bool = False
) -> None:
    """Print a table of the most important columns, or all columns as JSON."""
    from fleetmark_cli import output, tables
    from fleetmark_controller.cli import result_table

    found = [dict(zip(columns, row, strict=True)) for row in rows]
    if as_json:
        output.print_json(found)
        return
    if not found:
        output.sentence(
            "No results. `controller schedule BENCHMARK --wait` runs a benchmark; `controller jobs"
            " list` shows why jobs wait",
            err=True,
        )
        return
    fields = (result_table.run_fields if runs else result_table.result_fields)(found)
    table = result_table.arrange(fields, tables.terminal_width())
    tables.print_table(table.headings, table.rows)
    for note in table.notes:
        tables.print_note(note)


@command.command(name="show")
@click.argument("run")
@click.option("--save", metavar="DIR", help="Also write the raw files of the run to DIR.")
@click.option("--ops", is_flag=True, help="Show only the operators of the model, with their time.")
@options.as_json
@options.controller
def show(run: str, save: str | None, ops: bool, as_json: bool, address: str | None) -> None:
    """Show a RUN with its figures, phases, memory, validity, condition, energy and raw files."""
    from fleetmark_cli import output, tables
    from fleetmark_controller.cli import operator_table, run_summary
    from fleetmark_controller.client.connection import values
    from fleetmark_protos.v1 import results_pb2

    with options.connect(address) as client:
        found = client.call(client.results.GetRun, results_pb2.GetRunRequest(run_id=run))
        figures = dict(zip(found.columns, values(found.row), strict=True))
        files = [
            {"name": f.name, "sha256": f.sha256, "size_bytes": f.size_bytes} for f in found.files
        ]
        if save:
            _save(client, Path(save), files)
    provenance = json.loads(found.provenance)
    text = figures.pop("search", None)
    search = json.loads(str(text)) if text else None
    details = provenance if isinstance(provenance, dict) else {}
    operators = operator_table.parse(figures.pop("operators", None))
    if as_json and ops:
        output.print_json({"run_id": figures["run_id"], "operators": operators})
        return
    if as_json:
        output.print_json(
            {
                **figures,
                "search": search,
                "operators": operators,
                "provenance": provenance,
                "files": files,
            }
        )
        return
    if ops:
        table = operator_table.rows(operators)
        if table:
            tables.print_table(operator_table.HEADINGS, table)
        echo(operator_table.summary(operators))
        return
    shown = {name: value for name, value in figures.items() if name not in run_summary.SUMMARIZED}
    output.print_fields(shown)
    echo()
    for line in (*run_summary.phase_lines(figures), *run_summary.lines(figures, details)):
        echo(line)
    if operators is not None:
        echo(f"Operators  {operator_table.summary(operators)}")
    echo()
    if search is not None:
        _print_search(search)
    tables.print_table(
        ("file", "bytes", "sha256"), [(f["name"], f["size_bytes"], f["sha256"]) for f in files]
    )
    echo("--json prints the whole provenance; --save DIR writes the raw files.")


def _print_search(search: dict[str, Any]) -> None:
    """Print what mode find-performance found, and each of its tests."""
    from fleetmark_cli import tables

    unit = str(search["unit"]).replace("_per_", "/").replace("_", " ")
    found = search["found"]
    limit = search["latency_limit_ms"]
    bound = f" with 99 of 100 within {limit:g} ms" if limit else ""
    echo(
        f"Found: {found:g} {unit}{bound} (test {search['kept']})"
        if found is not None
        else "Found: nothing, because no test was valid"
    )
    rows = [
        (
            number,
            f"{run['target']:.6g}",
            f"{run['measured']:.6g}",
            run["samples"],
            f"{run['percentile_ms']:.4g}",
            "valid" if run["valid"] else run["why"] or "INVALID",
        )
        for number, run in enumerate(search["runs"], 1)
    ]
    headings = ("test", f"asked {unit}", f"reached {unit}", "samples", "percentile ms", "verdict")
    tables.print_table(headings, rows)
    echo()


def _save(client, folder: Path, files: list[dict[str, object]]) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    from fleetmark_core.errors import ErrorKind, FleetmarkError
    from fleetmark_core.received_files import check_distinct, received_path, write_received

    try:
        # Names come from a device, so all of them are checked before the first file is fetched.
        check_distinct(str(file["name"]) for file in files)
        for file in files:
            received_path(folder, str(file["name"]))
        for file in files:
            write_received(folder, {str(file["name"]): client.blob(str(file["sha256"]))})
    except OSError as error:
        raise FleetmarkError(
            ErrorKind.DISK_FULL, f"cannot write: {error.strerror}", str(folder)
        ) from error
