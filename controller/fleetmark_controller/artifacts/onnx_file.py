"""Read the metadata of an ONNX file (protobuf) without an ONNX library.

Only tags and lengths are parsed and all other data is skipped, so that a file of many gigabytes
costs little. Nothing in it is executed or unpickled.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fleetmark_core.regular_file import open_regular

DTYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 10: "float16"}
_MAX_DEPTH = 40
_MAX_TEXT = 4096
_MAX_FIELDS = 5_000_000
_MAX_NAME_BYTES = 16 << 20
_MAX_NAMES = 200_000
_MAX_TENSORS = 10_000
_MAX_DIMENSIONS = 64
_MAX_PLACES = 100
_EXTERNAL = 1


class NotOnnxError(ValueError):
    """The bytes are not an ONNX model; the text says why."""


@dataclass(frozen=True)
class Tensor:
    """An input or output of a graph; a dimension without a fixed size is 0."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class OnnxDescription:
    """The metadata of an ONNX model."""

    ir_version: int
    opset: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    external: tuple[str, ...]
    """Files that hold its weights, as the model names them; empty if the model is complete."""


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
        walk.message(os.fstat(file.fileno()).st_size, walk.model, 0)
    if not walk.ir_version or not walk.outputs:
        raise NotOnnxError("has no graph with outputs")
    return OnnxDescription(
        walk.ir_version,
        walk.opset,
        # Before IR version 4, weights also had to be listed among the inputs.
        tuple(tensor for tensor in walk.inputs if tensor.name not in walk.initializers),
        tuple(walk.outputs),
        tuple(dict.fromkeys(walk.external)),
    )


Handler = Callable[[int, int, int, int], bool]
"""Handles a field, given its number, its value or length, its end and its depth.

For a number, the second argument is its value and the end is negative. For bytes, it is their
length. Returns whether the handler consumed the bytes.
"""


class _Walk:
    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.ir_version = 0
        self.opset = 0
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self.initializers: set[str] = set()
        self.external: list[str] = []
        self.fields = 0
        self.name_bytes = 0

    # --- protobuf -------------------------------------------------------------------------

    def message(self, end: int, handler: Handler, depth: int) -> None:
        """Pass each field up to the position `end` to `handler`."""
        if depth > _MAX_DEPTH:
            raise NotOnnxError("is nested too deeply")
        while (here := self.file.tell()) < end:
            self.fields += 1
            if self.fields > _MAX_FIELDS:
                raise NotOnnxError("has too many fields")
            tag = self.number()
            field, wire = tag >> 3, tag & 7
            if field == 0:
                raise NotOnnxError(f"is not a protobuf message at byte {here}")
            if wire == 0:
                handler(field, self.number(), -1, depth)
            elif wire in (1, 5):
                self.skip(8 if wire == 1 else 4, end)
            elif wire == 2:
                size = self.number()
                stop = self.file.tell() + size
                if stop > end:
                    raise NotOnnxError("is truncated")
                if not handler(field, size, stop, depth):
                    self.file.seek(stop)
                elif self.file.tell() != stop:
                    raise NotOnnxError("has a field of the wrong length")
            else:
                raise NotOnnxError(f"is not a protobuf message at byte {here}")
        if self.file.tell() != end:
            raise NotOnnxError("is truncated")

    def number(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self.file.read(1)
            if not byte:
                raise NotOnnxError("is truncated")
            value |= (byte[0] & 0x7F) << shift
            if byte[0] < 0x80:
                return value
        raise NotOnnxError("has a number with too many bytes")

    def skip(self, size: int, end: int) -> None:
        if self.file.tell() + size > end:
            raise NotOnnxError("is truncated")
        self.file.seek(size, os.SEEK_CUR)

    def text(self, size: int) -> str:
        if size > _MAX_TEXT:
            raise NotOnnxError("has a name that is too long")
        return self.file.read(size).decode(errors="replace")

    # --- ONNX, by the field numbers of onnx.proto -----------------------------------------

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
            return self._into(True, end, self.training if field == 20 else self.function, depth)
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
        return self._into(field == 7, end, self.node, depth)

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
            self.message(end, self.node, depth + 1)
        elif field == 5:
            self.message(end, self.tensor, depth + 1)
        else:
            self.message(end, self.sparse, depth + 1)
        return True

    def node(self, field: int, value: int, end: int, depth: int) -> bool:
        if field == 5 and end >= 0:
            self.message(end, self.attribute, depth + 1)
            return True
        return False

    def attribute(self, field: int, value: int, end: int, depth: int) -> bool:
        handlers = {5: self.tensor, 10: self.tensor, 6: self.any_graph, 11: self.any_graph}
        handlers |= {22: self.sparse, 23: self.sparse}
        if end < 0 or field not in handlers:
            return False
        self.message(end, handlers[field], depth + 1)
        return True

    def sparse(self, field: int, value: int, end: int, depth: int) -> bool:
        if end >= 0 and field in (1, 2):
            self.message(end, self.tensor, depth + 1)
            return True
        return False

    def tensor(self, field: int, value: int, end: int, depth: int) -> bool:
        if field == 8 and end >= 0:
            self._note_initializer(value)
            return True
        if field == 13 and end >= 0:
            self.message(end, self._external(), depth + 1)
            return True
        # Protobuf parsers keep 32 bits of an enum, so the higher bits are ignored here too.
        if field == 14 and end < 0 and value & 0xFFFFFFFF == _EXTERNAL:
            self._note_place("")
        return False

    def _note_initializer(self, size: int) -> None:
        if len(self.initializers) >= _MAX_NAMES:
            raise NotOnnxError("has too many names")
        self.initializers.add(self._kept(size))

    def _note_place(self, place: str) -> None:
        # One entry is enough to reject the model; further ones are only shown.
        if len(self.external) < _MAX_PLACES:
            self.external.append(place)

    def _kept(self, size: int) -> str:
        """Read a name that is kept in memory; the total size of such names is limited."""
        self.name_bytes += size
        if self.name_bytes > _MAX_NAME_BYTES:
            raise NotOnnxError("has too many names")
        return self.text(size)

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
        found: dict[str, object] = {"name": "", "dtype": 0, "shape": []}

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
            return self._into(field == 2, stop, shape, depth)

        def shape(field: int, value: int, stop: int, depth: int) -> bool:
            if field == 1 and stop >= 0:
                if len(sizes) >= _MAX_DIMENSIONS:
                    raise NotOnnxError("has a tensor with too many dimensions")
                sizes.append(0)
            return self._into(field == 1, stop, dimension, depth)

        def dimension(field: int, value: int, stop: int, depth: int) -> bool:
            if field == 1 and stop < 0 and 0 < value < 1 << 31:
                sizes[-1] = value
            return False

        sizes: list[int] = []
        self.message(end, info, depth)
        dtype = DTYPES.get(int(str(found["dtype"])), "")
        return Tensor(str(found["name"]), dtype, tuple(sizes))

    def _into(self, wanted: bool, end: int, handler: Handler, depth: int) -> bool:
        if not wanted or end < 0:
            return False
        self.message(end, handler, depth + 1)
        return True
