"""Export of rows from a controller to a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fleetmark_controller.client.connection import Client, Value
from fleetmark_controller.export.rows import RowSource
from fleetmark_controller.export.samples import SampleSource
from fleetmark_controller.export.write import write, write_samples

if TYPE_CHECKING:
    from fleetmark_controller.evaluation.samples import Samples


def export_view(
    client: Client,
    form: str,
    out: Path,
    *,
    view: str = "runs",
    campaign: str = "",
    selector: str = "",
    since: str = "",
    samples: bool = False,
) -> int:
    """Write the rows of a view to `out`; return their number.

    With `samples`, every sample of the view's runs is written instead. The form html writes a
    report of runs, results and plots of the samples, for any view.

    Raises:
        FleetmarkError: an error of the controller or of the file.
    """
    wanted = {"campaign_id": campaign, "selector": selector, "since": since}
    if form != "html" and not samples:
        columns, rows = client.rows(view=view, **wanted)
        return write(form, RowSource(columns, rows), out, view=view)
    columns, found = client.rows(view="runs", samples=True, **wanted)
    runs = list(found)
    fetch = _Samples(client, columns, runs)
    if samples:
        return write_samples(form, SampleSource(fetch.runs(), fetch.parts), out)

    def source(view: str, **only: str) -> RowSource:
        names, given = client.rows(view=view, **only)
        return RowSource(names, list(given))

    return write(
        "html",
        RowSource(columns, runs),
        out,
        results=source("results", **wanted),
        jobs=source("jobs", **wanted),
        # Request campaigns of all times: a run may be newer than its campaign. A health check that
        # is requested by its id is not left out.
        campaigns=None if campaign else source("campaigns"),
        samples=fetch,
    )


class _Samples:
    """Reader of the samples of runs, one run at a time."""

    def __init__(self, client: Client, columns: list[str], runs: list[tuple[Value, ...]]) -> None:
        self._client = client
        run, digest = columns.index("run_id"), columns.index("samples_sha256")
        self._digests = {str(row[run]): str(row[digest]) for row in runs if row[digest]}

    def runs(self) -> list[str]:
        return list(self._digests)

    def parts(self, run_id: str) -> Iterator[Samples]:
        from fleetmark_controller.evaluation.samples import decode_parts

        return decode_parts(self._client.blob(self._digests[run_id]))

    def __call__(self, run_id: str) -> Samples | None:
        from fleetmark_controller.evaluation.samples import decode

        digest = self._digests.get(run_id)
        return None if digest is None else decode(self._client.blob(digest))
