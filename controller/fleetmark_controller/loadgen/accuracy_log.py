"""LoadGen's accuracy log, complete or cut in its middle.

`mlperf_log_accuracy.json` is a JSON list of `{"seq_id", "qsl_idx", "data"}`; `data` is the
program's answer: the predicted class as little-endian int32, in hexadecimal.
"""

from __future__ import annotations

import json
import re
import struct
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

_HEX_DIGITS = 8
_ENTRY = re.compile(
    rb'\{ "seq_id" : \d+, "qsl_idx" : (\d+), "data" : "([0-9A-F]{8})", "token_count" : 0 \},?'
    rb'|\{ "seq_id" : \d+, "qsl_idx" : (\d+), "data" : "([0-9A-F]{8})" \},?'
)
_GAP = b"\n...\n"


@dataclass(frozen=True)
class Answers:
    """Entries of the accuracy log: the index of each sample and its predicted class."""

    indices: Integers
    classes: Integers


def parse_accuracy(path: Path) -> Answers:
    """Read an accuracy log.

    Raises:
        IngestError: the file cannot be read, is too large, or is not an accuracy log.
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
        pairs = [_pair(entry, number) for number, entry in enumerate(entries)]
    except OSError as error:
        raise IngestError(f"cannot be read: {error.strerror}", path.name) from error
    except (ValueError, RecursionError) as error:
        raise IngestError(f"is no JSON: {excerpt(str(error))}", path.name) from error
    except IngestError as error:
        raise IngestError(error.what, path.name) from error
    table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return Answers(table[:, 0], table[:, 1])


def _pair(entry: Any, number: int) -> tuple[int, int]:
    if not isinstance(entry, dict):
        raise IngestError(f"entry {number} is {excerpt(entry)}, must be an object")
    index, data = entry.get("qsl_idx"), entry.get("data")
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < limits.MAX_LABELS:
        raise IngestError(f"entry {number}: qsl_idx is {excerpt(index)}")
    if not isinstance(data, str) or len(data) != _HEX_DIGITS:
        raise IngestError(
            f"entry {number}: data is {excerpt(data)}, must be {_HEX_DIGITS} hex digits"
        )
    try:
        answer: int = struct.unpack("<i", bytes.fromhex(data))[0]
    except (ValueError, struct.error):
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
