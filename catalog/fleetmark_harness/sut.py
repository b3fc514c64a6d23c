"""Systems under test: they answer LoadGen's queries and time each sample themselves.

LoadGen's default logs hold percentiles only, and its trace costs 660 bytes a query. Here a sample
costs 8 bytes in an array that exists before the run.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fleetmark_harness.exits import end_now
from fleetmark_harness.task import Task


class Samples:
    """Durations in nanoseconds, in the order of completion."""

    def __init__(self, expected: int) -> None:
        """Room for `expected` durations; it doubles if that was too few."""
        self._grow(np.zeros(max(expected, 1024), np.int64))
        self.count = 0

    def _grow(self, array: npt.NDArray[np.int64]) -> None:
        self._array = array
        # Setting an item through a memoryview costs half of what it does through the array.
        self._view = memoryview(array.data)

    def add(self, duration_ns: int) -> None:
        """One more."""
        count = self.count
        if count == len(self._array):
            self._grow(np.concatenate([self._array, np.zeros_like(self._array)]))
        self._view[count] = duration_ns
        self.count = count + 1

    def add_many(self, duration_ns: int, count: int) -> None:
        """`count` samples that ended together."""
        while self.count + count > len(self._array):
            self._grow(np.concatenate([self._array, np.zeros_like(self._array)]))
        self._array[self.count : self.count + count] = duration_ns
        self.count += count

    def values(self) -> npt.NDArray[np.int64]:
        """All of them."""
        return self._array[: self.count]


class Library:
    """The query sample library: samples that are loaded, ready for the model."""

    def __init__(self, task: Task) -> None:
        """Nothing is loaded yet."""
        self._task = task
        self._slots = np.zeros(task.total_count, np.int64)
        self.data: npt.NDArray[Any] = np.zeros(0)
        self.singles: list[Any] = []
        """Batches of one loaded sample each, by the sample's index: made before they are needed."""

    def load(self, indices: Sequence[int]) -> None:
        """LoadGen's callback before a run, untimed."""
        try:
            wanted = np.fromiter(indices, np.int64)
            self.data = self._task.prepare(wanted)
            self._slots[wanted] = np.arange(len(wanted))
            # An item of a list is quicker than a slice of an array.
            self.singles = [None] * len(self._slots)
            for slot, index in enumerate(wanted.tolist()):
                self.singles[index] = self.data[slot : slot + 1]
        except BaseException as error:
            end_now(error, "loading samples")

    def unload(self, indices: Sequence[int]) -> None:
        """LoadGen's callback after a run."""
        self.data, self.singles = np.zeros(0), []

    def take(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """A batch of loaded samples."""
        return self.data[self._slots[indices]]


class Sut(Protocol):
    """What LoadGen calls, and what it leaves behind."""

    samples: Samples
    query_count: int

    def issue(self, query: Sequence[Any]) -> None:
        """LoadGen's callback for a query."""
        ...

    def close(self) -> None:
        """End what the SUT started; nothing is issued any more."""
        ...


class InlineSut:
    """Answers in LoadGen's own thread: SingleStream, where the next query waits for the answer."""

    def __init__(
        self,
        loadgen: Any,
        task: Task,
        library: Library,
        answers: npt.NDArray[np.int32],
        expected: int,
    ) -> None:
        """`answers` receives the last answer to each sample, by index."""
        self.samples = Samples(expected)
        self.query_count = 0
        self._run, self._answer = task.run, task.answer
        self._response = loadgen.QuerySampleResponse
        self._complete = loadgen.QuerySamplesComplete
        self._clock = time.perf_counter_ns
        self._library = library
        self._answers = answers
        # LoadGen copies the answer inside QuerySamplesComplete; until then it must stay alive.
        self._buffer = np.zeros(1, np.int32)
        self._address = self._buffer.ctypes.data

    def issue(self, query: Sequence[Any]) -> None:
        """Run, answer, complete.

        LoadGen's clock runs until the samples are complete: what can be looked up or written down
        before or after is not done within.
        """
        try:
            run, to_answer, buffer, clock = self._run, self._answer, self._buffer, self._clock
            for sample in query:
                start = clock()
                index = sample.index
                buffer[0] = answer = to_answer(run(self._library.singles[index]))[0]
                response = self._response(sample.id, self._address, 4)
                end = clock()
                self._complete([response])
                self.samples.add(end - start)
                self._answers[index] = answer
            self.query_count += 1
        except BaseException as error:
            end_now(error, "answering a query")

    def close(self) -> None:
        """Nothing was started."""


class QuerySut(InlineSut):
    """Answers a whole query by one call of the model: MultiStream, whose queries have 8 samples."""

    def issue(self, query: Sequence[Any]) -> None:
        """Run, answer, complete; all samples of the query take as long as it does."""
        try:
            start = self._clock()
            indices = np.fromiter((sample.index for sample in query), np.int64, len(query))
            answers = np.ascontiguousarray(
                self._answer(self._run(self._library.take(indices))), np.int32
            )
            address, response = answers.ctypes.data, self._response
            responses = [
                response(sample.id, address + 4 * place, 4) for place, sample in enumerate(query)
            ]
            end = self._clock()
            # LoadGen copies the answers before this returns.
            self._complete(responses)
            self.samples.add_many(end - start, len(responses))
            self._answers[indices] = answers
            self.query_count += 1
        except BaseException as error:
            end_now(error, "answering a query")


class WorkerSut:
    """Answers in one long-lived thread: Offline and Server, which issue before it is answered.

    A thread per query crashes LoadGen in accuracy mode; one that lives as long as the run does not.
    """

    def __init__(
        self,
        loadgen: Any,
        task: Task,
        library: Library,
        answers: npt.NDArray[np.int32],
        expected: int,
        batch_size: int,
    ) -> None:
        """The worker waits for its first query."""
        self.samples = Samples(expected)
        self.query_count = 0
        self._loadgen = loadgen
        self._task = task
        self._library = library
        self._answers = answers
        self._batch_size = batch_size
        self._queue: queue.SimpleQueue[
            tuple[int, npt.NDArray[np.uint64], npt.NDArray[np.int64]] | None
        ] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="sut", daemon=True)
        self._thread.start()

    def issue(self, query: Sequence[Any]) -> None:
        """Copy the ids out of LoadGen's list, which dies with this call, and hand them over."""
        try:
            start = time.perf_counter_ns()
            count = len(query)
            ids = np.fromiter((sample.id for sample in query), np.uint64, count)
            indices = np.fromiter((sample.index for sample in query), np.int64, count)
            self._queue.put((start, ids, indices))
        except BaseException as error:
            end_now(error, "taking a query")

    def close(self) -> None:
        """Let the worker end."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        try:
            while (work := self._queue.get()) is not None:
                self._answer(*work)
                self.query_count += 1
        except BaseException as error:
            end_now(error, "answering a query")

    def _answer(
        self, start: int, ids: npt.NDArray[np.uint64], indices: npt.NDArray[np.int64]
    ) -> None:
        size, make = self._batch_size, self._loadgen.QuerySampleResponse
        for first in range(0, len(ids), size):
            batch = indices[first : first + size]
            answers = np.ascontiguousarray(
                self._task.answer(self._task.run(self._library.take(batch))), np.int32
            )
            address = answers.ctypes.data
            responses = [
                make(id_, address + 4 * place, 4)
                for place, id_ in enumerate(ids[first : first + size].tolist())
            ]
            end = time.perf_counter_ns()
            self._loadgen.QuerySamplesComplete(responses)
            self.samples.add_many(end - start, len(responses))
            self._answers[batch] = answers
