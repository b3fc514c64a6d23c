"""Read the metadata of an ONNX file (protobuf) without an ONNX library.

Only tags and lengths are parsed and all other data is skipped, so that a file of many gigabytes
costs little. Nothing in it is executed or unpickled.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from fleetmark_controller.artifacts.model_formats.model_graph import GraphFacts, Tensor
from fleetmark_controller.artifacts.model_formats.protobuf_reader import (
    MAX_TEXT,
    Handler,
    ProtobufError,
    ProtobufReader,
)
from fleetmark_core.regular_file import open_regular

# Elements of TensorProto.DataType in onnx.proto.
DTYPES = {
    **{1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64"},
    **{8: "string", 9: "bool", 10: "float16", 11: "float64", 12: "uint32", 13: "uint64"},
    **{14: "complex64", 15: "complex128", 16: "bfloat16", 17: "float8e4m3fn"},
    **{18: "float8e4m3fnuz", 19: "float8e5m2", 20: "float8e5m2fnuz", 21: "uint4", 22: "int4"},
    **{23: "float4e2m1"},
}
# Nodes whose output has values of the first input; those of the first set keep its shape, too.
SAME_SHAPE = frozenset({"Cast", "DequantizeLinear", "Identity"})
SAME_VALUES = SAME_SHAPE | {
    *("Expand", "Flatten", "Gather", "Reshape", "Slice", "Split", "Squeeze", "Tile"),
    *("Transpose", "Unsqueeze"),
}
# Nodes that look rows up in a table: the numbers of their inputs with the table and the indices.
LOOKUPS = {"Gather": (0, 1), "EmbedLayerNormalization": (2, 0)}
QUANTIZED = frozenset({"ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "QuantizeLinear"})
_MAX_NAME_BYTES = 16 << 20
_MAX_NAMES = 200_000
_MAX_TENSORS = 10_000
_MAX_DIMENSIONS = 64
_MAX_PLACES = 1000
_MAX_VALUES = 64
_ENTRY_BYTES = 64
_USUAL_DIMENSIONS = 4
_EXTERNAL = 1


class NotOnnxError(ProtobufError):
    """The bytes are not an ONNX model; the text says why."""


@dataclass(frozen=True)
class OnnxDescription:
    """The metadata of an ONNX model."""

    ir_version: int
    opset: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    external: tuple[str, ...]
    """Files that hold its weights, as the model names them; empty if the model is complete."""
    facts: GraphFacts = field(default_factory=GraphFacts, repr=False)


def read_onnx(path: Path) -> OnnxDescription:
    """Return the metadata of the model at `path`.

    Args:
        path: The file.

    Raises:
        NotOnnxError: the file is not an ONNX model, or has more parts than a model can have.
        OSError: the file cannot be read, or is not a regular file.
    """
    with open_regular(path) as file:
        walk = _Walk(file)
        try:
            walk.message(os.fstat(file.fileno()).st_size, walk.model, 0)
        except ProtobufError as error:
            raise NotOnnxError(str(error)) from error
    if not walk.ir_version or not walk.outputs:
        raise NotOnnxError("has no graph with outputs")
    return OnnxDescription(
        walk.ir_version,
        walk.opset,
        # Before IR version 4, weights also had to be listed among the inputs.
        tuple(tensor for tensor in walk.inputs if tensor.name not in walk.initializers),
        tuple(walk.outputs),
        tuple(place for place in walk.external if place) or tuple(walk.external),
        walk.facts,
    )


@dataclass(frozen=True)
class TensorHead:
    """Type and shape of a constant tensor."""

    dtype: str
    shape: tuple[int, ...]


class _Walk(ProtobufReader):
    """Walk through the messages of onnx.proto, whose field numbers the methods use."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.ir_version = 0
        self.opset = 0
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self.initializers: set[str] = set()
        self.external: dict[str, None] = {}
        self.facts = GraphFacts()
        self.is_main = True
        self.name_bytes = 0

    def model(self, field: int, value: int, end: int, depth: int) -> bool:
        if field == 1 and end < 0:
            self.ir_version = value
        elif field == 7 and end >= 0:
            self.message(end, self.main_graph, depth + 1)
            return True
        elif field == 8 and end >= 0:
            self.message(end, self._opset(), depth + 1)
            return True
        elif field in (20, 25):
            # The names of a function's values are not those of the graph.
            self.is_main = False
            done = self._into(True, end, self.training if field == 20 else self.function, depth)
            self.is_main = True
            return done
        return False

    def _opset(self) -> Handler:
        domain: list[str] = []

        def handle(field: int, value: int, end: int, depth: int) -> bool:
            if field == 1 and end >= 0:
                domain[:] = [self.text(value)]
                return True
            if field == 2 and end < 0 and domain in ([], [""], ["ai.onnx"]):
                self.opset = max(self.opset, value)
            return False

        return handle

    def training(self, field: int, value: int, end: int, depth: int) -> bool:
        return self._into(field in (1, 2), end, self.any_graph, depth)

    def function(self, field: int, value: int, end: int, depth: int) -> bool:
        if field == 11:
            return self._into(True, end, self.attribute, depth)
        if field == 7 and end >= 0:
            self._node(end, depth + 1)
            return True
        return False

    def main_graph(self, field: int, value: int, end: int, depth: int) -> bool:
        if end >= 0 and field in (11, 12):
            found = self.inputs if field == 11 else self.outputs
            if len(found) >= _MAX_TENSORS:
                raise NotOnnxError("has too many inputs or outputs")
            found.append(self._value_info(end, depth + 1))
            return True
        return self.any_graph(field, value, end, depth)

    def any_graph(self, field: int, value: int, end: int, depth: int) -> bool:
        if end < 0 or field not in (1, 5, 15):
            return False
        if field == 1:
            self._node(end, depth + 1)
        elif field == 5:
            self._tensor(end, depth + 1, is_weight=True)
        else:
            self.message(end, self.sparse, depth + 1)
        return True

    def _node(self, end: int, depth: int) -> None:
        inputs: list[str] = []
        outputs: list[str] = []
        kind: list[str] = []
        numbers: dict[str, int] = {}
        tensors: list[TensorHead] = []

        def handle(field: int, value: int, stop: int, depth: int) -> bool:
            if stop < 0:
                return False
            if field == 5:
                self._attribute(stop, depth + 1, numbers, tensors)
                return True
            texts = {1: inputs, 2: outputs, 4: kind}.get(field)
            if texts is None or value > MAX_TEXT or len(texts) >= _MAX_VALUES:
                return False
            texts.append(self.text(value))
            return True

        self.message(end, handle, depth)
        if self.is_main and kind:
            self._note_node(kind[-1], inputs, outputs, numbers, tensors)

    def _note_node(
        self,
        kind: str,
        inputs: list[str],
        outputs: list[str],
        numbers: dict[str, int],
        tensors: list[TensorHead],
    ) -> None:
        facts = self.facts
        if kind in QUANTIZED or kind.startswith("QLinear"):
            facts.has_quantized_nodes = True
        if kind == "Constant":
            for tensor in tensors[:1]:
                self._count_name(outputs[0] if outputs else "")
                facts.add_weight(outputs[0] if outputs else "", tensor.dtype, tensor.shape)
        if kind in SAME_VALUES and inputs:
            for output in outputs:
                self._count_name(output)
                self._count_name(inputs[0])
                facts.sources[output] = (inputs[0], kind in SAME_SHAPE)
        if kind == "Where" and len(inputs) > 2:
            # Exporters add the size of the table to negative indices with it.
            for output in outputs[:1]:
                self._count_name(output)
                self._count_name(inputs[2])
                facts.sources[output] = (inputs[2], False)
        table, indices = LOOKUPS.get(kind, (0, 0))
        if table != indices and len(inputs) > max(table, indices):
            self._count_name(inputs[table])
            self._count_name(inputs[indices])
            facts.lookups.append((inputs[table], inputs[indices], numbers.get("axis", 0)))

    def attribute(self, field: int, value: int, end: int, depth: int) -> bool:
        """Handle an attribute of a function, which has no facts about the graph."""
        return self._attribute_field({}, [], [])(field, value, end, depth)

    def _attribute(
        self, end: int, depth: int, numbers: dict[str, int], tensors: list[TensorHead]
    ) -> None:
        self.message(end, self._attribute_field(numbers, tensors, []), depth)

    def _attribute_field(
        self, numbers: dict[str, int], tensors: list[TensorHead], name: list[str]
    ) -> Handler:
        handlers = {6: self.any_graph, 11: self.any_graph, 22: self.sparse, 23: self.sparse}

        def handle(field: int, value: int, end: int, depth: int) -> bool:
            if field == 1 and 0 <= value <= MAX_TEXT and end >= 0:
                name[:] = [self.text(value)]
                return True
            if field == 3 and end < 0 and name[-1:] == ["axis"]:
                numbers["axis"] = value - (1 << 64) if value >> 63 else value
            if end < 0 or field not in (5, 10, *handlers):
                return False
            if field in handlers:
                self.message(end, handlers[field], depth + 1)
            else:
                tensors[:] = [*tensors[:1], self._tensor(end, depth + 1, is_weight=False)]
            return True

        return handle

    def sparse(self, field: int, value: int, end: int, depth: int) -> bool:
        if end >= 0 and field in (1, 2):
            self._tensor(end, depth + 1, is_weight=field == 1)
            return True
        return False

    def _tensor(self, end: int, depth: int, *, is_weight: bool) -> TensorHead:
        name: list[str] = []
        kind: list[int] = []
        shape: list[int] = []

        def size(value: int) -> None:
            if len(shape) >= _MAX_DIMENSIONS:
                raise NotOnnxError("has a tensor with too many dimensions")
            shape.append(0 if value >> 63 else value)

        def handle(field: int, value: int, stop: int, depth: int) -> bool:
            if field == 1 and stop >= 0:
                while self.file.tell() < stop:
                    size(self.number())
                return True
            if field == 1:
                size(value)
            elif field == 2 and stop < 0:
                kind[:] = [value]
            elif field == 8 and stop >= 0:
                name[:] = [self._note_initializer(value)]
                return True
            elif field == 13 and stop >= 0:
                self.message(stop, self._external(), depth + 1)
                return True
            # Protobuf parsers keep 32 bits of an enum, so the higher bits are ignored here too.
            elif field == 14 and stop < 0 and value & 0xFFFFFFFF == _EXTERNAL:
                self._note_place("")
            return False

        self.message(end, handle, depth)
        head = TensorHead(DTYPES.get(kind[0], "") if kind else "", tuple(shape))
        if is_weight and self.is_main:
            self._count(_ENTRY_BYTES * max(0, len(shape) - _USUAL_DIMENSIONS))
            self.facts.add_weight(name[0] if name else "", head.dtype, head.shape)
        return head

    def _note_initializer(self, size: int) -> str:
        if len(self.initializers) >= _MAX_NAMES:
            raise NotOnnxError("has too many names")
        name = self._kept(size)
        self.initializers.add(name)
        return name

    def _note_place(self, place: str) -> None:
        if place not in self.external:
            if len(self.external) >= _MAX_PLACES:
                raise NotOnnxError("keeps its weights in too many files")
            self.external[place] = None

    def _kept(self, size: int) -> str:
        """Read a name that is kept in memory; the total size of such names is limited."""
        self._count(size)
        return self.text(size)

    def _count_name(self, name: str) -> None:
        """Count a name that is kept; an entry for it needs memory even if it is empty."""
        self._count(len(name) + _ENTRY_BYTES)

    def _count(self, size: int) -> None:
        self.name_bytes += size
        if self.name_bytes > _MAX_NAME_BYTES:
            raise NotOnnxError("has too many names")

    def _external(self) -> Handler:
        key: list[str] = []

        def handle(field: int, value: int, end: int, depth: int) -> bool:
            if end < 0 or field not in (1, 2):
                return False
            text = self.text(value)
            if field == 1:
                key[:] = [text]
            elif key == ["location"]:
                self._note_place(text)
            return True

        return handle

    def _value_info(self, end: int, depth: int) -> Tensor:
        found: dict[str, object] = {"name": "", "dtype": 0, "has_rank": False}

        def info(field: int, value: int, stop: int, depth: int) -> bool:
            if field == 1 and stop >= 0:
                found["name"] = self._kept(value)
                return True
            return self._into(field == 2, stop, type_, depth)

        def type_(field: int, value: int, stop: int, depth: int) -> bool:
            return self._into(field == 1, stop, tensor_type, depth)

        def tensor_type(field: int, value: int, stop: int, depth: int) -> bool:
            if field == 1 and stop < 0:
                found["dtype"] = value
            if field == 2 and stop >= 0:
                found["has_rank"] = True
            return self._into(field == 2, stop, shape, depth)

        def shape(field: int, value: int, stop: int, depth: int) -> bool:
            if field == 1 and stop >= 0:
                if len(sizes) >= _MAX_DIMENSIONS:
                    raise NotOnnxError("has a tensor with too many dimensions")
                sizes.append(0)
                symbols.append("")
            return self._into(field == 1, stop, dimension, depth)

        def dimension(field: int, value: int, stop: int, depth: int) -> bool:
            if field == 1 and stop < 0 and 0 < value < 1 << 31:
                sizes[-1] = value
            if field == 2 and stop >= 0:
                symbols[-1] = self._kept(value)
                return True
            return False

        sizes: list[int] = []
        symbols: list[str] = []
        self.message(end, info, depth)
        dtype = DTYPES.get(int(str(found["dtype"])), "")
        names = tuple(symbols) if any(symbols) else ()
        return Tensor(str(found["name"]), dtype, tuple(sizes), names, bool(found["has_rank"]))

    def _into(self, wanted: bool, end: int, handler: Handler, depth: int) -> bool:
        if not wanted or end < 0:
            return False
        self.message(end, handler, depth + 1)
        return True
