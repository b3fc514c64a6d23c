"""Labels of samples: a CSV file of names and classes, and a list of class names."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from fleetmark_controller.artifacts.model_import.value_archive import values_error
from fleetmark_core.errors import FleetmarkError
from fleetmark_core.regular_file import read_regular
from fleetmark_core.suggest import hint

MAX_SAMPLES = 1_000_000
MAX_CLASSES = 1_000_000
_MAX_BYTES = 64 << 20
_HEADERS = ("file", "filename", "name", "image", "path")
_INDEX = re.compile(r"[0-9]{1,7}")
_Value = TypeVar("_Value")


def read_labels(path: Path, files: Collection[str], classes: Sequence[str] = ()) -> dict[str, int]:
    """Return the class of each file, from lines `name,class`.

    A class is its number, from 0, or its name in `classes`. A first line that begins with `file`
    or `name` is a header.

    Args:
        path: the CSV file.
        files: names of the samples' files.
        classes: names of all classes, in the order of the model's outputs.

    Raises:
        FleetmarkError: USAGE: the file is damaged or too large, names an unknown file or class, or
            leaves a sample without label.
    """
    numbers = {name: number for number, name in enumerate(classes)}
    where = str(path)
    return _read_rows(
        path, files, "class", lambda text, line: class_number(text, numbers, where, line)
    )


def read_texts(path: Path, files: Collection[str]) -> dict[str, str]:
    """Return the text of each file, from lines `name,text`, with quotes around a text with commas.

    Args:
        path: the CSV file, with a header or without.
        files: names of the samples' files.

    Raises:
        FleetmarkError: USAGE: see `read_labels`.
    """
    return _read_rows(path, files, "text", lambda text, _: text)


def _read_rows(
    path: Path, files: Collection[str], what_for: str, value: Callable[[str, int], _Value]
) -> dict[str, _Value]:
    where = str(path)
    known = set(files)
    found: dict[str, _Value] = {}
    reader = csv.reader(io.StringIO(read_csv_text(path), newline=""), strict=True)
    try:
        for row in reader:
            line = reader.line_num
            if not row or (
                line == 1 and row[0].strip().lower() in _HEADERS and row[0] not in known
            ):
                continue
            if len(row) != 2:
                raise line_error(
                    where, line, f"has {len(row)} columns, expected name and {what_for}"
                )
            name, text = row[0].strip(), row[1].strip()
            if name not in known:
                what = f"labels {name[:80]!r}, which is not a file of the data set"
                raise line_error(where, line, what, hint(name[:80], sorted(known)[:1000]))
            if name in found:
                raise line_error(where, line, f"labels {name[:80]!r} a second time")
            found[name] = value(text, line)
            # Each row names another file, so that there are no more rows than files.
    except csv.Error as error:
        raise line_error(where, reader.line_num, f"is not CSV: {error}"[:200]) from error
    missing = sorted(known - set(found))
    if missing:
        raise values_error(
            where, f"has no label for {missing[0][:80]!r} ({len(missing):,} files without label)"
        )
    return found


def read_classes(path: Path) -> tuple[str, ...]:
    """Return the names of all classes, one a line, in the order of the model's outputs.

    Raises:
        FleetmarkError: USAGE: the file is damaged or too large, or a name is empty or not unique.
    """
    where = str(path)
    names = [line.strip() for line in read_csv_text(path).removesuffix("\n").split("\n")]
    if len(names) > MAX_CLASSES:
        raise values_error(where, f"has more than {MAX_CLASSES:,} classes")
    seen: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if not name:
            raise line_error(where, number, "has no name")
        if name in seen:
            what = f"has the name {name[:80]!r} of line {seen[name]} again"
            raise line_error(where, number, what)
        seen[name] = number
    return tuple(names)


def read_tokens(path: Path, longest: int) -> tuple[str, ...]:
    """Return the tokens of a vocabulary, one a line, in the order of the model's outputs.

    What follows a tab is left out, such as the score in a vocabulary of SentencePiece.

    Args:
        path: the file.
        longest: maximum number of characters of a token.

    Raises:
        FleetmarkError: USAGE: the file is damaged or too large, or a token is empty, too long or
            not unique.
    """
    where = str(path)
    lines = read_csv_text(path).replace("\r\n", "\n").removesuffix("\n").split("\n")
    if len(lines) > MAX_CLASSES:
        raise values_error(where, f"has more than {MAX_CLASSES:,} tokens")
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        token = line.partition("\t")[0]
        if not 0 < len(token) <= longest:
            raise line_error(where, number, f"has no token of 1 to {longest} characters")
        if token in seen:
            what = f"has the token {token[:80]!r} of line {seen[token]} again"
            raise line_error(where, number, what)
        seen[token] = number
    return tuple(seen)


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file.

    Raises:
        FleetmarkError: USAGE: the file is damaged or too large.
    """
    lines = read_csv_text(path).replace("\r\n", "\n").removesuffix("\n").split("\n")
    if len(lines) > MAX_SAMPLES:
        raise values_error(str(path), f"has more than {MAX_SAMPLES:,} lines")
    return lines


def class_number(text: str, numbers: Mapping[str, int], where: str, line: int) -> int:
    """Return the number of a class.

    Args:
        text: its number, from 0, or its name.
        numbers: numbers of all classes by name; empty if they have no names.
        where: the file, for messages.
        line: the line, for messages.

    Raises:
        FleetmarkError: USAGE: there is no such class.
    """
    if text in numbers:
        return numbers[text]
    if _INDEX.fullmatch(text) and not (numbers and int(text) >= len(numbers)):
        return int(text)
    next_step = hint(text[:80], list(numbers)[:10_000])
    if not numbers:
        next_step = "Give the number of the class, or the names of all classes with --classes"
    raise line_error(where, line, f"{text[:80]!r} is not a class", next_step)


def read_csv_text(path: Path) -> str:
    """Return the text of a file.

    Raises:
        FleetmarkError: USAGE: the file cannot be read, is too large, or is not UTF-8.
    """
    where = str(path)
    try:
        data = read_regular(path, _MAX_BYTES)
    except OSError as error:
        raise values_error(where, f"cannot be read: {error.strerror or error}") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise values_error(where, "is not text in UTF-8") from error


def line_error(where: str, line: int, what: str, next_step: str = "") -> FleetmarkError:
    """Return the error for a line of a file."""
    error = values_error(f"{where}:{line}", what)
    return FleetmarkError(error.kind, error.what, error.where, next_step)
