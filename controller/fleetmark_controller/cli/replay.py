"""`controller replay`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from fleetmark_cli.output import echo
from fleetmark_controller.cli import options

if TYPE_CHECKING:
    from fleetmark_controller.client.connection import Client


@click.command(name="replay")
@click.argument("run", metavar="RUN")
@click.option("--repeat", type=click.IntRange(1, 1000), default=1, help="Number of repetitions.")
@options.as_json
@options.controller
def command(run: str, repeat: int, as_json: bool, address: str | None) -> int:
    """Repeat RUN on the same device, and show the differences.

    The replay uses the same lockfile, that is, the same files by their digests. Other conditions
    of the run (software and governor of the device, version of the agent) are compared.
    """
    from fleetmark_controller.cli import watch
    from fleetmark_core.ids import uuid7
    from fleetmark_protos.v1 import jobs_pb2

    request = jobs_pb2.ReplayRequest(run_id=run, repetitions=repeat, campaign_id=uuid7())
    with options.connect(address) as client:
        reply = client.call(client.jobs.Replay, request)
        echo(f"Campaign {reply.campaign_id}: run {reply.run_id} again on {reply.device}", err=True)
        code = watch.watch_campaign(client, reply.campaign_id, quiet=as_json)
        then, provenance = _run(client, reply.run_id)
        columns, rows = client.rows(
            view="runs", campaign_id=reply.campaign_id, selector="", since=""
        )
        made = [dict(zip(columns, row, strict=True)) for row in rows]
        official = [row for row in made if row["official"]]
        again = [_run(client, str(row["run_id"])) for row in official]
        if not again:
            return code
        _show(then, provenance, again, as_json)
        return code


def _run(client: Client, run_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    from fleetmark_controller.client.connection import values
    from fleetmark_protos.v1 import results_pb2

    found = client.call(client.results.GetRun, results_pb2.GetRunRequest(run_id=run_id))
    figures = dict(zip(found.columns, values(found.row), strict=True))
    return figures, json.loads(found.provenance)


def _show(
    then: dict[str, Any],
    provenance: dict[str, Any],
    again: list[tuple[dict[str, Any], dict[str, Any]]],
    as_json: bool,
) -> None:
    from fleetmark_cli import output, tables
    from fleetmark_controller.compare import replay_diff

    now_rows = [row for row, _ in again]
    figures = replay_diff.figures(then, now_rows)
    # All replays ran on the same device within minutes, so the last one represents them.
    changed = replay_diff.differences(provenance, again[-1][1])
    if as_json:
        output.print_json(
            {
                "run_id": then["run_id"],
                "replays": [row["run_id"] for row, _ in again],
                "figures": [
                    {"name": n, "then": t, "now_least": low, "now_most": high, "change": change}
                    for n, t, low, high, change in figures
                ],
                "energy_source": {
                    "then": then["energy_source"],
                    "now": replay_diff.energy_sources(now_rows),
                },
                "provenance": [{"name": n, "then": t, "now": now} for n, t, now in changed],
            }
        )
        return
    rows = [
        (name, was, low, high, None if change is None else f"{100 * change:+.1f} %")
        for name, was, low, high, change in figures
    ]
    heading = "now" if len(again) == 1 else "now, least"
    if len(again) == 1:
        rows = [(name, was, low, change) for name, was, low, _, change in rows]  # type: ignore[misc]
        tables.print_table(("figure", "then", heading, "change"), rows)
    else:
        tables.print_table(("figure", "then", heading, "most", "change"), rows)
    if notice := replay_diff.energy_notice(then, now_rows):
        echo(notice)
    verdicts = [(name, then[name], again[-1][0][name]) for name in replay_diff.VERDICTS]
    tables.print_table(("verdict", "then", "now"), verdicts)
    if changed:
        tables.print_table(("ran on", "then", "now"), changed)
    else:
        echo("No recorded condition has changed: lockfile, software, device, agent.")
    echo("One run is weak evidence: `controller compare` shows which differences are significant.")
