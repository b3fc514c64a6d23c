"""The Parquet format, with types, units and meanings of the columns in its schema."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from fleetmark_controller.export.columns import Column
from fleetmark_controller.export.rows import RowSource

_BATCH_ROWS = 20_000


def write_parquet(rows: RowSource, view: str, path: Path) -> int:
    """Write a Parquet file; return the number of rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = schema_of(rows.described(view), view)
    clean = rows.clean(view)
    count = 0
    with path.open("wb") as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        while batch := list(islice(clean, _BATCH_ROWS)):
            columns = [
                pa.array(values, type=field.type)
                for field, values in zip(schema, zip(*batch, strict=True), strict=True)
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema))
            count += len(batch)
    return count


def schema_of(columns: Sequence[Column], view: str) -> Any:
    """Return the schema of a file with these columns of a view."""
    import pyarrow as pa

    return pa.schema([_field(pa, column) for column in columns], metadata={"fleetmark.view": view})


def _field(pa: Any, column: Column) -> Any:
    kind = {"integer": pa.int64(), "real": pa.float64(), "boolean": pa.bool_()}
    metadata = {"unit": column.unit, "meaning": column.meaning, "type": column.type}
    return pa.field(column.name, kind.get(column.type, pa.string()), metadata=metadata)
