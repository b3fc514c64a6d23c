"""Read the metadata of a TFLite file (flatbuffer) without a TFLite library."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from fleetmark_controller.artifacts.model_formats.flatbuffer_reader import FlatReader
from fleetmark_controller.artifacts.model_formats.model_graph import GraphFacts, Tensor
from fleetmark_core.regular_file import open_regular

MAX_BYTES = 2 << 30
# TensorType and the other numbers are those of TFLite's schema.fbs.
_DTYPES = {
    **{0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 5: "string", 6: "bool"},
    **{7: "int16", 8: "complex64", 9: "int8", 10: "float64", 11: "complex128", 12: "uint64"},
    **{13: "resource", 14: "variant", 15: "uint32", 16: "uint16", 17: "int4", 18: "bfloat16"},
}
_QUANTIZED = ("int8", "uint8", "int16")
_MAX_PARTS = 100_000
_MAX_DIMENSIONS = 64
_SUBGRAPHS = 2
"""Field of the model; the next four are fields of a subgraph."""
_SAME_SHAPE = frozenset({6, 53})  # DEQUANTIZE, CAST
# RESHAPE, GATHER, TRANSPOSE, SQUEEZE, STRIDED_SLICE, SLICE, TILE, EXPAND_DIMS
_SAME_VALUES = _SAME_SHAPE | {22, 36, 39, 43, 45, 65, 69, 70}
_SELECT = frozenset({64, 123})  # SELECT, SELECT_V2


class NotTfliteError(ValueError):
    """The bytes are not a TFLite model; the text says why."""


@dataclass(frozen=True)
class TfliteDescription:
    """The metadata of a TFLite model."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    facts: GraphFacts = field(default_factory=GraphFacts, repr=False)


def read_tflite(path: Path) -> TfliteDescription:
    """Return the metadata of the model at `path`.

    Only the needed parts are read, a few bytes at a time, so that a file of gigabytes needs little
    memory.

    Args:
        path: The file.

    Raises:
        NotTfliteError: the file is not a TFLite model.
        OSError: the file cannot be read, or is not a regular file.
    """
    with open_regular(path) as file:
        reader = _Flat(file.fileno())
        if reader.size_bytes > MAX_BYTES:
            raise NotTfliteError("is larger than the format allows")
        try:
            if reader.bytes(4, 4) != b"TFL3":
                raise NotTfliteError("does not have the mark TFL3 at byte 4")
            graph = reader.table(reader.offset(0), _SUBGRAPHS, 0)
            sides = [
                tuple(
                    reader.quantized(reader.table(graph, _TENSORS, index))
                    for index in reader.numbers(graph, number)
                )
                for number in (_INPUTS, _OUTPUTS)
            ]
            facts = _GraphReader(reader, graph).facts()
        except (struct.error, IndexError, OverflowError) as error:
            what = "has no readable graph: it is truncated or damaged"
            raise NotTfliteError(what) from error
    if not sides[0] or not sides[1]:
        raise NotTfliteError("has a graph without inputs or outputs")
    return TfliteDescription(sides[0], sides[1], facts)


_TENSORS, _INPUTS, _OUTPUTS, _OPERATORS = 0, 1, 2, 3
_OPERATOR_CODES, _BUFFERS = 1, 4
_EMBEDDING_LOOKUP, _GATHER = 7, 36


