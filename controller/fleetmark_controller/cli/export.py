"""`controller export`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from fleetmark_cli.output import echo
from fleetmark_controller.cli import options
from fleetmark_core.plural import counted

_STANDARD_OUTPUT = "-"
_BINARY = ("parquet", "sqlite")
_SUFFIXES = {"Fleetmark": " (Fleetmark's own form)"}
FORMATS = ("csv", "jsonl", "parquet", "sqlite", "html", "mlperf")


@click.command(name="export")
@click.option("--format", "form", type=click.Choice(FORMATS), required=True)
@click.option(
    "--out",
    metavar="PATH",
    help="File (mlperf: folder) to write; - writes to standard output.",
)
@click.option("--view", default="runs", show_default=True, help="Public view to export.")
@options.campaign
@options.fleet
@click.option("--since", default="", metavar="T", help="Only rows since this ISO 8601 time.")
@click.option("--samples", is_flag=True, help="Export all samples of the runs.")
@click.option(
    "--round",
    "round_name",
    metavar="R",
    help="mlperf: round, v5.1 or v6.1; with --check also v5.0.",
)
@click.option("--division", metavar="D", help="mlperf: division, open or closed.")
@click.option("--submitter", metavar="NAME", help="mlperf: name of the submitter.")
@click.option(
    "--infer",
    "infer_missing",
    is_flag=True,
    help="mlperf: infer scenarios that were not measured, as MLPerf's rules allow.",
)
@click.option("--check", metavar="TREE", help="mlperf: only check the submission in TREE.")
@options.controller
def command(
    form: str,
    out: str | None,
    view: str,
    campaign: str,
    selector: str,
    since: str,
    samples: bool,
    round_name: str | None,
    division: str | None,
    submitter: str | None,
    infer_missing: bool,
    check: str | None,
    address: str | None,
) -> int:
    """Write results to a file, with the same rows in every format, or an MLPerf submission."""
    if check is not None:
        if form != "mlperf" or not round_name:
            raise click.UsageError("--check requires --format mlperf and --round")
        if out or division or submitter or infer_missing:
            raise click.UsageError(
                "--check cannot be combined with --out, --division, --submitter or --infer"
            )
        return _check(check, round_name)
    if not out:
        raise click.UsageError("Missing option '--out'.")
    if form == "mlperf":
        if not (round_name and division and submitter):
            raise click.UsageError("--format mlperf requires --round, --division and --submitter")
        if samples or view != "runs":
            raise click.UsageError("--format mlperf cannot be combined with --samples or --view")
        if out == _STANDARD_OUTPUT:
            raise click.UsageError("--format mlperf writes a folder; give its name with --out")
        chosen = {"campaign": campaign, "selector": selector, "since": since}
        _mlperf(address, out, round_name, division, submitter, chosen, infer_missing=infer_missing)
        return 0
    if round_name or division or submitter or infer_missing:
        raise click.UsageError(
            "--round, --division, --submitter and --infer require --format mlperf"
        )
    from fleetmark_controller.client.export import export_view

    with options.connect(address) as client, _target(out, form) as target:
        count = export_view(
            client,
            form,
            target,
            view=view,
            campaign=campaign,
            selector=selector,
            since=since,
            samples=samples,
        )
    shown = "standard output" if out == _STANDARD_OUTPUT else out
    noun = "configuration" if form == "html" else "row"
    echo(f"Wrote {counted(count, noun)} to {shown}", err=True)
    return 0


@contextmanager
def _target(out: str, form: str) -> Iterator[Path]:
    """Yield the file to write; for standard output a temporary one that is copied at the end."""
    if out != _STANDARD_OUTPUT:
        yield Path(out)
        return
    import shutil
    import sys
    from tempfile import TemporaryDirectory

    if form in _BINARY and sys.stdout.isatty():
        raise click.UsageError(f"--format {form} is binary; redirect standard output to a file")
    with TemporaryDirectory(prefix="fleetmark-export-") as folder:
        path = Path(folder) / f"export.{form}"
        yield path
        sys.stdout.flush()
        with path.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()


def _check(tree: str, round_name: str) -> int:
    """Print the problems of a tree; needs no controller."""
    from fleetmark_controller.client.export_mlperf import check_submission
    from fleetmark_controller.mlperf.problems import FLEETMARK, MLPERF, NOTICE
    from fleetmark_core.errors import ErrorKind

    found = check_submission(Path(tree), round_name)
    counts = dict.fromkeys((MLPERF, FLEETMARK, NOTICE), 0)
    for problem in found.findings:
        counts[problem.level] += 1
        if problem.level == NOTICE:
            echo(f"Notice: {problem}", err=True)
        else:
            echo(f"{problem}{_SUFFIXES.get(problem.level, '')}")
    if found.problems:
        total = len(found.problems)
        count = counted(total, "problem")
        own = f", {counts[FLEETMARK]} of them by Fleetmark's own form" if counts[FLEETMARK] else ""
        echo(f"{tree}: {count} by the rules of round {round_name}{own}", err=True)
        return ErrorKind.SUBMISSION_INVALID.exit_code
    count = "1 result" if len(found.results) == 1 else f"{len(found.results)} results"
    echo(f"{tree} meets MLPerf's rules of round {round_name}: {count}", err=True)
    return 0


def _mlperf(
    address: str | None,
    out: str,
    round_name: str,
    division: str,
    submitter: str,
    chosen: dict[str, str],
    *,
    infer_missing: bool,
) -> None:
    from fleetmark_controller.client.export_mlperf import export_mlperf

    with options.connect(address) as client:
        done = export_mlperf(
            client,
            Path(out),
            round_name=round_name,
            division=division,
            submitter=submitter,
            infer_missing=infer_missing,
            **chosen,
        )
    for title, why in done.left_out:
        echo(f"Left out: {title}: {why}", err=True)
    for result in done.results:
        echo(result)
    echo(
        f"Wrote {counted(len(done.results), 'result')} to {out}, checked by the rules of MLPerf",
        err=True,
    )
