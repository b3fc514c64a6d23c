"""Labeled texts of a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fleetmark_controller.artifacts.labeled_samples.label_files import (
    MAX_SAMPLES,
    class_number,
    line_error,
    read_csv_text,
)
from fleetmark_controller.artifacts.model_import.value_archive import values_error

_COLUMNS = (
    ("text", "sentence", "text1", "sentence1"),
    ("text2", "sentence2"),
    ("label", "class"),
)
"""Names of the column of the text, of a second text, and of the label."""


@dataclass(frozen=True)
class LabeledTexts:
    """Texts with classes."""

    texts: tuple[str, ...]
    seconds: tuple[str, ...]
    """The second text of each pair; empty if the texts are not pairs."""
    labels: tuple[int, ...]


def read_texts(path: Path, classes: Sequence[str] = ()) -> LabeledTexts:
    """Return the texts of a CSV file, with lines `text,label` or `text,text2,label`.

    A first line with `text` and `label` is a header: it gives the order of the columns, and may
    name others, which are not used. A class is its number, from 0, or its name in `classes`.

    Args:
        path: the CSV file.
        classes: names of all classes, in the order of the model's outputs.

    Raises:
        FleetmarkError: USAGE: the file is damaged or too large, has a line with other columns, an
            empty text or an unknown class, or has no text.
    """
    where = str(path)
    numbers = {name: number for number, name in enumerate(classes)}
    reader = csv.reader(io.StringIO(read_csv_text(path), newline=""), strict=True)
    places: tuple[int, ...] | None = None
    width = 0
    texts: list[str] = []
    seconds: list[str] = []
    labels: list[int] = []
    try:
        for row in reader:
            line = reader.line_num
            if not row:
                continue
            if places is None:
                width = len(row)
                found = _header(row)
                places = found or tuple(range(width))
                if len(places) not in (2, 3):
                    what = f"has {width} columns, expected text and label, or text, text2 and label"
                    next_step = "Name the columns in the first line"
                    raise line_error(where, line, what, next_step)
                if found:
                    continue
            if len(row) != width:
                raise line_error(where, line, f"has {len(row)} columns, expected {width}")
            if len(labels) == MAX_SAMPLES:
                raise values_error(where, f"has more than {MAX_SAMPLES:,} texts")
            *parts, label = (row[place] for place in places)
            if not all(part.strip() for part in parts):
                raise line_error(where, line, "has an empty text")
            texts.append(parts[0])
            seconds += parts[1:]
            labels.append(class_number(label.strip(), numbers, where, line))
    except csv.Error as error:
        raise line_error(where, reader.line_num, f"is not CSV: {error}"[:200]) from error
    if not labels:
        raise values_error(where, "has no texts")
    return LabeledTexts(tuple(texts), tuple(seconds), tuple(labels))


def _header(row: Sequence[str]) -> tuple[int, ...]:
    """Return the places of the text, of the second text if there is one, and of the label.

    It is empty if the line is not a header.
    """
    cells = [cell.strip().lower() for cell in row]
    found = [next((cells.index(name) for name in names if name in cells), -1) for names in _COLUMNS]
    text, second, label = found
    if text < 0 or label < 0:
        return ()
    return (text, second, label) if second >= 0 else (text, label)
