"""Text formats: CSV (RFC 4180) and JSON lines."""

from __future__ import annotations

import json
import re
from pathlib import Path

from fleetmark_controller.export.rows import RowSource, Value

# A spreadsheet would evaluate a text cell that begins with one of these as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
# JSON allows these in a string, but many readers treat them as the end of a line.
_ESCAPES = {ord(end): f"\\u{ord(end):04x}" for end in "\u0085\u2028\u2029"}
_ENCODE = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_QUOTED = re.compile(r'[",\r\n]|^\s|\s$')


def write_csv(rows: RowSource, view: str, path: Path) -> int:
    """Write CSV in UTF-8 with a header; return the number of rows.

    Null is an empty cell, an empty text is `""`, and booleans are `true` and `false`. A text that a
    spreadsheet would evaluate as a formula gets a leading apostrophe.
    """
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(csv_cell(name) for name in rows.columns) + "\r\n")
        alone = len(rows.columns) == 1
        for row in rows.clean(view):
            line = ",".join([csv_cell(value) for value in row])
            # A completely empty line would not count as a row.
            file.write((line or '""' if alone else line) + "\r\n")
            count += 1
    return count


def csv_cell(value: Value) -> str:
    """Return a value as a cell of CSV."""
    if value is None:
        return ""
    if isinstance(value, str):
        if value.startswith(_FORMULA):
            value = f"'{value}"
        if not value or _QUOTED.search(value):
            return '"' + value.replace('"', '""') + '"'
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)


def write_jsonl(rows: RowSource, view: str, path: Path) -> int:
    """Write one JSON object per line; return the number of rows.

    Columns of type json hold text, as in every format: `jq '.parameters | fromjson'`.
    """
    count = 0
    names = list(rows.columns)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows.clean(view):
            file.write(json_text(dict(zip(names, row, strict=True))) + "\n")
            count += 1
    return count


def json_text(value: object) -> str:
    """Return a value as JSON on one line, also for readers with more ends of lines than JSON's."""
    return _ENCODE(value).translate(_ESCAPES)
