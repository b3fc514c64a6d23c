"""Parser of MLPerf's logging format, `:::MLLOG {json}` lines, in untrusted files.

As in MLCommons' submission checker, the first of several lines with one key counts. Unlike there, a
later line with a different value is recorded as a contradiction.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NoReturn

from fleetmark_controller.loadgen import limits
from fleetmark_controller.loadgen.errors import IngestError, excerpt

_MARKER = b":::MLLOG"
# Lines with these keys are facts of the run: a second one must have the same value.
_FACTS = re.compile(r"(result|effective|early_stopping|power|qsl)_\w+|num_errors|loadgen_version")
# In accuracy mode LoadGen processes a data set in parts that fit into the memory of the performance
# set.
_OF_EACH_PART = frozenset({"power_begin", "power_end"})
# Long lists of indices and digests, which no check needs.
_DROPPED = frozenset({"loaded_qsl_set", "loadgen_file_sha1"})


@dataclass
class RawLog:
    """Contents of a log: values and times (ms since its start) by key, and format errors."""

    values: dict[str, Any] = field(default_factory=dict)
    times_ms: dict[str, float] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    error_count: int = 0
    warning_count: int = 0
    bad_lines: int = 0
    first_bad_line: str = ""
    contradictions: tuple[str, ...] = ()


def _lines(file: BinaryIO) -> Iterator[bytes | None]:
    """Yield lines; None for a line that is too long, of which no more is kept than is needed."""
    while line := file.readline(limits.MAX_LINE_BYTES):
        if len(line) < limits.MAX_LINE_BYTES or line.endswith(b"\n"):
            yield line
            continue
        while (rest := file.readline(1 << 20)) and not rest.endswith(b"\n"):
            pass
        yield None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def read(file: BinaryIO) -> RawLog:
    """Read all lines: skip those that are not MLLOG lines, count damaged ones."""
    raw = RawLog()
    contradictions: list[str] = []
    for line in _lines(file):
        if line is None or line.startswith(_MARKER):
            try:
                entry = _entry(line)
            except (ValueError, RecursionError) as error:
                raw.bad_lines += 1
                raw.first_bad_line = raw.first_bad_line or excerpt(f"{error}: {line!r}", 200)
                continue
            key, value = entry["key"], entry["value"]
            _count_flags(raw, entry)
            if key in _DROPPED:
                continue
            if key in _OF_EACH_PART and raw.values.get("effective_test_mode") == "AccuracyOnly":
                # The interval is from the start of the first part to the end of the last one.
                if key not in raw.values or key == "power_end":
                    raw.values[key] = value
                    raw.times_ms[key] = _milliseconds(entry.get("time_ms"))
            elif key not in raw.values:
                raw.values[key] = value
                raw.times_ms[key] = _milliseconds(entry.get("time_ms"))
            elif (
                _FACTS.fullmatch(key)
                and raw.values[key] != value
                and len(contradictions) < limits.MAX_TEXTS
            ):
                contradictions.append(
                    f"{key} is {excerpt(raw.values[key])}, and later {excerpt(value)}"
                )
    raw.contradictions = tuple(contradictions)
    return raw


def _entry(line: bytes | None) -> dict[str, Any]:
    if line is None:
        raise ValueError("line too long")
    entry = json.loads(line[len(_MARKER) :].decode("utf-8"), parse_constant=_refuse_constant)
    if not isinstance(entry, dict) or not isinstance(entry.get("key"), str) or "value" not in entry:
        raise ValueError("no key and value")
    if len(entry["key"]) > limits.MAX_TEXT:
        raise ValueError("key too long")
    return entry


def _count_flags(raw: RawLog, entry: Mapping[str, Any]) -> None:
    metadata = entry.get("metadata")
    if not isinstance(metadata, dict):
        return
    if metadata.get("is_error") is True:
        raw.error_count += 1
        if len(raw.errors) < limits.MAX_TEXTS:
            raw.errors.append(clean_text(entry["value"]))
    if metadata.get("is_warning") is True:
        raw.warning_count += 1


def clean_text(value: object) -> str:
    """Return printable text on one line, of bounded length."""
    text = value if isinstance(value, str) else excerpt(value)
    clean = " ".join(
        "".join(c if c.isprintable() else " " for c in text[: 4 * limits.MAX_TEXT]).split()
    )
    return clean[: limits.MAX_TEXT]


def _milliseconds(value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e15:
        return float(value)
    return math.nan


class Values:
    """Typed, bounded access to the values of a log. A value out of bounds raises IngestError."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def integer(self, key: str, most: int, default: int | None = None) -> int:
        """Return an integer from 0 to `most`; `default` if the key is missing."""
        value = self._values.get(key, default)
        if value is None:
            raise IngestError(f"{key} is missing")
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise IngestError(f"{key} is {excerpt(value)}, must be a whole number from 0 to {most}")
        return value

    def rate(self, key: str) -> float | None:
        """Return a number from 0 to `MAX_PER_SECOND`; None if the key is missing."""
        value = self._values.get(key)
        if value is None:
            return None
        fits = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not fits or not 0 <= value <= limits.MAX_PER_SECOND:
            raise IngestError(
                f"{key} is {excerpt(value)}, must be a number from 0 to {limits.MAX_PER_SECOND:g}"
            )
        return float(value)

    def word(self, key: str, allowed: tuple[str, ...]) -> str:
        """Return one of the allowed words."""
        value = self._values.get(key)
        if value not in allowed:
            found = "missing" if value is None else excerpt(value)
            raise IngestError(f"{key} is {found}, must be one of {', '.join(allowed)}")
        return str(value)

    def text(self, key: str) -> str:
        """Return printable text of bounded length; empty if the key is missing."""
        return clean_text(self._values.get(key, ""))

    def flag(self, key: str) -> bool | None:
        """Return a boolean; None if the key is missing."""
        value = self._values.get(key)
        if value is not None and not isinstance(value, bool):
            raise IngestError(f"{key} is {excerpt(value)}, must be true or false")
        return value
