"""Exports of samples: one row for each, in columns and not row by row.

Python objects for each sample would take more time than the rest of an export: 10 million rows
took 13 times as long as pyarrow needs to write them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetmark_controller.export.columns import VIEWS
from fleetmark_controller.export.parquet import schema_of
from fleetmark_controller.export.sqlite import write_groups
from fleetmark_controller.export.tabular import csv_cell, json_text

if TYPE_CHECKING:
    from fleetmark_controller.evaluation.samples import Samples

    FetchParts = Callable[[str], Iterator[Samples]]

VIEW = "samples"
_COLUMNS = list(VIEWS[VIEW])
_DESCRIBED = list(VIEWS[VIEW].values())
_GROUP_ROWS = 1 << 20
"""Rows of a Parquet row group."""


@dataclass(frozen=True)
class SampleSource:
    """Runs, and where their samples come from in parts."""

    run_ids: Iterable[str]
    fetch: FetchParts

    def parts(self) -> Iterator[tuple[str, int, Samples]]:
        """Yield id of the run, index of the first sample, and latencies in ns [N]."""
        for run_id in self.run_ids:
            first = 0
            for part in self.fetch(run_id):
                yield run_id, first, part
                first += len(part)


def write_parquet(source: SampleSource, path: Path) -> int:
    """Write a Parquet file with the schema of the view; return the number of rows."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = schema_of(_DESCRIBED, VIEW)
    count = 0
    with path.open("wb") as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for run_id, first, part in source.parts():
            indexes = np.arange(first, first + len(part), dtype=np.int64)
            columns = [pa.repeat(run_id, len(part)), pa.array(indexes), pa.array(part)]
            writer.write_batch(pa.record_batch(columns, schema=schema), row_group_size=_GROUP_ROWS)
            count += len(part)
    return count


def write_csv(source: SampleSource, path: Path) -> int:
    """Write CSV as `tabular.write_csv` does; return the number of rows."""

    def around(run_id: str) -> tuple[str, str, str]:
        return f"{csv_cell(run_id)},", ",", "\r\n"

    header = ",".join(_COLUMNS) + "\r\n"
    return _write_lines(source, path, header, around)


def write_jsonl(source: SampleSource, path: Path) -> int:
    """Write JSON lines as `tabular.write_jsonl` does; return the number of rows."""
    run, index, latency = (json.dumps(name) for name in _COLUMNS)

    def around(run_id: str) -> tuple[str, str, str]:
        return f"{{{run}: {json_text(run_id)}, {index}: ", f", {latency}: ", "}\n"

    return _write_lines(source, path, "", around)


def write_sqlite(source: SampleSource, path: Path) -> int:
    """Write a SQLite file as `sqlite.write_sqlite` does; return the number of rows."""
    groups = (
        zip(repeat(run_id), range(first, first + len(part)), part.tolist(), strict=False)
        for run_id, first, part in source.parts()
    )
    return write_groups(groups, VIEW, _DESCRIBED, path)


WRITERS: dict[str, Callable[[SampleSource, Path], int]] = {
    "csv": write_csv,
    "jsonl": write_jsonl,
    "parquet": write_parquet,
    "sqlite": write_sqlite,
}


def _write_lines(
    source: SampleSource,
    path: Path,
    header: str,
    around: Callable[[str], tuple[str, str, str]],
) -> int:
    """Write a line for each sample: its index and latency between three texts of its run."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    count = 0
    with path.open("wb") as file:
        file.write(header.encode())
        for run_id, first, part in source.parts():
            before, between, after = around(run_id)
            indexes = pa.array(np.arange(first, first + len(part), dtype=np.int64))
            texts: list[Any] = [indexes.cast(pa.string()), pa.array(part).cast(pa.string())]
            lines = pc.binary_join_element_wise(before, texts[0], between, texts[1], after, "")
            # Texts lie one behind the other in the array's memory, so that they are a file already.
            file.write(_values(lines))
            count += len(part)
    return count


def _values(lines: Any) -> memoryview:
    """Return the bytes of all texts of a new array."""
    import numpy as np

    _, offsets, values = lines.buffers()
    ends = np.frombuffer(offsets, np.int32)
    return memoryview(values)[: int(ends[len(lines)])]
