"""`controller compare`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from fleetmark_cli.output import echo
from fleetmark_controller.cli import options


@click.command(name="compare")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@options.fleet
@click.option(
    "--metric",
    default="",
    metavar="COLUMN",
    help="Compare this column instead of the official figure.",
)
@click.option(
    "--fail-if",
    "fail_if",
    multiple=True,
    metavar="BOUND",
    help="Exit with 1 if this bound is exceeded, such as `slower=3%`.",
)
@click.option("--markdown", metavar="FILE", help="Also write a Markdown table.")
@click.option("--junit", metavar="FILE", help="Also write JUnit XML.")
@options.as_json
@options.controller
def command(
    a: str,
    b: str,
    selector: str,
    metric: str,
    fail_if: tuple[str, ...],
    markdown: str | None,
    junit: str | None,
    as_json: bool,
    address: str | None,
) -> None:
    """Show whether B is faster or slower than A, or whether the difference is not significant.

    A and B are campaigns, or a part of a campaign's results, such as `last:threads=1`. Common
    configurations are compared on each device, then over all devices. Each device needs at least
    four valid runs of both (`schedule --repeat 4`). Interleaved runs are compared in pairs.
    """
    from fleetmark_cli import output, tables
    from fleetmark_controller.compare import render
    from fleetmark_controller.compare.verdict import parse_bound
    from fleetmark_controller.export.atomic import atomic

    bounds = [parse_bound(text) for text in fail_if]
    with options.connect(address) as client:
        matched, verdicts = _compare(client, a, b, selector, metric)
    notes = render.notes(verdicts, matched.only_a, matched.only_b)
    broken = [v for v in verdicts if any(bound.broken_by(v) for bound in bounds)]
    title = f"{b} against {a}"
    if markdown:
        with atomic(Path(markdown)) as path:
            path.write_text(render.markdown(title, verdicts, notes), encoding="utf-8")
    if junit:
        with atomic(Path(junit)) as path:
            path.write_bytes(render.junit(title, verdicts, bounds))
    if as_json:
        output.print_json([render.plain(verdict, bounds) for verdict in verdicts])
    else:
        tables.print_table(
            render.COLUMNS, [render.row(v) for v in verdicts], droppable=("accuracy", "runs")
        )
        for line in notes:
            echo(line)
    if broken:
        names = ", ".join(f"{render.row(v)[0]} ({render.row(v)[4]})" for v in broken[:5])
        more = f" and {len(broken) - 5} more" if len(broken) > 5 else ""
        echo(f"Bound exceeded ({', '.join(fail_if)}): {names}{more}", err=True)
        click.get_current_context().exit(1)


def _compare(client, a: str, b: str, selector: str, metric: str):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    from fleetmark_controller.compare import verdict
    from fleetmark_controller.compare.pairing import match
    from fleetmark_controller.compare.side import parse
    from fleetmark_core.errors import ErrorKind, FleetmarkError

    sides = [parse(a), parse(b)]
    rows = []
    for side in sides:
        columns, found = client.rows(
            view="results", campaign_id=side.campaign, selector=selector, since=""
        )
        every = [dict(zip(columns, row, strict=True)) for row in found]
        rows.append(side.select([row for row in every if row["performance_run_id"]]))
    _check_metric(metric, rows[0][0])
    runs = [{row["performance_run_id"] for row in side} for side in rows]
    if runs[0] & runs[1]:
        raise FleetmarkError(
            ErrorKind.USAGE,
            "A and B have runs in common",
            f"{a} and {b}",
            "Narrow both sides, for example `last:threads=1 last:threads=2`",
        )
    matched = match(sides[0], rows[0], sides[1], rows[1], metric)
    if not matched.found:
        raise FleetmarkError(
            ErrorKind.NOT_FOUND,
            "A and B have no configuration in common on the same device",
            f"{a} and {b}",
            f"A has {matched.only_a[0]}; B has {matched.only_b[0]}",
        )
    return matched, verdict.compare_pairings(matched)


def _check_metric(metric: str, row: Mapping[str, object]) -> None:
    from fleetmark_core.errors import ErrorKind, FleetmarkError
    from fleetmark_core.suggest import hint

    known = [
        name
        for name in row
        if name.startswith("latency_") or name in ("metric_value", "throughput_samples_per_s")
    ]
    if metric and metric not in known:
        raise FleetmarkError(
            ErrorKind.USAGE, f"{metric!r} cannot be compared", "--metric", hint(metric, known)
        )
