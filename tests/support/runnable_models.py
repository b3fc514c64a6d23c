"""ONNX models that a runtime can run, built without an ONNX library."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.support.model_files import ONNX_TYPES, Value, _tagged, _value_info, _varint

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Op:
    """A node; attributes are whole numbers, lists of them, or arrays."""

    kind: str
    inputs: Sequence[str]
    output: str
    attributes: Mapping[str, int | Sequence[int] | Array] = field(default_factory=dict)


@dataclass(frozen=True)
class External:
    """A weight whose bytes are in a file beside the model."""

    dtype: str
    shape: Sequence[int]
    location: str
    offset: int = 0


def onnx_model(
    ops: Sequence[Op],
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    weights: Mapping[str, Array | External] | None = None,
    *,
    ir: int = 8,
    opset: int = 13,
) -> bytes:
    """Return an ONNX model with its weights."""
    graph = b"".join(_tagged(1, _op(op)) for op in ops)
    graph += _tagged(2, b"graph")
    for name, weight in (weights or {}).items():
        graph += _tagged(5, _tensor(weight, name))
    graph += b"".join(_tagged(11, _value_info(value)) for value in inputs)
    graph += b"".join(_tagged(12, _value_info(value)) for value in outputs)
    return _varint(1, ir) + _tagged(7, graph) + _tagged(8, _tagged(1, b"") + _varint(2, opset))


def _op(op: Op) -> bytes:
    data = b"".join(_tagged(1, name.encode()) for name in op.inputs)
    data += _tagged(2, op.output.encode()) + _tagged(4, op.kind.encode())
    for name, value in op.attributes.items():
        text = _tagged(1, name.encode())
        if isinstance(value, int):
            text += _varint(3, value) + _varint(20, 2)
        elif isinstance(value, np.ndarray):
            text += _tagged(5, _tensor(value)) + _varint(20, 4)
        else:
            text += b"".join(_varint(8, each) for each in value) + _varint(20, 7)
        data += _tagged(5, text)
    return data


def _tensor(value: Array | External, name: str = "") -> bytes:
    dtype = value.dtype if isinstance(value, External) else str(value.dtype)
    data = b"".join(_varint(1, size) for size in value.shape) + _varint(2, ONNX_TYPES[dtype])
    data += _tagged(8, name.encode()) if name else b""
    if not isinstance(value, External):
        return data + _tagged(9, value.tobytes())
    keys = {"location": value.location, "offset": str(value.offset)}
    for key, text in keys.items():
        data += _tagged(13, _tagged(1, key.encode()) + _tagged(2, text.encode()))
    return data + _varint(14, 1)


def floats(*shape: int) -> Array:
    """Return weights that differ."""
    count = int(np.prod(shape))
    return np.linspace(-1, 1, count, dtype=np.float32).reshape(shape)


def classifier(shape: Sequence[int | str | None] = ("batch", 3, 8, 8)) -> bytes:
    """Return a network of one layer with 10 classes for pictures of any fixed or open size."""
    return onnx_model(
        [
            Op("GlobalAveragePool", ["x"], "p"),
            Op("Flatten", ["p"], "f"),
            Op("MatMul", ["f", "w"], "y"),
        ],
        [Value("x", "float32", shape)],
        [Value("y", "float32", [shape[0], 10])],
        {"w": floats(3, 10)},
    )


def encoder(rows: int = 1000, names: Sequence[str] = ("attention_mask", "input_ids")) -> bytes:
    """Return a table lookup of token ids that a mask multiplies."""
    text = ["batch", "sequence"]
    mask, ids = names
    return onnx_model(
        [
            Op("Gather", ["table", ids], "rows"),
            Op("Cast", [mask], "m", {"to": 1}),
            Op("Unsqueeze", ["m", "axes"], "u"),
            Op("Mul", ["rows", "u"], "y"),
        ],
        [Value(name, "int64", text) for name in names],
        [Value("y", "float32", [*text, 16])],
        {"table": floats(rows, 16), "axes": np.array([2], np.int64)},
    )


def text_classifier(
    table: Array, types: Array, weights: Array, length: int | str = "length", dtype: str = "int64"
) -> bytes:
    """Return a classifier of the sum of the rows of a table, as of a small BERT.

    Args:
        table: rows [tokens, features] by id; a mask removes them.
        types: rows [2, features] by type of the token.
        weights: [features, classes].
        length: number of tokens, or a name.
        dtype: type of the inputs.
    """
    names = ("input_ids", "attention_mask", "token_type_ids")
    return onnx_model(
        [
            Op("Gather", ["table", "input_ids"], "rows"),
            Op("Gather", ["types", "token_type_ids"], "kinds"),
            Op("Add", ["rows", "kinds"], "both"),
            Op("Cast", ["attention_mask"], "m", {"to": 1}),
            Op("Unsqueeze", ["m", "two"], "u"),
            Op("Mul", ["both", "u"], "kept"),
            Op("ReduceSum", ["kept", "one"], "sum", {"keepdims": 0}),
            Op("MatMul", ["sum", "w"], "y"),
        ],
        [Value(name, dtype, ["batch", length]) for name in names],
        [Value("y", "float32", ["batch", weights.shape[1]])],
        {
            "table": table.astype(np.float32),
            "types": types.astype(np.float32),
            "w": weights.astype(np.float32),
            "one": np.array([1], np.int64),
            "two": np.array([2], np.int64),
        },
    )


def sound_classifier(weights: Array) -> bytes:
    """Return a classifier of sound [1, samples], with weights [samples, classes]."""
    samples, classes = weights.shape
    return onnx_model(
        [Op("Flatten", ["sound"], "f"), Op("MatMul", ["f", "w"], "y")],
        [Value("sound", "float32", ["batch", 1, samples])],
        [Value("y", "float32", ["batch", classes])],
        {"w": weights.astype(np.float32)},
    )


def tagger(rows: int = 1000) -> bytes:
    """Return a table lookup that the graph hides: its indices are computed."""
    return onnx_model(
        [Op("Add", ["tokens", "one"], "t"), Op("Gather", ["table", "t"], "y")],
        [Value("tokens", "int32", ["batch", 64])],
        [Value("y", "float32", ["batch", 64, 4])],
        {"one": np.array(0, np.int32), "table": floats(rows, 4)},
    )


def identity(dtype: str, shape: Sequence[int | str | None]) -> bytes:
    """Return a model that gives its input back."""
    value = Value("x", dtype, shape)
    return onnx_model([Op("Identity", ["x"], "y")], [value], [Value("y", dtype, shape)])


def not_finite() -> bytes:
    """Return a model whose output is NaN for each input."""
    shape = ["n", 16]
    return onnx_model(
        [Op("Mul", ["x", "nan"], "y")],
        [Value("x", "float32", shape)],
        [Value("y", "float32", shape)],
        {"nan": np.array(np.nan, np.float32)},
    )


def allocating(size_bytes: int) -> bytes:
    """Return a model that makes a tensor of so many bytes when it runs."""
    return onnx_model(
        [
            Op("ConstantOfShape", ["shape"], "big", {"value": np.zeros(1, np.float32)}),
            Op("ReduceMax", ["big"], "most", {"axes": [0], "keepdims": 0}),
            Op("Add", ["x", "most"], "y"),
        ],
        [Value("x", "float32", ["n", 16])],
        [Value("y", "float32", ["n", 16])],
        {"shape": np.array([size_bytes // 4], np.int64)},
    )


def time_major(steps: int = 50) -> bytes:
    """Return a model whose first output axis is time, and whose second one is the batch."""
    return onnx_model(
        [Op("Transpose", ["x"], "y", {"perm": [1, 0, 2]})],
        [Value("x", "float32", ["n", steps, 8])],
        [Value("y", "float32", [steps, "n", 8])],
    )


def with_external(location: str = "weights.data") -> tuple[bytes, bytes]:
    """Return a model, and the content of the file beside it that holds its weights."""
    weights = floats(4, 10)
    model = onnx_model(
        [Op("MatMul", ["x", "w"], "y")],
        [Value("x", "float32", ["n", 4])],
        [Value("y", "float32", ["n", 10])],
        {"w": External("float32", weights.shape, location)},
    )
    return model, struct.pack("<40f", *weights.ravel())
