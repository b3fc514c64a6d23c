"""Files of models, sound and hostile; most of a large one takes no room on the disk."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


def sparse(path: Path, size_bytes: int) -> None:
    """Make a file of zeros that takes no room."""
    path.touch()
    os.truncate(path, size_bytes)


def tflite(*, back: bool = False) -> bytes:
    """Return a model of one graph with one tensor, which is its input and its output.

    Args:
        back: let the graph's table point to a description that lies before the file.
    """
    # Each part lies where its number says; offsets lead from their own place.
    data = bytearray(200)

    def put(form: str, place: int, *values: int) -> None:
        struct.pack_into(form, data, place, *values)

    put("<I4s", 0, 32, b"TFL3")  # type: ignore[arg-type]
    put("<HHHHH", 16, 10, 8, 0, 0, 4)  # the model's table has its field 2 at byte 4
    put("<iI", 32, 16, 4)  # the model: field 2 leads to the vector of graphs
    put("<II", 40, 1, 20)  # one graph, at 64
    put("<HHHHH", 48, 10, 16, 4, 8, 12)  # a graph's table: tensors, inputs, outputs
    put("<iIII", 64, 2_000 if back else 16, 12, 16, 20)
    put("<II", 80, 1, 44)  # one tensor, at 128
    put("<Ii", 88, 1, 0)  # inputs: tensor 0
    put("<Ii", 96, 1, 0)  # outputs: tensor 0
    put("<HHHHHH", 104, 12, 16, 4, 0, 0, 8)  # a tensor's table: its shape and its name
    put("<iII", 128, 24, 12, 20)
    put("<Iii", 144, 2, 1, 4)  # the shape (1, 4)
    put("<I4s", 156, 4, b"name")  # type: ignore[arg-type]
    return bytes(data)


def tflite_of_many_graphs(path: Path, size_bytes: int) -> None:
    """Write a model that says that it has as many graphs as fit, and none is one."""
    sparse(path, size_bytes)
    head = bytearray(tflite())
    struct.pack_into("<I", head, 40, size_bytes // 4 - 100)
    struct.pack_into("<I", head, 44, 10_000)
    with path.open("r+b") as file:
        file.write(head)


def onnx_with_names(path: Path, count: int, name_bytes: int) -> None:
    """Write a model that names `count` weights, each with `name_bytes` letters."""
    field = _tagged(5, _tagged(8, b"x" * name_bytes))
    with path.open("wb") as file:
        file.write(b"\x08\x08" + _number(7 << 3 | 2) + _number(count * len(field)))
        for _ in range(count // 1000):
            file.write(field * 1000)


def onnx_with_nodes(path: Path, count: int) -> None:
    """Write a model of `count` nodes, each of which hands on a value."""
    node = _tagged(1, _tagged(1, b"a") + _tagged(2, b"b") + _tagged(4, b"Identity"))
    with path.open("wb") as file:
        file.write(b"\x08\x08" + _number(7 << 3 | 2) + _number(count * len(node)))
        for _ in range(count // 1000):
            file.write(node * 1000)


def tflite_of_many_tensors(path: Path, count: int) -> None:
    """Write a model whose tensors all share one table, a weight with 64 dimensions."""
    data = bytearray(tflite_graph([Value("x")], [Value("y")]))
    (root,) = struct.unpack_from("<I", data)
    # The model's field 2 leads to a vector of one graph, whose field 0 leads to the tensors.
    graphs = _followed(data, root + 4 + 8 * 2)
    field = _followed(data, graphs + 4) + 4
    vector = len(data)
    struct.pack_into("<I", data, field, vector - field)
    data += struct.pack("<I", count) + bytes(4 * count)
    table = _flat_table(data, _tflite_tensor(Value("w", "float32", [1, *[70_000] * 63]), 1))
    for number in range(count):
        here = vector + 4 + 4 * number
        struct.pack_into("<I", data, here, table - here)
    path.write_bytes(bytes(data))


def _followed(data: bytearray, place: int) -> int:
    return place + int(struct.unpack_from("<I", data, place)[0])


ONNX_TYPES = {
    **{"float32": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7},
    **{"string": 8, "bool": 9, "float16": 10, "float64": 11, "uint32": 12, "uint64": 13},
    **{"bfloat16": 16},
}
TFLITE_TYPES = {
    **{"float32": 0, "float16": 1, "int32": 2, "uint8": 3, "int64": 4, "string": 5, "bool": 6},
    **{"int16": 7, "int8": 9, "float64": 10, "bfloat16": 18},
}
TFLITE_CODES = {
    "ADD": 0,
    "GATHER": 36,
    "EMBEDDING_LOOKUP": 7,
    "CAST": 53,
    "SELECT_V2": 123,
    "STRIDED_SLICE": 45,
}


@dataclass(frozen=True)
class Value:
    """An input, an output or a weight; a dimension is a size, a name, or None if it is open."""

    name: str
    dtype: str = "float32"
    shape: Sequence[int | str | None] | None = ()
    data: bytes = b""
    """The content of a weight of a TFLite model; without it, one zero byte."""


@dataclass(frozen=True)
class Node:
    """A node of a graph, by the names of its values."""

    kind: str
    inputs: Sequence[str]
    output: str
    axis: int = 0


def onnx_graph(
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    *,
    nodes: Sequence[Node] = (),
    weights: Sequence[Value] = (),
    ir: int = 8,
    opset: int = 17,
) -> bytes:
    """Return an ONNX model; its weights have a shape but no data."""
    graph = b"".join(_onnx_node(node) for node in nodes)
    for weight in weights:
        sizes = b"".join(_varint(1, int(size or 0)) for size in weight.shape or ())
        kind = _varint(2, ONNX_TYPES[weight.dtype])
        graph += _tagged(5, sizes + kind + _tagged(8, weight.name.encode()))
    graph += b"".join(_tagged(11, _value_info(value)) for value in inputs)
    graph += b"".join(_tagged(12, _value_info(value)) for value in outputs)
    return _varint(1, ir) + _tagged(7, graph) + _tagged(8, _tagged(1, b"") + _varint(2, opset))


def _onnx_node(node: Node) -> bytes:
    data = b"".join(_tagged(1, name.encode()) for name in node.inputs)
    data += _tagged(2, node.output.encode()) + _tagged(4, node.kind.encode())
    if node.axis:
        data += _tagged(5, _tagged(1, b"axis") + _varint(3, node.axis) + _varint(20, 2))
    return _tagged(1, data)


def _value_info(value: Value) -> bytes:
    tensor = _varint(1, ONNX_TYPES[value.dtype])
    if value.shape is not None:
        sizes = [
            b""
            if size is None
            else _tagged(2, size.encode())
            if isinstance(size, str)
            else _varint(1, size)
            for size in value.shape
        ]
        tensor += _tagged(2, b"".join(_tagged(1, size) for size in sizes))
    return _tagged(1, value.name.encode()) + _tagged(2, _tagged(1, tensor))


def tflite_graph(
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    *,
    nodes: Sequence[Node] = (),
    weights: Sequence[Value] = (),
) -> bytes:
    """Return a TFLite model."""
    values = [*inputs, *weights, *outputs]
    contents = [weight.data or b"\0" for weight in weights]
    buffers = {weight.name: number for number, weight in enumerate(weights, 1)}
    known = {value.name: number for number, value in enumerate(values)}
    made = [Value(n.output) for n in nodes if n.output not in known]
    values += made
    known |= {value.name: len(values) - len(made) + n for n, value in enumerate(made)}
    codes = sorted({TFLITE_CODES[node.kind] for node in nodes})
    data = bytearray(struct.pack("<I4s", 0, b"TFL3"))
    root = _flat_table(
        data,
        {
            0: ("<I", 3),
            1: _flat_vector([{0: ("<b", min(code, 127)), 3: ("<i", code)} for code in codes]),
            2: _flat_vector(
                [
                    {
                        0: _flat_vector(
                            [_tflite_tensor(v, buffers.get(v.name, 0)) for v in values]
                        ),
                        1: _flat_bytes("<i", [known[value.name] for value in inputs]),
                        2: _flat_bytes("<i", [known[value.name] for value in outputs]),
                        3: _flat_vector([_tflite_operator(n, known, codes) for n in nodes]),
                    }
                ]
            ),
            4: _flat_vector([{}, *({0: _flat_bytes("<B", list(data))} for data in contents)]),
        },
    )
    struct.pack_into("<I", data, 0, root)
    return bytes(data)


FlatField = tuple[str, int] | Callable[[bytearray], int]
"""A scalar with its form, or a function that appends an object and returns its position."""


def _tflite_tensor(value: Value, buffer: int) -> Mapping[int, FlatField]:
    shape = value.shape or ()
    fields: dict[int, FlatField] = {
        0: _flat_bytes("<i", [size if isinstance(size, int) else 1 for size in shape]),
        1: ("<B", TFLITE_TYPES[value.dtype]),
        2: ("<I", buffer),
        3: _flat_bytes("<B", value.name.encode(), end=b"\0"),
    }
    if not all(isinstance(size, int) for size in shape):
        fields[7] = _flat_bytes("<i", [size if isinstance(size, int) else -1 for size in shape])
    return fields


def _tflite_operator(
    node: Node, known: Mapping[str, int], codes: Sequence[int]
) -> Mapping[int, FlatField]:
    return {
        0: ("<I", codes.index(TFLITE_CODES[node.kind])),
        1: _flat_bytes("<i", [known[name] for name in node.inputs]),
        2: _flat_bytes("<i", [known[node.output]]),
        4: lambda data: _flat_table(data, {0: ("<i", node.axis)}),
    }


def _flat_table(data: bytearray, fields: Mapping[int, FlatField]) -> int:
    count = max(fields, default=-1) + 1
    # Numbers lie at multiples of their sizes, as runtimes check it.
    while (len(data) + 4 + 2 * count) % 8 != 4:
        data += b"\0"
    layout = len(data)
    data += struct.pack("<HH", 4 + 2 * count, 4 + 8 * count)
    data += b"".join(
        struct.pack("<H", 4 + 8 * number if number in fields else 0) for number in range(count)
    )
    place = len(data)
    data += struct.pack("<i", place - layout) + bytes(8 * count)
    for number, field in fields.items():
        here = place + 4 + 8 * number
        if isinstance(field, tuple):
            struct.pack_into(field[0], data, here, field[1])
        else:
            struct.pack_into("<I", data, here, field(data) - here)
    return place


def _flat_bytes(
    form: str, values: Sequence[int], *, end: bytes = b""
) -> Callable[[bytearray], int]:
    def append(data: bytearray) -> int:
        while len(data) % 8 != 4:
            data.append(0)
        place = len(data)
        data.extend(struct.pack("<I", len(values)))
        data.extend(b"".join(struct.pack(form, value) for value in values))
        data.append(0)  # a string ends so
        return place

    return append


def _flat_vector(tables: Sequence[Mapping[int, FlatField]]) -> Callable[[bytearray], int]:
    def append(data: bytearray) -> int:
        data.extend(bytes(-len(data) % 4))
        place = len(data)
        data.extend(struct.pack("<I", len(tables)) + bytes(4 * len(tables)))
        for number, fields in enumerate(tables):
            here = place + 4 + 4 * number
            struct.pack_into("<I", data, here, _flat_table(data, fields) - here)
        return place

    return append


def _align(data: bytearray) -> None:
    data += bytes(-len(data) % 4)


def _varint(tag: int, value: int) -> bytes:
    return _number(tag << 3) + _number(value & (1 << 64) - 1)


def _tagged(tag: int, value: bytes) -> bytes:
    return _number(tag << 3 | 2) + _number(len(value)) + value


def _number(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])
