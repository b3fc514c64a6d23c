"""Generates convolutional networks of any size as ONNX files, for cases where only speed matters.

The files are encoded directly in protobuf's wire format, so no ONNX library is needed. Each layer
is a 3×3 convolution and a ReLU, so the run time is proportional to the number of layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

CHANNELS, SIDE = 32, 28
SHAPE = (CHANNELS, SIDE, SIDE)
_FLOAT, _INTS = 1, 7


def write_cnn(path: Path, layers: int) -> None:
    """Write a network of `layers` layers with input [1, 32, 28, 28] and output [1, 32, 1, 1]."""
    random = np.random.default_rng(1)
    # This scale keeps the magnitude of values across layers: subnormal numbers would be slow.
    scale = np.sqrt(2.0 / (9 * CHANNELS))
    nodes, weights = b"", b""
    last = "input"
    for number in range(layers):
        values = random.normal(0.0, scale, (CHANNELS, CHANNELS, 3, 3)).astype(np.float32)
        weights += _field(5, _tensor(f"w{number}", values))
        pads = _attribute("pads", _INTS, [1, 1, 1, 1])
        # ONNX infers it from the weights; OpenCV does not.
        pads += _attribute("kernel_shape", _INTS, [3, 3])
        nodes += _node("Conv", [last, f"w{number}"], f"c{number}", pads)
        nodes += _node("Relu", [f"c{number}"], f"r{number}")
        last = f"r{number}"
    nodes += _node("GlobalAveragePool", [last], "output")
    graph = nodes + _text(2, "cnn") + weights
    graph += _field(11, _value("input", (1, *SHAPE))) + _field(12, _value("output", (1, 32, 1, 1)))
    opset = _field(8, _text(1, "") + _field(2, 13))
    path.write_bytes(_field(1, 8) + _text(2, "fleetmark bench") + _field(7, graph) + opset)


def _number(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def _field(tag: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return _number(tag << 3) + _number(value)
    return _number(tag << 3 | 2) + _number(len(value)) + value


def _text(tag: int, value: str) -> bytes:
    return _field(tag, value.encode())


def _node(kind: str, inputs: Sequence[str], output: str, attributes: bytes = b"") -> bytes:
    named = b"".join(_text(1, name) for name in inputs) + _text(2, output) + _text(3, output)
    return _field(1, named + _text(4, kind) + attributes)


def _attribute(name: str, kind: int, values: Sequence[int]) -> bytes:
    body = _text(1, name) + b"".join(_field(8, value) for value in values)
    return _field(5, body + _field(20, kind))


def _tensor(name: str, values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> bytes:
    dims = b"".join(_field(1, size) for size in values.shape)
    return dims + _field(2, _FLOAT) + _text(8, name) + _field(9, values.tobytes())


def _value(name: str, shape: Sequence[int]) -> bytes:
    sizes = b"".join(_field(1, _field(1, size)) for size in shape)
    return _text(1, name) + _field(2, _field(1, _field(1, _FLOAT) + _field(2, sizes)))
