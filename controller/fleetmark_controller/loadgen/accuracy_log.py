"""LoadGen's accuracy log, complete or cut in its middle.

`mlperf_log_accuracy.json` is a JSON list of `{"seq_id", "qsl_idx", "data"}`; `data` is the
program's answer in hexadecimal: the predicted class as little-endian int32, several of them, or
numbers of another type.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetmark_controller.loadgen import limits
from fleetmark_controller.loadgen.errors import IngestError, excerpt
from fleetmark_core.regular_file import open_regular

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]

_WORD_BYTES = 4
_ENTRY = re.compile(
    rb'\{ "seq_id" : \d+, "qsl_idx" : (\d+), "data" : "([0-9A-F]{8})", "token_count" : 0 \},?'
    rb'|\{ "seq_id" : \d+, "qsl_idx" : (\d+), "data" : "([0-9A-F]{8})" \},?'
)
_GAP = b"\n...\n"


@dataclass(frozen=True)
class Answers:
    """Entries of the accuracy log: the index of each sample and its predicted class.

    If an answer is several classes, the best one is first, and `classes` has two dimensions.
    """

    indices: Integers
    classes: Integers


@dataclass(frozen=True)
class Outputs:
    """Entries of the accuracy log: the index of each sample and its whole output."""

    indices: Integers
    values: NDArray[np.float32]
    """Two dimensions: samples, and the elements of the output."""


@dataclass(frozen=True)
class AnswerBytes:
    """Entries of the accuracy log: the index of each sample, and the answers, one after another."""

    indices: Integers
    data: bytes


def parse_bytes(path: Path, size: int | None) -> AnswerBytes:
    """Read an accuracy log whose answers have the same size.

    Args:
        path: the log.
        size: bytes of an answer; None: those of the first one.

    Raises:
        IngestError: the file cannot be read, is too large, or is not such a log.
    """
    return AnswerBytes(*_read_entries(path, size))


def parse_outputs(path: Path, words: int) -> Outputs:
    """Read an accuracy log whose answers are outputs of 32-bit floating-point numbers.

    Args:
        path: the log.
        words: number of elements of an output.

    Raises:
        IngestError: the file cannot be read, is too large, or is not such a log.
    """
    import numpy as np

    indices, data = _read_entries(path, words * _WORD_BYTES)
    return Outputs(indices, np.frombuffer(data, "<f4").reshape(-1, words))


def parse_accuracy(path: Path, words: int = 1) -> Answers:
    """Read an accuracy log.

    Args:
        path: the log.
        words: number of integers of an answer.

    Raises:
        IngestError: the file cannot be read, is too large, or is not an accuracy log.
    """
    import numpy as np

    indices, data = _read_entries(path, words * _WORD_BYTES)
    classes = np.frombuffer(data, "<i4").astype(np.int64)
    return Answers(indices, classes if words == 1 else classes.reshape(-1, words))


def _read_entries(path: Path, size: int | None) -> tuple[Integers, bytes]:
    """Return the index of each entry, and the answers of all, of `size` bytes each.

    Without a size, it is that of the first answer.
    """
    import numpy as np

    try:
        with open_regular(path) as file:
            data = file.read(limits.MAX_ACCURACY_BYTES + 1)
        if len(data) > limits.MAX_ACCURACY_BYTES:
            raise IngestError(f"larger than {limits.MAX_ACCURACY_BYTES >> 20} MiB")
        entries = json.loads(data.decode("utf-8"))
        if not isinstance(entries, list):
            raise IngestError("is no list")
        if size is None:
            size = _first_size(entries)
        pairs = [_pair(entry, number, size) for number, entry in enumerate(entries)]
    except OSError as error:
        raise IngestError(f"cannot be read: {error.strerror}", path.name) from error
    except (ValueError, RecursionError) as error:
        raise IngestError(f"is no JSON: {excerpt(str(error))}", path.name) from error
    except IngestError as error:
        raise IngestError(error.what, path.name) from error
    indices = np.array([index for index, _ in pairs], np.int64)
    return indices, b"".join(answer for _, answer in pairs)


def _first_size(entries: list[Any]) -> int:
    """Return the bytes of the first answer; 1 if it is not valid, which `_pair` refuses."""
    first = entries[0] if entries else None
    data = first.get("data") if isinstance(first, dict) else None
    return max(1, len(data) // 2) if isinstance(data, str) else 1


def _pair(entry: Any, number: int, size: int) -> tuple[int, bytes]:
    if not isinstance(entry, dict):
        raise IngestError(f"entry {number} is {excerpt(entry)}, must be an object")
    index, data = entry.get("qsl_idx"), entry.get("data")
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < limits.MAX_LABELS:
        raise IngestError(f"entry {number}: qsl_idx is {excerpt(index)}")
    digits = 2 * size
    if not isinstance(data, str) or len(data) != digits:
        raise IngestError(f"entry {number}: data is {excerpt(data)}, must be {digits} hex digits")
    try:
        answer = bytes.fromhex(data)
        # Spaces between digits are allowed there.
        if 2 * len(answer) != digits:
            raise ValueError("has spaces")
    except ValueError:
        raise IngestError(f"entry {number}: data is {excerpt(data)}, no hex digits") from None
    return index, answer


def shown_answers(log: bytes) -> tuple[list[tuple[int, str]], bool, str]:
    """Return index and answer of each complete entry, whether nothing was cut, and an error."""
    parts = log.split(_GAP)
    whole = len(parts) == 1
    if len(parts) > 2:
        return [], False, "is cut more than once"
    found: list[tuple[int, str]] = []
    lines = log.strip().split(b"\n")
    if lines[0] != b"[" or lines[-1] != b"]":
        return [], whole, "does not begin and end as LoadGen's accuracy log does"
    for number, part in enumerate(parts):
        lines = part.strip(b"\n").split(b"\n")
        # There may be a partial entry at a cut.
        last = len(lines) - 1
        for place, line in enumerate(lines):
            match = _ENTRY.fullmatch(line)
            if match:
                index, data = (group for group in match.groups() if group is not None)
                found.append((int(index), data.decode()))
                continue
            bracket = line == (b"[" if place == 0 else b"]") and place in (0, last)
            at_cut = not whole and place == (last if number == 0 else 0)
            if not bracket and not at_cut:
                return found, whole, f"has a line that LoadGen does not write: {line[:60]!r}"
    return found, whole, ""
