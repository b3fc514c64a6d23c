"""Parse the values of `--shape` and `--input` of `controller catalog import`."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.suggest import hint

_SHAPE = re.compile(r"[0-9]{1,10}(x[0-9]{1,10}){0,63}", re.IGNORECASE)
_MAX_SIZE = (1 << 31) - 1
_FORMS = "ones, zeros, a number, randint:LOW:HIGH or uniform:LOW:HIGH"
_RANGES = ("randint", "uniform")

Number = int | float


@dataclass(frozen=True)
class Values:
    """Values of an input: a constant, or for the sample input random values of a range.

    Both bounds belong to the range.
    """

    low: Number
    high: Number
    kind: str = ""
    """`randint`, `uniform`, or empty for a constant."""

    @property
    def is_constant(self) -> bool:
        """True if all elements have the same value."""
        return not self.kind


def parse_shapes(texts: Sequence[str], inputs: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of `--shape NAME=1x3x224x224` by input; one input needs no NAME.

    Raises:
        FleetmarkError: USAGE: a text is not such a shape, or names an unknown input.
    """
    found: dict[str, tuple[int, ...]] = {}
    for name, value in _pairs("--shape", texts, inputs):
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
    return {name: _values(spec) for name, spec in _pairs("--input", texts, inputs)}


def _pairs(option: str, texts: Sequence[str], inputs: Sequence[str]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for text in texts:
        name, separator, value = text.rpartition("=")
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
    if word == "normal":
        raise FleetmarkError(
            ErrorKind.USAGE,
            "normal is not supported: random values are uniform",
            "--input",
            f"Give {_FORMS}",
        )
    numbers = [_number(text) for text in (bounds if bounds else [word])]
    if len(numbers) == 1 and not bounds and numbers[0] is not None:
        return Values(numbers[0], numbers[0])
    if len(numbers) == 2 and word in _RANGES:
        low, high = numbers
        whole = isinstance(low, int) and isinstance(high, int)
        if low is not None and high is not None and low <= high and (whole or word == "uniform"):
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
