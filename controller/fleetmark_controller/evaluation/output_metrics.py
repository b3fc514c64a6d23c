"""Recompute the metrics of whole outputs, from LoadGen's accuracy log and the expected outputs."""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetmark_controller.loadgen import limits
from fleetmark_controller.loadgen.accuracy_log import Outputs
from fleetmark_controller.loadgen.errors import IngestError, excerpt
from fleetmark_core.zip_reader import open_zip

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

MAE, COSINE = "mae", "cosine"
OUTPUT_METRICS = (MAE, COSINE)
"""Mean absolute error over all elements, and mean cosine similarity of the samples."""
_LOG = "mlperf_log_accuracy.json"
_ENTRY_BYTES = 100
"""Upper bound of an entry of the accuracy log without its answer."""


@dataclass(frozen=True)
class RecomputedMetric:
    """The metric of an accuracy run, its answers, and the samples of the data set."""

    value: float
    total: int
    expected: int

    @property
    def complete(self) -> bool:
        """Return whether every sample of the data set was answered."""
        return self.total == self.expected


def log_bytes(samples: int, elements: int) -> int:
    """Return the most bytes that an accuracy log with whole outputs has.

    Args:
        samples: number of samples.
        elements: number of floating-point numbers of each output.
    """
    return samples * (8 * elements + _ENTRY_BYTES)


def load_expected(path: Path, key: str) -> Floats:
    """Return the expected outputs of a data set as float32 [samples, elements].

    Raises:
        IngestError: the file is not an .npz file with such an array, or it is too large.
    """
    import numpy as np

    try:
        with open_zip(path) as archive:
            if archive.getinfo(f"{key}.npy").file_size > limits.MAX_ACCURACY_BYTES:
                raise IngestError(f"array {key} is too large for expected outputs", path.name)
            with archive.open(f"{key}.npy") as member:
                found: NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError) as error:
        raise IngestError(f"cannot be read: {excerpt(str(error))}", path.name) from error
    except (ValueError, KeyError, RuntimeError, struct.error) as error:
        what = f"holds no expected outputs: {excerpt(str(error))}"
        raise IngestError(what, path.name) from error
    if found.dtype != np.float32 or found.ndim < 1 or not found.size:
        what = f"expected outputs are {found.dtype} {list(found.shape)}, not float32 [N, …]"
        raise IngestError(what, path.name)
    if not np.isfinite(found).all():
        raise IngestError("has expected outputs that are NaN or infinite", path.name)
    return found.reshape(len(found), -1)


def compare_outputs(
    metric: str, outputs: Outputs, wanted: Floats, expected: int | None = None
) -> RecomputedMetric:
    """Compare outputs with the expected ones.

    The cosine similarity of an output whose elements are all 0 is 0.

    Args:
        metric: one of `OUTPUT_METRICS`.
        outputs: answers of the accuracy log.
        wanted: expected outputs by index of the sample.
        expected: number of samples according to LoadGen. Completeness is measured against this
            number or that of `wanted`, whichever is higher.

    Raises:
        IngestError: there is no answer, an index that the data set lacks, a sample was answered
            twice, or an output is NaN or infinite.
    """
    import numpy as np

    if outputs.indices.size == 0:
        raise IngestError("holds no answers", _LOG)
    largest = int(outputs.indices.max())
    if largest >= len(wanted):
        what = f"names sample {largest}, but the data set has {len(wanted)} samples"
        raise IngestError(what, _LOG)
    if np.unique(outputs.indices).size != outputs.indices.size:
        raise IngestError("answers a sample twice", _LOG)
    found = outputs.values.astype(np.float64)
    bad = ~np.isfinite(found).all(axis=-1)
    if bad.any():
        sample = int(outputs.indices[bad.argmax()])
        raise IngestError(f"has NaN or infinite values in the output of sample {sample}", _LOG)
    own = wanted[outputs.indices].astype(np.float64)
    if metric == MAE:
        value = float(np.abs(found - own).mean())
    elif metric == COSINE:
        lengths = np.linalg.norm(found, axis=-1) * np.linalg.norm(own, axis=-1)
        products = (found * own).sum(axis=-1)
        cosines = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
        value = float(cosines.mean())
    else:
        raise IngestError(f"metric {excerpt(metric)} is not known")
    return RecomputedMetric(value, int(outputs.indices.size), max(expected or 0, len(wanted)))
