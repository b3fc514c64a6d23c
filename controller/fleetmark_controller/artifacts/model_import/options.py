"""Parse the values of `--shape`, `--input` and `--batch-axis` of `controller catalog import`."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.suggest import hint

_SHAPE = re.compile(r"[0-9]{1,10}(x[0-9]{1,10}){0,63}", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,79}")
_MAX_SIZE = (1 << 31) - 1
_FORMS = (
    "ones, zeros, a number, randint:LOW:HIGH, uniform:LOW:HIGH, normal:MEAN:DEVIATION, a file, or "
    "dataset/NAME"
)
_RANGES = ("randint", "uniform", "normal")
ARRAY, DATASET = "array", "dataset"

Number = int | float


@dataclass(frozen=True)
class ArrayHead:
    """Type and shape of an array with the values of an input; the first axis has the samples."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Values:
    """Values of an input: a constant, random values, an array, or the samples of a data set.

    Both bounds of a range belong to it. For normal values they are mean and standard deviation.
    """

    low: Number
    high: Number
    kind: str = ""
    """`randint`, `uniform`, `normal`, `array`, `dataset`, or empty for a constant."""
    source: str = ""
    """Name of the array or of the data set."""

    @property
    def is_constant(self) -> bool:
        """True if all elements have the same value."""
        return not self.kind

    @property
    def is_stored(self) -> bool:
        """True if the values are in a file."""
        return self.kind in (ARRAY, DATASET)


def parse_shapes(texts: Sequence[str], inputs: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of `--shape NAME=1x3x224x224` by input; one input needs no NAME.

    Raises:
        FleetmarkError: USAGE: a text is not such a shape, or names an unknown input.
    """
    found: dict[str, tuple[int, ...]] = {}
    for name, value in split_pairs("--shape", texts, inputs):
        sizes = [int(size) for size in value.lower().split("x")] if _SHAPE.fullmatch(value) else []
        if not sizes or not all(1 <= size <= _MAX_SIZE for size in sizes):
            raise FleetmarkError(
                ErrorKind.USAGE,
                f"{value[:80]!r} is not a shape",
                "--shape",
                "Give positive sizes such as 1x3x224x224",
            )
        found[name] = tuple(sizes)
    return found


def parse_inputs(texts: Sequence[str], inputs: Sequence[str]) -> dict[str, Values]:
    """Return the values of `--input NAME=SPEC` by input; one input needs no NAME.

    Raises:
        FleetmarkError: USAGE: a text is not such a specification, or names an unknown input.
    """
    return {name: _values(spec) for name, spec in split_pairs("--input", texts, inputs)}


def parse_batch_axes(texts: Sequence[str], tensors: Sequence[str]) -> dict[str, int | None]:
    """Return the axes of `--batch-axis NAME=AXIS` by input or output; None if there is no batch.

    Raises:
        FleetmarkError: USAGE: a text is not such an axis, or names an unknown input or output.
    """
    found: dict[str, int | None] = {}
    for name, value in split_pairs("--batch-axis", texts, tensors):
        if value != "none" and not re.fullmatch(r"[0-9]{1,2}", value):
            raise FleetmarkError(
                ErrorKind.USAGE,
                f"{value[:80]!r} is not an axis",
                "--batch-axis",
                "Give the number of an axis, from 0, or none",
            )
        found[name] = None if value == "none" else int(value)
    return found


def split_pairs(option: str, texts: Sequence[str], inputs: Sequence[str]) -> list[tuple[str, str]]:
    """Return the inputs that the values of an option name, each with the rest of its text.

    Raises:
        FleetmarkError: USAGE: a text names no input, an unknown one, or one that was named before.
    """
    found: list[tuple[str, str]] = []
    for text in texts:
        # Names may contain "=", file names too: the longest input that fits is meant.
        named = [name for name in inputs if text.startswith(f"{name}=")]
        name, separator, value = text.rpartition("=")
        if named:
            name = max(named, key=len)
            separator, value = "=", text[len(name) + 1 :]
        if not separator and len(inputs) != 1:
            raise FleetmarkError(
                ErrorKind.USAGE,
                f"{text[:80]!r} names no input",
                option,
                f"Give {option} NAME=…; the inputs are {_listed(inputs)}",
            )
        name = name if separator else inputs[0]
        if name not in inputs:
            raise FleetmarkError(
                ErrorKind.USAGE,
                f"the model has no input {name[:80]!r}",
                option,
                hint(name[:80], inputs) or f"The inputs are {_listed(inputs)}",
            )
        if name in dict(found):
            raise FleetmarkError(ErrorKind.USAGE, f"input {name} is given twice", option)
        found.append((name, value))
    return found


def _listed(inputs: Sequence[str]) -> str:
    return ", ".join(name[:80] for name in inputs[:10])


def _values(spec: str) -> Values:
    word, *bounds = spec.split(":")
    if not bounds and word in ("ones", "zeros"):
        value = int(word == "ones")
        return Values(value, value)
    if word in (ARRAY, DATASET) and len(bounds) == 1 and _WORD.fullmatch(bounds[0]):
        return Values(0, 0, word, bounds[0])
    if spec.startswith("dataset/") and _WORD.fullmatch(spec[8:]):
        return Values(0, 0, DATASET, spec[8:])
    numbers = [_number(text) for text in (bounds if bounds else [word])]
    if len(numbers) == 1 and not bounds and numbers[0] is not None:
        return Values(numbers[0], numbers[0])
    if len(numbers) == 2 and word in _RANGES:
        low, high = numbers
        if low is not None and high is not None:
            whole = isinstance(low, int) and isinstance(high, int)
            fits = {
                "randint": whole and low <= high,
                "uniform": low <= high,
                "normal": high > 0,
            }
            if fits[word]:
                return Values(low, high, word)
    raise FleetmarkError(
        ErrorKind.USAGE, f"{spec[:80]!r} describes no values", "--input", f"Give {_FORMS}"
    )


def _number(text: str) -> Number | None:
    if re.fullmatch(r"[+-]?[0-9]{1,20}", text):
        return int(text)
    if len(text) > 40 or not re.fullmatch(r"[-+.0-9eE]+", text):
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
