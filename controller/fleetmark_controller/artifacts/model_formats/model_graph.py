"""Tensors of a model file, and the facts about its graph that an import needs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

_MAX_HOPS = 100
_MAX_TABLE_AXES = 8
_MAX_TEXT_AXES = 16
_MAX_ELEMENTS = 1 << 62
_PRECISIONS = {
    "float64": "fp64",
    "float32": "fp32",
    "float16": "fp16",
    "bfloat16": "bf16",
    "int16": "int16",
    "int8": "int8",
    "uint8": "int8",
    "int4": "int4",
    "uint4": "int4",
}


_PLACEHOLDERS = frozenset({"none", "null", "unknown"})


@dataclass(frozen=True)
class Tensor:
    """An input or output of a graph; a dimension without a fixed size is 0."""

    name: str
    dtype: str
    """Type of an element; empty if it is no tensor or has a type without a name here."""
    shape: tuple[int, ...]
    symbols: tuple[str, ...] = ()
    """Name of each dimension, empty if it has none; no entries if no dimension has a name."""
    has_rank: bool = True
    """False if the file does not even give the number of dimensions."""
    quantization: tuple[float, int] | None = field(default=None, compare=False)
    """Scale and zero point of an input of integers that stand for real numbers."""

    def symbol(self, axis: int) -> str:
        """Return the name of a dimension without a fixed size; empty if it has none.

        Some exporters write a placeholder, such as `?`, for each dimension whose size they do not
        know. Dimensions with the same placeholder need not have the same size.
        """
        if axis >= len(self.symbols) or self.shape[axis]:
            return ""
        name = self.symbols[axis]
        is_placeholder = name.lower() in _PLACEHOLDERS or not any(map(str.isalpha, name))
        return "" if is_placeholder else name

    def text(self) -> str:
        """Return the shape as text, such as `[batch, 3, height, ?]`."""
        if not self.has_rank:
            return "[unknown number of dimensions]"
        parts = [
            str(size) if size else printable(self.symbol(axis))[:60] or "?"
            for axis, size in enumerate(self.shape[:_MAX_TEXT_AXES])
        ]
        parts += ["…"] if len(self.shape) > _MAX_TEXT_AXES else []
        return f"[{', '.join(parts)}]"


@dataclass
class GraphFacts:
    """Weights, table lookups and quantization of a graph. The parser limits their number."""

    has_quantized_nodes: bool = False
    weights: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Shape of each weight that has a name and could be a table."""
    elements: Counter[str] = field(default_factory=Counter)
    """Number of elements of all weights, by type."""
    sources: dict[str, tuple[str, bool]] = field(default_factory=dict)
    """By value: the value that it is taken from, and whether it has the same shape."""
    lookups: list[tuple[str, str, int]] = field(default_factory=list)
    """Of each table lookup: the table, the indices and the axis."""

    def add_weight(self, name: str, dtype: str, shape: Sequence[int]) -> None:
        """Record a weight; only the shape of one with a name is kept."""
        count = 1
        for size in shape:
            count = min(count * size, _MAX_ELEMENTS)
        self.elements[dtype] += count
        if name and len(shape) <= _MAX_TABLE_AXES:
            self.weights[name] = tuple(shape)

    def table_sizes(self, inputs: Iterable[str]) -> dict[str, int]:
        """Return the size of the smallest table that each of the inputs indexes.

        Inputs that index no constant table are left out.
        """
        wanted = set(inputs)
        found: dict[str, int] = {}
        for table, indices, axis in self.lookups:
            shape = self.weights.get(self._origin(table, self.weights, same_shape=True), ())
            name = self._origin(indices, wanted, same_shape=False)
            if name not in wanted or not -len(shape) <= axis < len(shape) or shape[axis] < 1:
                continue
            found[name] = min(found.get(name, shape[axis]), shape[axis])
        return found

    def precision(self, sample: Tensor) -> str:
        """Return the precision of the model.

        A graph with quantizing nodes is int8. Else the type of most weights counts, and without
        weights that of the input.
        """
        if self.has_quantized_nodes:
            return "int8"
        by_precision: Counter[str] = Counter()
        for dtype, count in self.elements.items():
            if dtype in _PRECISIONS:
                by_precision[_PRECISIONS[dtype]] += count
        if by_precision.total():
            return by_precision.most_common(1)[0][0]
        return _PRECISIONS.get(sample.dtype, "fp32")

    def _origin(self, name: str, ends: Iterable[str], *, same_shape: bool) -> str:
        """Follow a value to the one of `ends` that it is taken from, or as far as possible."""
        for _ in range(_MAX_HOPS):
            source, keeps_shape = self.sources.get(name, ("", False))
            if name in ends or not source or (same_shape and not keeps_shape):
                break
            name = source
        return name


def printable(name: str) -> str:
    """Return `name` without control characters, at most 400 characters."""
    return re.sub(r"\s", " ", "".join(letter for letter in name if letter.isprintable()))[:400]
