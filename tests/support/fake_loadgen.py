"""A stand-in of LoadGen for tests of systems under test, without its clock and its threads."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence


class FakeLoadgen:
    """The calls that a SUT makes; it copies each answer from the address that it is given."""

    def __init__(self) -> None:
        self.answers: dict[int, int] = {}

    def QuerySampleResponse(self, id_: int, address: int, size: int) -> tuple[int, int, int]:
        return id_, address, size

    def QuerySamplesComplete(self, responses: Sequence[tuple[int, int, int]]) -> None:
        for id_, address, size in responses:
            assert id_ not in self.answers, f"sample {id_} was answered twice"
            data = ctypes.string_at(address, size)
            self.answers[id_] = ctypes.c_int32.from_buffer_copy(data).value
