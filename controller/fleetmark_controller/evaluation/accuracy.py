"""Recompute top-K accuracy from LoadGen's accuracy log and the data set's labels."""

from __future__ import annotations

import gzip
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from fleetmark_controller.evaluation import thresholds
from fleetmark_controller.loadgen import limits
from fleetmark_controller.loadgen.accuracy_log import Answers
from fleetmark_controller.loadgen.errors import IngestError, excerpt
from fleetmark_core.regular_file import open_regular
from fleetmark_core.zip_reader import open_zip

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]

METRIC = "top-1"
_TOP = re.compile(r"top-([1-9][0-9]?)")
_CIFAR_RECORD = 1 + 3 * 32 * 32
# Errors that zipfile and gzip raise for damaged, encrypted or unsupported files.
_UNREADABLE = (
    OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError
)  # fmt: skip


@dataclass(frozen=True)
class RecomputedAccuracy:
    """The counts of an accuracy run: correct answers, answers, and samples of the data set."""

    correct: int
    total: int
    expected: int

    @property
    def value(self) -> float:
        """The fraction of correct answers, 0 to 1."""
        return self.correct / self.total

    @property
    def complete(self) -> bool:
        """Return whether every sample of the data set was answered."""
        return self.total == self.expected


def load_labels(path: Path, key: str = "y", layout: str = "") -> Integers:
    """Return the classes of a data set's samples.

    Args:
        path: An .npz or .zip file with array `key`, or an idx file, which may be gzipped.
        key: Name of the array with the classes.
        layout: The data set's layout. With `cifar`, the file has records that begin with the class.

    Raises:
        IngestError: the file has none of these formats, or is larger than any supported data set.
    """
    import numpy as np

    try:
        with open_regular(path) as file:
            magic = file.read(4)
            file.seek(0)
            if layout == "cifar":
                labels = _records(file)
            elif magic[:2] == b"PK":
                labels = _npz(path, key)
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
    if labels.ndim != 1 or not 0 < labels.size <= limits.MAX_LABELS:
        raise IngestError(
            f"labels have the shape {labels.shape}, expected one dimension", path.name
        )
    if labels.dtype.kind not in "iu":
        raise IngestError(f"labels have type {labels.dtype}, expected integers", path.name)
    return labels.astype(np.int64)


def _npz(path: Path, key: str) -> NDArray[Any]:
    import numpy as np

    with open_zip(path) as archive:
        size = archive.getinfo(f"{key}.npy").file_size
        if size > 8 * limits.MAX_LABELS + 4096:
            raise IngestError(f"array {key} is too large for a list of labels")
        with archive.open(f"{key}.npy") as member:
            return np.lib.format.read_array(member, allow_pickle=False)


def _records(file: BinaryIO) -> NDArray[Any]:
    import numpy as np

    data = file.read(thresholds.MAX_RECORD_FILE_BYTES + 1)
    if len(data) > thresholds.MAX_RECORD_FILE_BYTES or len(data) % _CIFAR_RECORD:
        raise IngestError(f"is not a file of records of {_CIFAR_RECORD} bytes")
    return np.frombuffer(data, np.uint8)[::_CIFAR_RECORD]


def _idx(file: BinaryIO) -> NDArray[Any]:
    import numpy as np

    header = file.read(8)
    if len(header) < 8 or header[:4] != b"\x00\x00\x08\x01":
        raise IngestError("is neither an .npz file nor an idx file of labels")
    count = int.from_bytes(header[4:], "big")
    if count > limits.MAX_LABELS:
        raise IngestError(f"declares {count} labels, more than {limits.MAX_LABELS}")
    body = file.read(count + 1)
    if len(body) != count:
        raise IngestError(f"holds {len(body)} labels, but declares {count}")
    return np.frombuffer(body, np.uint8)


def words_of(metric: str) -> int:
    """Return the number of classes that an answer has for a metric: K of top-K.

    Raises:
        IngestError: there is no such metric.
    """
    match = _TOP.fullmatch(metric)
    if match is None:
        raise IngestError(f"metric {excerpt(metric)} is not known")
    return int(match[1])


def top_k(answers: Answers, labels: Integers, expected: int | None = None) -> RecomputedAccuracy:
    """Compare answers with labels: one of the classes of an answer must be that of the sample.

    Args:
        answers: Classes that the program answered, by sample.
        labels: Classes of the data set, by index of the sample.
        expected: Number of samples according to LoadGen. Completeness is measured against this
            number or the number of labels, whichever is higher.

    Raises:
        IngestError: there is no answer, an index that the data set lacks, a sample was answered
            twice, or an answer has a class twice.
    """
    import numpy as np

    if answers.indices.size == 0:
        raise IngestError("holds no answers", "mlperf_log_accuracy.json")
    largest = int(answers.indices.max())
    if largest >= labels.size:
        raise IngestError(
            f"names sample {largest}, but the data set has {labels.size} samples",
            "mlperf_log_accuracy.json",
        )
    if np.unique(answers.indices).size != answers.indices.size:
        raise IngestError("answers a sample twice", "mlperf_log_accuracy.json")
    classes = answers.classes.reshape(len(answers.indices), -1)
    hits = labels[answers.indices][:, None] == classes
    if (hits.sum(axis=-1) > 1).any():
        raise IngestError("has an answer with a class twice", "mlperf_log_accuracy.json")
    correct = int(np.count_nonzero(hits.any(axis=-1)))
    return RecomputedAccuracy(
        correct, int(answers.indices.size), max(expected or 0, int(labels.size))
    )
