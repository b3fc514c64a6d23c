"""Systems under test: they answer LoadGen's queries and time each sample themselves.

LoadGen's default logs contain only percentiles, and its trace takes 660 bytes per query. Here a
sample takes 8 bytes in an array that is allocated before the run.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fleetmark_harness.exit_codes import BAD_INPUT, JobError, abort_process
from fleetmark_harness.task import Task

_INTEGERS = np.zeros(1, np.int32)
_MAX_RADIX = 1 << 16


class Samples:
    """Durations in nanoseconds, in the order of completion."""

    def __init__(self, expected: int) -> None:
        """Allocate room for `expected` durations; it doubles when it is full."""
        self._grow(np.zeros(max(expected, 1024), np.int64))
        self.count = 0

    def _grow(self, array: npt.NDArray[np.int64]) -> None:
        self._array = array
        # Setting an item through a memoryview takes half the time of setting it through the array.
        self._view = memoryview(array.data)

    def add(self, duration_ns: int) -> None:
        """Add one sample."""
        count = self.count
        if count == len(self._array):
            self._grow(np.concatenate([self._array, np.zeros_like(self._array)]))
        self._view[count] = duration_ns
        self.count = count + 1

    def add_many(self, duration_ns: int, count: int) -> None:
        """Add `count` samples that ended together."""
        while self.count + count > len(self._array):
            self._grow(np.concatenate([self._array, np.zeros_like(self._array)]))
        self._array[self.count : self.count + count] = duration_ns
        self.count += count

    def values(self) -> npt.NDArray[np.int64]:
        """Return all durations."""
        return self._array[: self.count]


class Library:
    """The query sample library: the loaded samples, prepared for the model."""

    def __init__(self, task: Task) -> None:
        """Create an empty library."""
        self._task = task
        self._slots = np.zeros(task.total_count, np.int64)
        self.data: npt.NDArray[Any] = np.zeros(0)
        self.singles: list[Any] = []
        """Batches of one loaded sample each, by the sample's index, created before they are needed.
        """

    def load(self, indices: Sequence[int]) -> None:
        """Load samples; LoadGen calls this before a run, untimed."""
        try:
            wanted = np.fromiter(indices, np.int64)
            self.data = self._task.prepare(wanted)
            self._slots[wanted] = np.arange(len(wanted))
            # Accessing a list item is faster than slicing an array.
            self.singles = [None] * len(self._slots)
            for slot, index in enumerate(wanted.tolist()):
                self.singles[index] = self.data[slot : slot + 1]
        except BaseException as error:
            abort_process(error, "loading samples")

    def unload(self, indices: Sequence[int]) -> None:
        """Drop all loaded samples; LoadGen calls this after a run."""
        self.data, self.singles = np.zeros(0), []

    def take(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Return a batch of loaded samples."""
        return self.data[self._slots[indices]]

    def order(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
        """Return the order of a query's samples in which most batches are rows of `data`.

        All loaded samples follow each other as they are in memory, then those that the query has
        a second time, and so on. LoadGen shuffles them, and accepts the answers to a query in any
        order.

        Args:
            indices: sample of each answer, [N].
        """
        slots = self._slots[indices]
        if len(self._slots) <= _MAX_RADIX:
            # NumPy sorts integers of 16 bits in linear time.
            slots = slots.astype(np.uint16)
        order = np.argsort(slots, kind="stable")
        slots = slots[order]
        firsts = np.flatnonzero(np.concatenate(([True], slots[1:] != slots[:-1])))
        counts = np.diff(np.append(firsts, len(slots)))
        if (counts == counts[0]).all():
            order = order.reshape(len(counts), -1).T.ravel()
        else:
            turns = np.arange(len(slots)) - np.repeat(firsts, counts)
            order = order[np.lexsort((slots, turns))]
        return order

    def rows(self, indices: npt.NDArray[np.int64], size: int) -> list[int]:
        """Return the first row of each batch in `data`; -1 if its samples are not neighbors there.

        Args:
            indices: samples of all batches, [N].
            size: number of samples of a batch; the last one may have fewer.
        """
        slots = self._slots[indices]
        firsts = np.arange(0, len(slots), size)
        neighbors = slots[firsts].repeat(size)[: len(slots)] + np.arange(len(slots)) % size
        is_apart = np.logical_or.reduceat(slots != neighbors, firsts)
        rows: list[int] = np.where(is_apart, -1, slots[firsts]).tolist()
        return rows


def checked_answers(
    answers: Any, count: int, like: npt.NDArray[Any] = _INTEGERS
) -> npt.NDArray[Any]:
    """Return `answers` as an array whose addresses LoadGen can be given.

    Args:
        answers: what the task answered.
        count: number of samples.
        like: an array of answers, see `empty_answers`.

    Raises:
        JobError: BAD_INPUT: there are not exactly `count` answers.
    """
    found = np.ascontiguousarray(answers, like.dtype)
    if found.shape != (count, *like.shape[1:]):
        raise JobError(
            BAD_INPUT,
            f"the model's output has {list(found.shape)} answers for {count} samples: its first"
            " axis is not the batch",
        )
    return found


def responses(make: Any, ids: Iterable[int], answers: npt.NDArray[Any]) -> list[Any]:
    """Return LoadGen's responses to a query; `answers` must stay in memory until it copied them.

    Args:
        make: LoadGen's QuerySampleResponse.
        ids: the ids of the samples, in the order of `answers`.
        answers: one answer per sample, see `checked_answers`.
    """
    address, size = answers.ctypes.data, answers.strides[0]
    return [make(id_, address + size * place, size) for place, id_ in enumerate(ids)]


class Sut(Protocol):
    """The interface of a system under test: LoadGen's callback, and the recorded samples."""

    samples: Samples
    query_count: int
    short_batches: list[int]
    """Sizes of the batches that had fewer samples than the batch size."""

    def issue(self, query: Sequence[Any]) -> None:
        """Answer a query or pass it on to a worker; LoadGen calls this for every query."""
        ...

    def close(self) -> None:
        """End everything that the SUT started; no query is issued afterwards."""
        ...


class InlineSut:
    """SUT that answers in LoadGen's own thread: SingleStream, where the next query waits for it."""

    def __init__(
        self,
        loadgen: Any,
        task: Task,
        library: Library,
        answers: npt.NDArray[Any],
        expected: int,
    ) -> None:
        """Set up the SUT; `answers` receives the last answer to each sample, by index."""
        self.samples = Samples(expected)
        self.query_count = 0
        self.short_batches: list[int] = []
        self._run, self._answer = task.run, task.answer
        self._response = loadgen.QuerySampleResponse
        self._complete = loadgen.QuerySamplesComplete
        self._clock = time.perf_counter_ns
        self._library = library
        self._answers = answers
        # LoadGen copies the answer inside QuerySamplesComplete; until then its memory must stay
        # valid.
        self._buffer = np.zeros_like(answers[:1])
        # It copies the response, too, so that one object serves all queries: making one takes four
        # times as long as setting its id.
        self._reply = loadgen.QuerySampleResponse(0, self._buffer.ctypes.data, self._buffer.nbytes)

    def issue(self, query: Sequence[Any]) -> None:
        """Run the model, answer the query and complete it.

        LoadGen's clock runs until the samples are complete. Therefore everything that can be looked
        up before or recorded afterwards is kept out of that time.
        """
        try:
            run, to_answer, buffer, clock = self._run, self._answer, self._buffer, self._clock
            reply = self._reply
            for sample in query:
                start = clock()
                index = sample.index
                buffer[0] = answer = to_answer(run(self._library.singles[index]))[0]
                reply.id = sample.id
                end = clock()
                self._complete([reply])
                self.samples.add(end - start)
                self._answers[index] = answer
            self.query_count += 1
        except BaseException as error:
            abort_process(error, "answering a query")

    def close(self) -> None:
        """Do nothing: no thread was started."""


class QuerySut(InlineSut):
    """SUT that answers a query with one model call: MultiStream, whose queries have 8 samples."""

    def issue(self, query: Sequence[Any]) -> None:
        """Run, answer and complete; the duration of each sample is that of the query."""
        try:
            start = self._clock()
            indices = np.fromiter((sample.index for sample in query), np.int64, len(query))
            answers = checked_answers(
                self._answer(self._run(self._library.take(indices))), len(indices), self._answers
            )
            completed = responses(self._response, (sample.id for sample in query), answers)
            end = self._clock()
            # LoadGen copies the answers before this call returns.
            self._complete(completed)
            self.samples.add_many(end - start, len(completed))
            self._answers[indices] = answers
            self.query_count += 1
        except BaseException as error:
            abort_process(error, "answering a query")


class WorkerSut:
    """SUT that answers in one long-lived thread: Offline and Server, where queries do not wait.

    A thread per query crashes LoadGen in accuracy mode; a thread that lives as long as the run does
    not.
    """

    def __init__(
        self,
        loadgen: Any,
        task: Task,
        library: Library,
        answers: npt.NDArray[Any],
        expected: int,
        batch_size: int,
    ) -> None:
        """Start the worker thread, which waits for its first query."""
        self.samples = Samples(expected)
        self.query_count = 0
        self.short_batches: list[int] = []
        self._loadgen = loadgen
        self._task = task
        self._library = library
        self._answers = answers
        self._batch_size = batch_size
        self._buffer = np.zeros((batch_size, *answers.shape[1:]), answers.dtype)
        # As in `InlineSut`: one response for each place of a batch.
        self._replies = responses(loadgen.QuerySampleResponse, [0] * batch_size, self._buffer)
        self._queue: queue.SimpleQueue[
            tuple[int, npt.NDArray[np.uint64], npt.NDArray[np.int64]] | None
        ] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="sut", daemon=True)
        self._thread.start()

    def issue(self, query: Sequence[Any]) -> None:
        """Copy the ids out of LoadGen's list, which is freed after this call, and queue them."""
        try:
            start = time.perf_counter_ns()
            count = len(query)
            ids = np.fromiter((sample.id for sample in query), np.uint64, count)
            indices = np.fromiter((sample.index for sample in query), np.int64, count)
            self._queue.put((start, ids, indices))
        except BaseException as error:
            abort_process(error, "taking a query")

    def close(self) -> None:
        """End the worker thread after it has answered all queued queries."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        try:
            while (work := self._queue.get()) is not None:
                self._answer(*work)
                self.query_count += 1
        except BaseException as error:
            abort_process(error, "answering a query")

    def _answer(
        self, start: int, ids: npt.NDArray[np.uint64], indices: npt.NDArray[np.int64]
    ) -> None:
        size, library, task = self._batch_size, self._library, self._task
        buffer, complete = self._buffer, self._loadgen.QuerySamplesComplete
        rows = [-1]
        if len(ids) > size:
            order = library.order(indices)
            ids, indices = ids[order], indices[order]
            rows = library.rows(indices, size)
        for number, row in enumerate(rows):
            first = number * size
            batch = indices[first : first + size]
            count = len(batch)
            # A slice shares memory; a copy takes longer than the inference of some models.
            data = library.take(batch) if row < 0 else library.data[row : row + count]
            answers = checked_answers(task.answer(task.run(data)), count, self._answers)
            buffer[:count] = answers
            completed = self._replies[:count]
            for reply, id_ in zip(completed, ids[first : first + count].tolist(), strict=True):
                reply.id = id_
            end = time.perf_counter_ns()
            # LoadGen copies responses and answers before this call returns.
            complete(completed)
            self.samples.add_many(end - start, count)
            self._answers[batch] = answers
            if count != size:
                self.short_batches.append(count)


class TimedWorkerSut(WorkerSut):
    """Worker SUT that also records the service times: how long the worker worked on each query.

    The rest of a query's duration is the time in the queue.
    """

    def __init__(
        self,
        loadgen: Any,
        task: Task,
        library: Library,
        answers: npt.NDArray[Any],
        expected: int,
        batch_size: int,
    ) -> None:
        """Start the worker thread, which waits for its first query."""
        self.service_times = Samples(expected)
        super().__init__(loadgen, task, library, answers, expected, batch_size)

    def _answer(
        self, start: int, ids: npt.NDArray[np.uint64], indices: npt.NDArray[np.int64]
    ) -> None:
        taken, done = time.perf_counter_ns(), self.samples.count
        super()._answer(start, ids, indices)
        # A query of one batch: the durations of its samples end together.
        end = start + int(self.samples.values()[-1])
        self.service_times.add_many(end - taken, self.samples.count - done)
