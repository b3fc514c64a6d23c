"""`controller crosscheck`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from fleetmark_cli.output import echo
from fleetmark_controller.cli import options

if TYPE_CHECKING:
    from fleetmark_controller.client.connection import Client
    from fleetmark_controller.compare.crosscheck import Explanation

EXIT_JOB_FAILED = 1


@click.command(name="crosscheck")
@click.argument("run", metavar="RUN")
@options.as_json
@options.controller
def command(run: str, as_json: bool, address: str | None) -> int:
    """Explain the figure of RUN by its parts, measured on the same device.

    A job with the lockfile and parameters of RUN measures in turn: the runtime's own benchmark
    tool (if the device has it), a bare loop, the loop with the answer, and the harness under
    LoadGen. In Server the figure is the 99th percentile of the latency, and the part of the queue
    is measured at the rate of the run. The job has no figures of its own and is no result.
    """
    from fleetmark_controller.cli import watch
    from fleetmark_controller.compare import crosscheck
    from fleetmark_core.ids import uuid7
    from fleetmark_protos.v1 import jobs_pb2

    request = jobs_pb2.CrosscheckRequest(run_id=run, campaign_id=uuid7())
    with options.connect(address) as client:
        reply = client.call(client.jobs.Crosscheck, request)
        echo(
            f"Campaign {reply.campaign_id}: cross-check of run {reply.run_id} on {reply.device}",
            err=True,
        )
        code = watch.watch_campaign(client, reply.campaign_id, quiet=as_json)
        made = _crosscheck_runs(client, reply.campaign_id)
        if not made:
            return code or EXIT_JOB_FAILED
        then, provenance = _run(client, reply.run_id)
        found, measured = _run(client, made[-1])
        check = measured.get("crosscheck")
        if not isinstance(check, dict):
            echo(f"run {made[-1]} has no cross-check: {_problems(measured)}", err=True)
            return EXIT_JOB_FAILED
        explanation = crosscheck.explain(check, then)
        notes = [*explanation.notes, *_batches(check, provenance)]
    if as_json:
        _print_json(explanation, notes, check, str(then["run_id"]), str(found["run_id"]))
    else:
        _show(explanation, notes)
    return code


def _crosscheck_runs(client: Client, campaign_id: str) -> list[str]:
    columns, rows = client.rows(view="runs", campaign_id=campaign_id, selector="", since="")
    made = [dict(zip(columns, row, strict=True)) for row in rows]
    return [str(row["run_id"]) for row in made if row["official"]]


def _run(client: Client, run_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    from fleetmark_controller.client.connection import values
    from fleetmark_protos.v1 import results_pb2

    found = client.call(client.results.GetRun, results_pb2.GetRunRequest(run_id=run_id))
    figures = dict(zip(found.columns, values(found.row), strict=True))
    return figures, json.loads(found.provenance)


def _problems(provenance: dict[str, Any]) -> str:
    return "; ".join(map(str, provenance.get("problems") or ())) or "the job reported none"


def _batches(check: dict[str, Any], provenance: dict[str, Any]) -> list[str]:
    """Return a note if the run used another batch size than the cross-check."""
    result = provenance.get("program_result")
    calibration = result.get("calibration") if isinstance(result, dict) else None
    size = calibration.get("batch_size") if isinstance(calibration, dict) else None
    if size is None or size == check["batch_size"]:
        return []
    return [f"The batch size is {check['batch_size']}, and that of the run was {size}"]


def _print_json(
    explanation: Explanation, notes: list[str], check: dict[str, Any], run_id: str, made: str
) -> None:
    from fleetmark_cli import output

    output.print_json(
        {
            "run_id": run_id,
            "crosscheck_run_id": made,
            "unit": explanation.unit,
            "figure_us": explanation.figure_us,
            "rows": [asdict(row) for row in explanation.rows],
            "notes": notes,
            "target_qps": check.get("target_qps"),
            "rounds": check["rounds"],
            "native": check["native"],
            "native_unavailable": check["native_unavailable"],
        }
    )


def _show(explanation: Explanation, notes: list[str]) -> None:
    from fleetmark_cli import tables
    from fleetmark_controller.compare.crosscheck import PART

    rows = [
        (
            f"{'+ ' if row.kind == PART else '= '}{row.name}",
            f"{row.us:+.2f}" if row.kind == PART else f"{row.us:.2f}",
            f"{100 * row.share:+.1f} %" if row.kind == PART else f"{100 * row.share:.1f} %",
            None if row.low_us is None else f"{row.low_us:.2f} to {row.high_us:.2f}",
            row.answer or None,
        )
        for row in explanation.rows
    ]
    headings = ("part", explanation.unit, "of the figure", "95 % interval", "answer")
    tables.print_table(headings, rows)
    for note in notes:
        echo(f"{note}.")
