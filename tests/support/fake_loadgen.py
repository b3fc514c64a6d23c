"""A stand-in of LoadGen for tests of systems under test, without its clock and its threads."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass
class FakeResponse:
    """LoadGen's QuerySampleResponse: the id of a sample, and where its answer is."""

    id: int
    address: int
    size: int


class FakeLoadgen:
    """The calls that a SUT makes; it copies each answer from the address that it is given."""

    QuerySampleResponse = FakeResponse

    def __init__(self) -> None:
        self.answers: dict[int, int] = {}

    def QuerySamplesComplete(self, responses: Sequence[FakeResponse]) -> None:
        for one in responses:
            assert one.id not in self.answers, f"sample {one.id} was answered twice"
            data = ctypes.string_at(one.address, one.size)
            self.answers[one.id] = ctypes.c_int32.from_buffer_copy(data).value
