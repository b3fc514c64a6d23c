"""Other batches than the one that a graph fixes, for runtimes that can resize its input.

A resized graph may still contain constants of its own batch. A slice that ends at the first sample,
for example, gives all samples the answer of the first one, and no shape shows it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fleetmark_harness.adapters import Opening
from fleetmark_harness.adapters.fixed_batch import FixedBatch
from fleetmark_harness.adapters.one_by_one import OneByOne
from fleetmark_harness.exit_codes import BAD_INPUT, NO_MEMORY, JobError, code_of

Array = npt.NDArray[Any]
_CHECKED = 2
"""Samples in the batch that is compared; a graph that mixes samples shows it with two."""
_SHARE_OF_SPREAD, _SHARE_OF_MAXIMUM = 0.05, 1e-5
"""A difference is rounding if it is below this share of that between samples, or of the highest
value: kernels round differently for other batch sizes."""


def open_resized(
    opening: Opening,
    graph_batch: int,
    open_at: Callable[[int], Any],
    failures: tuple[type[Exception], ...],
) -> Any:
    """Return an adapter for the batch size of `opening`.

    Args:
        opening: the request.
        graph_batch: the number of samples per call that the graph fixes; 0 if it leaves it open.
        open_at: opens the model for a batch size, which must resize the graph if it has another.
        failures: exceptions of `open_at` and of a call that mean that the graph cannot be resized.

    Returns:
        The model for the whole batch if it answers each sample as the graph's own batch does, else
        one that calls the graph with its own batch.

    Raises:
        Exception: the model cannot be opened, or its memory does not suffice.
    """
    size = opening.batch_size
    if graph_batch in (0, size):
        return open_at(size)
    # The models of the comparison are closed before the one for the job is opened: its memory is
    # measured.
    # Outputs that make no batch, which a JobError reports, cannot be compared.
    caught: tuple[type[Exception], ...] = (*failures, JobError)
    try:
        own = _own_batch(opening, graph_batch, open_at)
        samples = _samples(own, opening, max(1, min(size, _CHECKED)))
        wanted = [np.array(output) for output in own.call({own.input_name: samples})]
        del own
        resized = open_at(len(samples))
        found = [np.array(output) for output in resized.call({resized.input_name: samples})]
        del resized
        if len(wanted) == len(found) and all(map(_is_equal, wanted, found)):
            return open_at(size)
    except caught as error:
        if code_of(error, BAD_INPUT) == NO_MEMORY:
            raise
    return _own_batch(opening, graph_batch, open_at)


def _own_batch(opening: Opening, batch: int, open_at: Callable[[int], Any]) -> Any:
    if batch == 1:
        return OneByOne(open_at(1))
    return FixedBatch(open_at(batch), batch, opening.table.get("output", {}).get("batch_axis"))


def _samples(adapter: Any, opening: Opening, count: int) -> Array:
    """Return samples that any model accepts: an integer may index a table, so it is 0 or 1."""
    shape, dtype = (count, *adapter.input_shape), np.dtype(adapter.dtype)
    generator = np.random.default_rng(0)
    if dtype.kind in "iub":
        return np.asarray(generator.integers(0, 2, shape)).astype(dtype)
    low, high = opening.table.get("input", {}).get("range") or (0.0, 1.0)
    return np.asarray(generator.random(shape) * (high - low) + low).astype(dtype)


def _is_equal(wanted: Array, found: Array) -> bool:
    """Return whether outputs [N, …] differ by no more than rounding."""
    if wanted.shape != found.shape or wanted.dtype != found.dtype:
        return False
    if wanted.dtype.kind not in "iuf" or not wanted.size:
        return np.array_equal(wanted, found)
    one, other = wanted.astype(np.float64), found.astype(np.float64)
    finite = np.isfinite(one)
    if not np.array_equal(finite, np.isfinite(other)):
        return False
    one, other = np.where(finite, one, 0.0), np.where(finite, other, 0.0)
    spread = float(np.abs(one - one[:1]).max())
    limit = max(_SHARE_OF_SPREAD * spread, _SHARE_OF_MAXIMUM * float(np.abs(one).max()))
    if wanted.dtype.kind in "iu":
        limit = max(limit, 1.0)
    return float(np.abs(one - other).max()) <= limit
