"""Models in ONNX Runtime's own format, as far as an import reads them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence

from tests.support.model_files import (
    ONNX_TYPES,
    FlatField,
    Node,
    Value,
    _flat_bytes,
    _flat_table,
    _flat_vector,
)


def ort_graph(
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    *,
    nodes: Sequence[Node] = (),
    weights: Sequence[Value] = (),
) -> bytes:
    """Return the description of a graph in ONNX Runtime's format, without data of weights."""
    data = bytearray(struct.pack("<I4s", 0, b"ORTM"))
    graph: Mapping[int, FlatField] = {
        0: _flat_vector([_initializer(weight) for weight in weights]),
        1: _flat_vector([_node_arg(value) for value in (*inputs, *weights, *outputs)]),
        2: _flat_vector([_node(node) for node in nodes]),
        5: _texts([value.name for value in inputs]),
        6: _texts([value.name for value in outputs]),
    }
    root = _flat_table(
        data,
        {
            0: _text("6"),
            1: lambda data: _flat_table(data, {7: lambda data: _flat_table(data, graph)}),
        },
    )
    struct.pack_into("<I", data, 0, root)
    return bytes(data)


def _initializer(value: Value) -> Mapping[int, FlatField]:
    return {
        0: _text(value.name),
        2: _flat_bytes("<q", [size for size in value.shape or () if isinstance(size, int)]),
        3: ("<i", ONNX_TYPES[value.dtype]),
    }


def _node_arg(value: Value) -> Mapping[int, FlatField]:
    tensor: dict[int, FlatField] = {0: ("<i", ONNX_TYPES[value.dtype])}
    if value.shape is not None:
        dimensions = [_dimension(size) for size in value.shape]
        tensor[1] = lambda data: _flat_table(data, {0: _flat_vector(dimensions)})
    info: Mapping[int, FlatField] = {
        1: ("<B", 1),
        2: lambda data: _flat_table(data, tensor),
    }
    return {0: _text(value.name), 2: lambda data: _flat_table(data, info)}


def _dimension(size: int | str | None) -> Mapping[int, FlatField]:
    if isinstance(size, int):
        fields: dict[int, FlatField] = {0: ("<b", 1), 1: ("<q", size)}
    elif size:
        fields = {0: ("<b", 2), 2: _text(size)}
    else:
        fields = {0: ("<b", 0)}
    return {0: lambda data: _flat_table(data, fields)}


def _node(node: Node) -> Mapping[int, FlatField]:
    return {
        5: _text(node.kind),
        8: _texts(node.inputs),
        9: _texts([node.output]),
        10: _flat_vector([{0: _text("axis"), 4: ("<q", node.axis)}]),
    }


def _text(text: str) -> Callable[[bytearray], int]:
    return _flat_bytes("<B", text.encode())


def _texts(texts: Sequence[str]) -> Callable[[bytearray], int]:
    def append(data: bytearray) -> int:
        data.extend(bytes(-len(data) % 4))
        place = len(data)
        data.extend(struct.pack("<I", len(texts)) + bytes(4 * len(texts)))
        for number, text in enumerate(texts):
            here = place + 4 + 4 * number
            struct.pack_into("<I", data, here, _text(text)(data) - here)
        return place

    return append
