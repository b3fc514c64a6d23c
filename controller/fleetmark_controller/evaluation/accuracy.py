"""Recomputes top-1 accuracy from LoadGen's accuracy log and the data set's labels.

`mlperf_log_accuracy.json` is a JSON list of `{"seq_id", "qsl_idx", "data"}`; `data` is what the
program answered: the predicted class as little-endian int32, in hexadecimal.
"""

from __future__ import annotations

import gzip
import json
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from fleetmark_controller.evaluation import thresholds
from fleetmark_controller.loadgen.errors import IngestError, excerpt

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]

METRIC = "top-1"
_HEX_DIGITS = 8
_CIFAR_RECORD = 1 + 3 * 32 * 32
# What zip and gzip raise on damaged, encrypted or exotic files.
_UNREADABLE = (
    OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError
)  # fmt: skip


@dataclass(frozen=True)
class Answers:
    """One entry a line of the accuracy log: index of the sample, and the class that was said."""

    indices: Integers
    classes: Integers


@dataclass(frozen=True)
class Accuracy:
    """`correct` of `total` samples; `expected` is how many the data set has."""

    correct: int
    total: int
    expected: int

    @property
    def value(self) -> float:
        """Share of right answers, 0 to 1."""
        return self.correct / self.total

    @property
    def complete(self) -> bool:
        """Whether every sample of the data set was answered."""
        return self.total == self.expected


def parse_accuracy(path: Path) -> Answers:
    """Read an accuracy log.

    Raises:
        IngestError: it cannot be read, is too large, or is no such log.
    """
    import numpy as np

    try:
        with path.open("rb") as file:
            data = file.read(thresholds.MAX_ACCURACY_BYTES + 1)
        if len(data) > thresholds.MAX_ACCURACY_BYTES:
            raise IngestError(f"larger than {thresholds.MAX_ACCURACY_BYTES >> 20} MiB")
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
    if (
        isinstance(index, bool)
        or not isinstance(index, int)
        or not 0 <= index < thresholds.MAX_LABELS
    ):
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


def load_labels(path: Path, key: str = "y", layout: str = "") -> Integers:
    """The classes of a data set: array `key` of an .npz or .zip file, or an idx file (or gzipped).

    `layout` is the data set's own word: of `cifar` each record begins with its class.

    Raises:
        IngestError: it is neither, or larger than any data set here.
    """
    import numpy as np

    try:
        with path.open("rb") as file:
            magic = file.read(4)
            file.seek(0)
            if layout == "cifar":
                labels = _records(file)
            elif magic[:2] == b"PK":
                labels = _npz(file, key)
            elif magic[:2] == b"\x1f\x8b":
                with gzip.open(file) as unpacked:
                    labels = _idx(cast(BinaryIO, unpacked))
            else:
                labels = _idx(file)
    except _UNREADABLE as error:
        raise IngestError(f"cannot be read: {excerpt(str(error))}", path.name) from error
    except (ValueError, KeyError) as error:
        raise IngestError(f"holds no labels: {excerpt(str(error))}", path.name) from error
    except IngestError as error:
        raise IngestError(error.what, path.name) from error
    if labels.ndim != 1 or not 0 < labels.size <= thresholds.MAX_LABELS:
        raise IngestError(f"labels have the shape {labels.shape}, must be one list", path.name)
    if labels.dtype.kind not in "iu":
        raise IngestError(f"labels are of type {labels.dtype}, must be whole numbers", path.name)
    return labels.astype(np.int64)


def _npz(file: BinaryIO, key: str) -> NDArray[Any]:
    import numpy as np

    with zipfile.ZipFile(file) as archive:
        size = archive.getinfo(f"{key}.npy").file_size
        if size > 8 * thresholds.MAX_LABELS + 4096:
            raise IngestError(f"array {key} is larger than any list of labels")
        with archive.open(f"{key}.npy") as member:
            return np.lib.format.read_array(member, allow_pickle=False)


def _records(file: BinaryIO) -> NDArray[Any]:
    import numpy as np

    data = file.read(thresholds.MAX_RECORD_FILE_BYTES + 1)
    if len(data) > thresholds.MAX_RECORD_FILE_BYTES or len(data) % _CIFAR_RECORD:
        raise IngestError(f"is no file of records of {_CIFAR_RECORD} bytes")
    return np.frombuffer(data, np.uint8)[::_CIFAR_RECORD]


def _idx(file: BinaryIO) -> NDArray[Any]:
    import numpy as np

    header = file.read(8)
    if len(header) < 8 or header[:4] != b"\x00\x00\x08\x01":
        raise IngestError("is neither an .npz file nor an idx file of labels")
    count = int.from_bytes(header[4:], "big")
    if count > thresholds.MAX_LABELS:
        raise IngestError(f"claims {count} labels")
    body = file.read(count + 1)
    if len(body) != count:
        raise IngestError(f"holds {len(body)} labels, claims {count}")
    return np.frombuffer(body, np.uint8)


def top_1(answers: Answers, labels: Integers, expected: int | None = None) -> Accuracy:
    """Compare answers with labels.

    Args:
        answers: what the program said.
        labels: the data set's classes, by index of the sample.
        expected: how many samples LoadGen says there are; all labels by default.

    Raises:
        IngestError: no answer, an index that the data set lacks, or a sample answered twice.
    """
    import numpy as np

    if answers.indices.size == 0:
        raise IngestError("holds no answers", "mlperf_log_accuracy.json")
    largest = int(answers.indices.max())
    if largest >= labels.size:
        raise IngestError(
            f"names sample {largest}, the data set has {labels.size}", "mlperf_log_accuracy.json"
        )
    if np.unique(answers.indices).size != answers.indices.size:
        raise IngestError("answers a sample twice", "mlperf_log_accuracy.json")
    correct = int(np.count_nonzero(labels[answers.indices] == answers.classes))
    return Accuracy(correct, int(answers.indices.size), max(expected or 0, int(labels.size)))
