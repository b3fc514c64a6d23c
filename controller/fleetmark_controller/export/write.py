"""Entry point of the export: it writes rows to a file in one of the formats."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fleetmark_controller.export.atomic import atomic
from fleetmark_controller.export.columns import VIEWS
from fleetmark_controller.export.parquet import write_parquet
from fleetmark_controller.export.rows import RowSource
from fleetmark_controller.export.samples import WRITERS, SampleSource
from fleetmark_controller.export.sqlite import write_sqlite
from fleetmark_controller.export.tabular import write_csv, write_jsonl
from fleetmark_core.errors import ErrorKind, FleetmarkError

if TYPE_CHECKING:
    from fleetmark_controller.evaluation.samples import Samples

    FetchSamples = Callable[[str], Samples | None]

_WRITERS: Mapping[str, Callable[[RowSource, str, Path], int]] = {
    "csv": write_csv,
    "jsonl": write_jsonl,
    "parquet": write_parquet,
    "sqlite": write_sqlite,
}
FORMATS = (*_WRITERS, "html")


def write(
    format: str,
    rows: RowSource,
    out: Path,
    *,
    view: str = "runs",
    results: RowSource | None = None,
    jobs: RowSource | None = None,
    campaigns: RowSource | None = None,
    samples: FetchSamples | None = None,
    title: str = "",
) -> int:
    """Write `rows` of `view` to `out`, atomically; return the number of rows.

    Args:
        format: one of `FORMATS`.
        rows: the rows; for html, rows of view `runs`.
        out: the file; an existing file is replaced only when the new one is complete.
        view: the view of the rows, which determines the types of the columns.
        results: for html only, rows of view `results`.
        jobs: for html only, rows of view `jobs`.
        campaigns: for html only, rows of view `campaigns`.
        samples: for html only, returns a run's samples by its id, or None if it has none.
        title: for html only, title of the page.

    Raises:
        FleetmarkError: USAGE (format, view, path), DISK_FULL, BAD_MESSAGE (rows do not fit).
    """
    if format not in FORMATS:
        raise _format_error(format, FORMATS)
    if view not in VIEWS:
        raise FleetmarkError(
            ErrorKind.USAGE, f"unknown view {view!r}", next_step=f"Views: {', '.join(VIEWS)}"
        )
    if format == "html":
        from fleetmark_controller.export.report import write_report

        return write_report(
            rows,
            results or RowSource([], []),
            out,
            jobs=jobs,
            campaigns=campaigns,
            samples=samples,
            title=title,
        )
    with atomic(out) as partial:
        return _WRITERS[format](rows, view, partial)


def write_samples(format: str, source: SampleSource, out: Path) -> int:
    """Write the samples of runs to `out`, atomically; return their number.

    Args:
        format: one of `FORMATS` without html.
        source: the runs and their samples.
        out: the file; an existing file is replaced only when the new one is complete.

    Raises:
        FleetmarkError: USAGE (format, path), DISK_FULL, or an error of the source.
    """
    if format not in WRITERS:
        raise _format_error(format, WRITERS)
    with atomic(out) as partial:
        return WRITERS[format](source, partial)


def _format_error(format: str, known: Iterable[str]) -> FleetmarkError:
    return FleetmarkError(
        ErrorKind.USAGE, f"unknown format {format!r}", next_step=f"Formats: {', '.join(known)}"
    )
