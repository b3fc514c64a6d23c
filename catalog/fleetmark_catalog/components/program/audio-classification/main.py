"""Distinguishes speech from other sound with a streaming model under MLPerf LoadGen.

A sample is a clip. The model gets it window by window, each with the end of the previous window,
and carries its state from one window to the next, as it would with a microphone.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from fleetmark_harness.adapters import Adapter
from fleetmark_harness.classify import Classification, open_job
from fleetmark_harness.exit_codes import BAD_JOB, JobError
from fleetmark_harness.job import JobSpec
from fleetmark_harness.run import main


class Listening:
    """Audio clips; the answer is 1 if at least half of the windows are speech, else 0."""

    def __init__(self, job: JobSpec, adapter: Adapter, clips: Classification) -> None:
        settings = job.table("model").get("settings", {})
        try:
            self._window = int(settings["window"])
            self._context = int(settings["context"])
            self._state = str(settings["state"])
            self._state_shape = [int(size) for size in settings["state_shape"]]
            self._threshold = float(settings["threshold"])
        except (KeyError, TypeError, ValueError) as error:
            raise JobError(BAD_JOB, f"model.settings: {error} is missing or wrong") from error
        self.total_count = clips.total_count
        self.performance_count = clips.performance_count
        self.prepare = clips.prepare
        self.score = clips.score
        self._call = adapter.call
        self._input = adapter.input_name

    def run(self, batch: Any) -> Any:
        """Return the speech probability of each window of each clip: [N, windows]."""
        count, length = batch.shape
        # The middle dimension of the state is the number of clips.
        state = np.zeros((self._state_shape[0], count, self._state_shape[2]), np.float32)
        heard = np.zeros((count, self._context), np.float32)
        shares = []
        for start in range(0, length - self._window + 1, self._window):
            window = batch[:, start : start + self._window]
            share, state = self._call(
                {self._input: np.concatenate([heard, window], axis=1), self._state: state}
            )[:2]
            heard = window[:, -self._context :]
            shares.append(share)
        return np.concatenate(shares, axis=1)

    def answer(self, outputs: Any) -> Any:
        """Return 1 for speech and 0 for anything else, per clip."""
        return (np.median(outputs, axis=1) >= self._threshold).astype(np.int32)


def load(job: JobSpec, batch_size: int) -> tuple[Adapter, Listening]:
    """Load the clips and the model."""
    adapter, data = open_job(job, batch_size)
    clips = Classification(job, adapter, data, data.values.shape[1:])
    return adapter, Listening(job, adapter, clips)


if __name__ == "__main__":
    sys.exit(main(load))
