"""Choose the sample input of a model, and default values for its other inputs.

The sample input receives the samples. It is, in this order:

1. an input that `--input` gives values that differ between samples, the best of them as below;
2. the largest input of floating-point numbers;
3. an integer input whose name says that it has token ids;
4. the largest other input.

Inputs whose names say that they are masks, token types, positions, lengths or states come last in
each step.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from enum import Enum

from fleetmark_controller.artifacts.model_formats.model_graph import Tensor

FLOATS: Mapping[str, float] = {"float16": 65504.0, "float32": 3.4028234e38, "float64": 1.79e308}
"""Types of floating-point numbers that a job can create, with their largest values."""
INTEGERS: Mapping[str, tuple[int, int]] = {
    "bool": (0, 1),
    **{f"int{bits}": (-(1 << bits - 1), (1 << bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": (0, (1 << bits) - 1) for bits in (8, 16, 32, 64)},
}
"""Types of integers that a job can create, with their smallest and largest values."""


class Role(Enum):
    """Meaning of an input that is not the sample input, by its name."""

    MASK = re.compile(r"mask")
    TOKEN_TYPE = re.compile(r"token_?type|segment|type_?ids")
    LENGTH = re.compile(r"length|(?:^|[^a-z]|seq)lens?(?![a-z])")
    POSITION = re.compile(r"position|(?:^|[^a-z])pos(?![a-z])")
    STATE = re.compile(r"state|hidden|past|cache|memory|(?:^|[^a-z])[hc][0-9n]?(?![a-z0-9])")
    OTHER = re.compile(r"")


_TOKENS = re.compile(r"(?:^|[^a-z]|input)ids?(?![a-z])|token|word")


def role_of(tensor: Tensor) -> Role:
    """Return the role that the name of an input says."""
    return next(role for role in Role if role.value.search(tensor.name.lower()))


def is_token_input(tensor: Tensor) -> bool:
    """Return whether the name of an input says that it has token ids."""
    return role_of(tensor) is Role.OTHER and bool(_TOKENS.search(tensor.name.lower()))


def choose_sample_input(
    inputs: Sequence[Tensor], sizes: Sequence[int], varying: Collection[str]
) -> int:
    """Return the index of the sample input.

    Args:
        inputs: the inputs, at least one.
        sizes: number of elements of one sample of each.
        varying: names of the inputs that were given values that differ between samples.
    """

    def rank(n: int) -> tuple[bool, bool, int, int]:
        tensor = inputs[n]
        kind = 2 if tensor.dtype in FLOATS else int(bool(_TOKENS.search(tensor.name.lower())))
        return tensor.name in varying, role_of(tensor) is Role.OTHER, kind, sizes[n]

    # Of equal inputs, the first one.
    return max(range(len(inputs)), key=lambda n: (*rank(n), -n))
