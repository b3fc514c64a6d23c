"""Labels that an import stored, and the checks that all metrics of an accuracy log share."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetmark_controller.loadgen import limits
from fleetmark_controller.loadgen.errors import IngestError, excerpt
from fleetmark_core.zip_reader import open_zip

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOG = "mlperf_log_accuracy.json"
MAX_LABEL_BYTES = 1 << 30
"""Maximum size of an array of labels: that of all values of an import."""
MAX_CLASSES = 1_000_000
_ENTRY_BYTES = 100
"""Upper bound of an entry of the accuracy log without its answer."""


def answers_log_bytes(samples: int, answer_bytes: int) -> int:
    """Return the most bytes that an accuracy log has.

    Args:
        samples: number of samples.
        answer_bytes: size of each answer, which the log has in hexadecimal.
    """
    return samples * (2 * answer_bytes + _ENTRY_BYTES)


def read_labels(path: Path, names: Iterable[str]) -> list[NDArray[Any]]:
    """Return arrays of an archive of labels.

    Raises:
        IngestError: the file is not an .npz file with such arrays, or they are too large.
    """
    import numpy as np

    found: list[NDArray[Any]] = []
    try:
        with open_zip(path) as archive:
            for name in names:
                if archive.getinfo(f"{name}.npy").file_size > MAX_LABEL_BYTES:
                    raise IngestError(f"array {name} is too large for labels", path.name)
                with archive.open(f"{name}.npy") as member:
                    found.append(np.lib.format.read_array(member, allow_pickle=False))
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError) as error:
        raise IngestError(f"cannot be read: {excerpt(str(error))}", path.name) from error
    except (ValueError, KeyError, RuntimeError, struct.error) as error:
        raise IngestError(f"holds no labels: {excerpt(str(error))}", path.name) from error
    return found


def label_axes(path: Path, name: str) -> int:
    """Return the number of axes of an array of labels; 0 if the file has no such array."""
    import numpy as np

    try:
        with open_zip(path) as archive, archive.open(f"{name}.npy") as member:
            if np.lib.format.read_magic(member) != (1, 0):
                return 0
            shape, _, _ = np.lib.format.read_array_header_1_0(member)
    except (OSError, EOFError, ValueError, KeyError, RuntimeError, struct.error, SyntaxError):
        return 0
    except (zlib.error, zipfile.BadZipFile, NotImplementedError):
        return 0
    return len(shape)


def check_indices(indices: NDArray[Any], count: int) -> None:
    """Check the indices of answered samples against the number of samples in the data set.

    Raises:
        IngestError: there is no answer, an index that the data set lacks, or a sample was answered
            twice.
    """
    import numpy as np

    if not indices.size:
        raise IngestError("holds no answers", LOG)
    largest = int(indices.max())
    if largest >= count:
        raise IngestError(f"names sample {largest}, but the data set has {count} samples", LOG)
    if np.unique(indices).size != indices.size:
        raise IngestError("answers a sample twice", LOG)


def fits_log(samples: int, answer_bytes: int) -> bool:
    """Return whether LoadGen's accuracy log has at most the size that is read."""
    return answers_log_bytes(samples, answer_bytes) <= limits.MAX_ACCURACY_BYTES
