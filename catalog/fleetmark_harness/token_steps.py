"""Answers of models that give a token for each step: recognition of speech and text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fleetmark_harness.adapters import Adapter
from fleetmark_harness.exit_codes import BAD_INPUT, JobError
from fleetmark_harness.job import JobSpec
from fleetmark_harness.tensors import RandomTensors

Array = npt.NDArray[Any]
_TOKEN_ENDS = "vocabulary-ends"  # noqa: S105 - name of an array
_TEXT_ENDS = "-ends"


class TokenSteps(RandomTensors):
    """A model and samples with transcripts; the answer is the best token of each step.

    The first output has the scores [steps, tokens] or [tokens, steps], or integers [steps], the
    tokens themselves. Of equal scores, the lower token is chosen. A step with NaN scores has the
    token -1, with which the controller computes no metric.
    """

    def __init__(
        self, job: JobSpec, adapter: Adapter, batch_size: int, arrays: Mapping[str, Array]
    ) -> None:
        """Set up the task; see `LabeledTensors`.

        Raises:
            JobError: BAD_INPUT: there are no transcripts of the samples, or the size of the output
                is not known.
        """
        super().__init__(job, adapter, batch_size, arrays)
        key = str(job.table("dataset")["labels"])
        ends, tokens = arrays.get(f"{key}{_TEXT_ENDS}"), arrays.get(_TOKEN_ENDS)
        if ends is None or tokens is None or len(ends) != self.total_count:
            raise JobError(BAD_INPUT, f"the job's values have no {self.total_count} transcripts")
        self._tokens = len(tokens)
        shape = tuple(int(size) for size in job.table("model").get("output", {}).get("shape", ()))
        if not shape:
            what = "the size of the model's output is not known; import it with the trial"
            raise JobError(BAD_INPUT, what)
        self._shape = shape
        self._axis = token_axis(shape, self._tokens)
        self.answer_shape = tuple(size for axis, size in enumerate(shape) if axis != self._axis)

    def answer(self, outputs: Any) -> Array:
        """Return the best token of each step of each sample.

        Raises:
            JobError: BAD_INPUT: the output has another size than its component says.
        """
        values = np.asarray(outputs)
        batch = self._known_axis or 0
        if batch and values.ndim > batch:
            values = np.moveaxis(values, batch, 0)
        if values.shape[1:] != self._shape:
            what = f"the output {list(values.shape)} has samples of another shape than"
            raise JobError(BAD_INPUT, f"{what} {list(self._shape)}")
        if self._axis is None:
            if values.dtype.kind not in "iu":
                raise JobError(BAD_INPUT, f"the tokens are {values.dtype}, expected integers")
            return np.ascontiguousarray(values, np.int32)
        best = values.argmax(axis=self._axis + 1)
        tokens = best.astype(np.int32)
        if values.dtype.kind == "f":
            # argmax chooses NaN where there is one.
            places = np.expand_dims(best, self._axis + 1)
            chosen = np.take_along_axis(values, places, self._axis + 1)
            tokens[np.isnan(chosen).reshape(tokens.shape)] = -1
        return np.ascontiguousarray(tokens)

    def score(self, answers: Array) -> None:
        """Return no accuracy: the controller computes it from LoadGen's log."""


def token_axis(sizes: tuple[int, ...], tokens: int) -> int | None:
    """Return the axis with the scores of the tokens; None if the output has the tokens themselves.

    Args:
        sizes: shape of the output of a sample.
        tokens: number of tokens.

    Raises:
        JobError: BAD_INPUT: the output does not have such an axis, or both may be it.
    """
    if len(sizes) == 1:
        return None
    if sizes == (tokens, tokens):
        what = f"the output {list(sizes)} of a sample has 2 axes that may be those of the tokens"
        raise JobError(BAD_INPUT, f"{what}; end the graph with ArgMax over the tokens")
    if len(sizes) == 2 and tokens in sizes:
        return 1 if sizes[1] == tokens else 0
    raise JobError(BAD_INPUT, f"the output {list(sizes)} of a sample does not fit {tokens} tokens")
