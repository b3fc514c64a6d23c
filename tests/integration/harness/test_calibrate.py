"""Warm-up and calibration: the figure that they give, and what they cost."""

from __future__ import annotations

import time
import tracemalloc
from typing import Any

import numpy as np
import pytest

from fleetmark_harness.calibrate import calibrate
from fleetmark_harness.progress import ProgressReporter
from fleetmark_harness.task import Accuracy

SAMPLE_BYTES = 100_000


class Wide:
    """Samples of 100 kB; a call takes two milliseconds."""

    total_count = 200
    performance_count = 200

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.sizes: set[int] = set()

    def prepare(self, indices: Any) -> Any:
        data = np.zeros((len(indices), SAMPLE_BYTES), np.uint8)
        data[:, 0] = indices
        return data

    def run(self, batch: Any) -> Any:
        self.seen.update(batch[:, 0].tolist())
        self.sizes.add(len(batch))
        time.sleep(0.002)
        return batch[:, :2]

    def answer(self, outputs: Any) -> Any:
        return outputs.argmax(axis=-1).astype(np.int32)

    def score(self, answers: Any) -> Accuracy:
        raise AssertionError("not called")


@pytest.mark.parametrize("batch_size", [1, 32, 64, 150, 500])
def test_it_sees_many_samples_and_keeps_few_copies(batch_size: int) -> None:
    task = Wide()
    tracemalloc.start()
    found = calibrate(task, batch_size, 20, 200, ProgressReporter(-1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert task.sizes == {batch_size}
    samples = max(64, min(batch_size, task.total_count))
    # Two batches at least are run, however slow the machine is, and not of the same samples.
    assert len(task.seen) >= min(2 * batch_size, samples)
    assert found.latency_ns >= 2_000_000 and found.batch_size == batch_size
    # The samples, and two batches of them or as much again.
    assert peak < SAMPLE_BYTES * (samples + max(64, 2 * batch_size)) + 2_000_000


def test_the_first_call_the_warm_up_and_the_steady_state_are_told_apart() -> None:
    class Cold(Wide):
        """The first call takes a hundred times as long as the others."""

        def run(self, batch: Any) -> Any:
            time.sleep(0.0 if self.sizes else 0.2)
            return super().run(batch)

    found = calibrate(Cold(), 1, 20, 50, ProgressReporter(-1))
    assert found.first_ns >= 200_000_000
    assert found.warmup_ns >= found.first_ns + (found.warmup_count - 1) * 2_000_000
    assert found.latency_ns <= found.steady_ns < found.first_ns