class _Flat(FlatReader):
    """Reader of a TFLite model's flatbuffer."""

    def tensor(self, table: int) -> Tensor:
        place = self.field(table, 1)
        kind = self.number("<B", place) if place else 0
        sizes = self.numbers(table, 0)
        # Where it has an entry of -1, the size in the shape is only a placeholder of 1.
        signature = self.numbers(table, 7)
        if len(signature) == len(sizes):
            sizes = signature
        if len(sizes) > _MAX_DIMENSIONS:
            raise IndexError("outside")
        shape = tuple(max(size, 0) for size in sizes)
        return Tensor(self.text(table, 3), _DTYPES.get(kind, ""), shape)

    def quantized(self, table: int) -> Tensor:
        """Return an input or output, with its quantization if it has one."""
        tensor = self.tensor(table)
        field = self.field(table, 4)
        if not field or tensor.dtype not in _QUANTIZED:
            return tensor
        parameters = self.offset(field)
        scales, count = self.vector(parameters, 2)
        points, zeros = self.vector(parameters, 3)
        scale = struct.unpack("<f", self.bytes(scales, 4))[0] if count == 1 else 0.0
        if not scale > 0 or not math.isfinite(scale):
            return tensor
        point = self.number("<q", points) if zeros == 1 else 0
        return replace(tensor, quantization=(float(scale), point))


class _GraphReader:
    """Reader of the weights and table lookups of a graph.

    Tensors have numbers; a name is not unique. So the facts name inputs and weights by name, and
    the other values by number.
    """

    def __init__(self, reader: _Flat, graph: int) -> None:
        self._reader = reader
        self._graph = graph
        self._model = reader.offset(0)
        self._facts = GraphFacts()
        inputs = reader.numbers(graph, _INPUTS)
        self._names = {
            index: reader.tensor(reader.table(graph, _TENSORS, index)).name for index in inputs
        }

    def facts(self) -> GraphFacts:
        """Return the facts, of at most `_MAX_PARTS` tensors and operators each."""
        codes = [self._code(place) for place in self._tables(self._model, _OPERATOR_CODES)]
        filled = [self._is_filled(place) for place in self._tables(self._model, _BUFFERS)]
        for index, place in enumerate(self._tables(self._graph, _TENSORS)):
            buffer = self._number(place, 2, "<I")
            if buffer < len(filled) and filled[buffer]:
                tensor = self._reader.tensor(place)
                self._facts.add_weight(self._name(index), tensor.dtype, tensor.shape)
        for place in self._tables(self._graph, _OPERATORS):
            code = self._number(place, 0, "<I")
            if code < len(codes):
                self._add_operator(place, codes[code])
        return self._facts

    def _tables(self, table: int, number: int) -> Iterator[int]:
        _, count = self._reader.vector(table, number)
        if count > _MAX_PARTS:
            raise IndexError("outside")
        return (self._reader.table(table, number, index) for index in range(count))

    def _number(self, table: int, number: int, form: str) -> int:
        place = self._reader.field(table, number)
        return self._reader.number(form, place) if place else 0

    def _name(self, index: int) -> str:
        return self._names.get(index, f"#{index}")

    def _code(self, place: int) -> int:
        # Codes above 127 do not fit into the older field of one byte.
        return max(self._number(place, 0, "<b"), self._number(place, 3, "<i"))

    def _is_filled(self, place: int) -> bool:
        # The bytes of a model above 2 GB follow the flatbuffer; then there is an offset above 1.
        field = self._reader.field(place, 0)
        count = self._reader.number("<I", self._reader.offset(field)) if field else 0
        return count > 0 or self._number(place, 1, "<Q") > 1

    def _add_operator(self, place: int, code: int) -> None:
        if code not in _SAME_VALUES | _SELECT | {_EMBEDDING_LOOKUP}:
            return
        inputs = [self._name(index) for index in self._reader.numbers(place, 1)]
        outputs = self._reader.numbers(place, 2)
        if len(inputs) > 1 and code == _GATHER:
            options = self._reader.field(place, 4)
            axis = self._number(self._reader.offset(options), 0, "<i") if options else 0
            self._facts.lookups.append((inputs[0], inputs[1], axis))
        elif len(inputs) > 1 and code == _EMBEDDING_LOOKUP:
            self._facts.lookups.append((inputs[1], inputs[0], 0))
        # Converters add the size of the table to negative indices with a selection.
        source = inputs[2:3] if code in _SELECT else inputs[:1]
        if source and outputs and code != _EMBEDDING_LOOKUP:
            self._facts.sources[self._name(outputs[0])] = (source[0], code in _SAME_SHAPE)
