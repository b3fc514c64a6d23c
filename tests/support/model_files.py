"""Files of models, sound and hostile; most of a large one takes no room on the disk."""

from __future__ import annotations

import os
import struct
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


def _tagged(tag: int, value: bytes) -> bytes:
    return _number(tag << 3 | 2) + _number(len(value)) + value


def _number(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])
