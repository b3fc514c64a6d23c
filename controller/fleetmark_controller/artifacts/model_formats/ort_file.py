"""Read the metadata of a model in ONNX Runtime's own format (`.ort`), a flatbuffer.

The numbers of the fields are those of onnxruntime/core/flatbuffers/schema/ort.fbs.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

from fleetmark_controller.artifacts.model_formats.flatbuffer_reader import FlatReader
from fleetmark_controller.artifacts.model_formats.model_graph import GraphFacts, Tensor
from fleetmark_controller.artifacts.model_formats.onnx_file import (
    DTYPES,
    LOOKUPS,
    QUANTIZED,
    SAME_SHAPE,
    SAME_VALUES,
)
from fleetmark_core.regular_file import open_regular

MAX_BYTES = (1 << 31) - 1
_VERSION, _MODEL = 0, 1
_GRAPH = 7
_INITIALIZERS, _NODE_ARGS, _NODES, _INPUTS, _OUTPUTS = 0, 1, 2, 5, 6
_MAX_PARTS = 100_000
_MAX_DIMENSIONS = 64
_TENSOR_TYPE = 1
_VALUE, _PARAMETER = 1, 2


class NotOrtError(ValueError):
    """The bytes are not a model in ONNX Runtime's format; the text says why."""


@dataclass(frozen=True)
class OrtDescription:
    """The metadata of a model in ONNX Runtime's format."""

    ort_version: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    facts: GraphFacts = field(default_factory=GraphFacts, repr=False)


def read_ort(path: Path) -> OrtDescription:
    """Return the metadata of the model at `path`.

    Raises:
        NotOrtError: the file is not a model in ONNX Runtime's format.
        OSError: the file cannot be read, or is not a regular file.
    """
    with open_regular(path) as file:
        reader = _OrtReader(file.fileno())
        if reader.size_bytes > MAX_BYTES:
            raise NotOrtError("is larger than the format allows")
        try:
            if reader.bytes(4, 4) != b"ORTM":
                raise NotOrtError("does not have the mark ORTM at byte 4")
            session = reader.offset(0)
            graph = reader.subtable(reader.subtable(session, _MODEL), _GRAPH)
            types = reader.values(graph)
            facts = reader.facts(graph)
            weights = set(facts.weights)
            sides = [
                tuple(
                    types.get(name, Tensor(name, "", (), has_rank=False))
                    for name in reader.texts(graph, number)
                )
                for number in (_INPUTS, _OUTPUTS)
            ]
            version = reader.text(session, _VERSION)
        except (struct.error, IndexError, OverflowError) as error:
            what = "has no readable graph: it is truncated or damaged"
            raise NotOrtError(what) from error
    inputs = tuple(tensor for tensor in sides[0] if tensor.name not in weights)
    if not inputs or not sides[1]:
        raise NotOrtError("has a graph without inputs or outputs")
    return OrtDescription(version, inputs, sides[1], facts)


class _OrtReader(FlatReader):
    """Reader of the tables of ort.fbs."""

    def subtable(self, table: int, number: int) -> int:
        """Return the position of the table in a field.

        Raises:
            IndexError: the field is absent.
        """
        place = self.field(table, number)
        if not place:
            raise IndexError("absent")
        return self.offset(place)

    def places(self, table: int, number: int) -> list[int]:
        """Return the positions of the tables or strings in a vector."""
        start, count = self.vector(table, number)
        if count > _MAX_PARTS:
            raise IndexError("too many")
        return [self.offset(start + 4 * index) for index in range(count)]

    def texts(self, table: int, number: int) -> list[str]:
        """Return the strings in a vector."""
        found = []
        for start in self.places(table, number):
            size = min(self.number("<I", start), 400)
            found.append(self.bytes(start + 4, size).decode(errors="replace"))
        return found

    def values(self, graph: int) -> dict[str, Tensor]:
        """Return the values of a graph whose types are those of tensors, by name."""
        found: dict[str, Tensor] = {}
        for place in self.places(graph, _NODE_ARGS):
            name = self.text(place, 0)
            kind = self.field(place, 2)
            if not kind:
                continue
            info = self.offset(kind)
            union = self.field(info, 1)
            if not union or self.number("<B", union) != _TENSOR_TYPE:
                continue
            found[name] = self._tensor(name, self.subtable(info, 2))
        return found

    def _tensor(self, name: str, table: int) -> Tensor:
        place = self.field(table, 0)
        dtype = DTYPES.get(self.number("<i", place), "") if place else ""
        shape = self.field(table, 1)
        if not shape:
            return Tensor(name, dtype, (), has_rank=False)
        sizes: list[int] = []
        symbols: list[str] = []
        dimensions = self.places(self.offset(shape), 0)
        if len(dimensions) > _MAX_DIMENSIONS:
            raise IndexError("too many")
        for dimension in dimensions:
            value = self.field(dimension, 0)
            size, symbol = self._dimension(self.offset(value)) if value else (0, "")
            sizes.append(size)
            symbols.append(symbol)
        return Tensor(name, dtype, tuple(sizes), tuple(symbols) if any(symbols) else ())

    def _dimension(self, table: int) -> tuple[int, str]:
        place = self.field(table, 0)
        kind = self.number("<b", place) if place else 0
        if kind == _VALUE:
            number = self.field(table, 1)
            size = self.number("<q", number) if number else 0
            return (size if 0 < size < 1 << 31 else 0), ""
        return 0, self.text(table, 2) if kind == _PARAMETER else ""

    def facts(self, graph: int) -> GraphFacts:
        """Return weights, table lookups and quantization of a graph."""
        facts = GraphFacts()
        for place in self.places(graph, _INITIALIZERS):
            start, count = self.vector(place, 2)
            if count > _MAX_DIMENSIONS:
                raise IndexError("too many")
            sizes = [max(0, self.number("<q", start + 8 * index)) for index in range(count)]
            kind = self.field(place, 3)
            dtype = DTYPES.get(self.number("<i", kind), "") if kind else ""
            facts.add_weight(self.text(place, 0), dtype, sizes)
        for place in self.places(graph, _NODES):
            self._add_node(facts, place)
        return facts

    def _add_node(self, facts: GraphFacts, place: int) -> None:
        kind = self.text(place, 5)
        inputs, outputs = self.texts(place, 8), self.texts(place, 9)
        if kind in QUANTIZED or kind.startswith("QLinear"):
            facts.has_quantized_nodes = True
        if kind in SAME_VALUES and inputs:
            for output in outputs:
                facts.sources[output] = (inputs[0], kind in SAME_SHAPE)
        if kind == "Where" and len(inputs) > 2 and outputs:
            facts.sources[outputs[0]] = (inputs[2], False)
        table, indices = LOOKUPS.get(kind, (0, 0))
        if table != indices and len(inputs) > max(table, indices):
            facts.lookups.append((inputs[table], inputs[indices], self._axis(place)))

    def _axis(self, node: int) -> int:
        for attribute in self.places(node, 10):
            place = self.field(attribute, 4)
            if place and self.text(attribute, 0) == "axis":
                return self.number("<q", place)
        return 0
