"""Plan the import of a model: its sample input, the values of the others, shapes and precision."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fleetmark_controller.artifacts.import_options import (
    Number,
    Values,
    parse_inputs,
    parse_shapes,
)
from fleetmark_controller.artifacts.input_roles import (
    FLOATS,
    INTEGERS,
    Role,
    choose_sample_input,
    is_range,
    role_of,
)
from fleetmark_controller.artifacts.input_shapes import FixedShape, fix_shapes, sample_sizes
from fleetmark_controller.artifacts.model_graph import Tensor
from fleetmark_controller.artifacts.onnx_file import OnnxDescription
from fleetmark_controller.artifacts.tflite_file import TfliteDescription
from fleetmark_core.errors import ErrorKind, FleetmarkError

Description = OnnxDescription | TfliteDescription


@dataclass(frozen=True)
class PlannedInput:
    """An input with its shape and values."""

    name: str
    dtype: str
    shape: FixedShape
    values: Values | None
    """None: the whole range that the harness takes for the type."""
    why: str = ""
    """Reason for the values, unless the operator gave them."""

    def describe_values(self) -> str:
        """Return the values as text, such as `random 0 to 999`."""
        if self.values is None:
            return "random 0 to 1" if self.dtype in FLOATS else f"random {self.dtype}"
        if is_range(self.values):
            return f"random {self.values.low} to {self.values.high}"
        words: dict[Number, str] = {0: "zeros", 1: "ones"}
        return words.get(self.values.low, str(self.values.low))


@dataclass(frozen=True)
class PlannedOutput:
    """An output; sizes that are not known before a run are 0."""

    name: str
    dtype: str
    sizes: tuple[int, ...]
    batch_axis: int | None


@dataclass(frozen=True)
class ImportPlan:
    """The content of the model's component, as far as it follows from the graph."""

    sample: PlannedInput
    constants: tuple[PlannedInput, ...]
    outputs: tuple[PlannedOutput, ...]
    precision: str
    notes: tuple[str, ...]

    @property
    def fixed_batch(self) -> int:
        """The batch size that the file fixes, above 1; or 0."""
        sizes, axis = self.sample.shape.sizes, self.sample.shape.batch_axis
        return sizes[axis] if axis is not None and sizes[axis] > 1 else 0


def plan_import(
    model: Description, shapes: Sequence[str] = (), inputs: Sequence[str] = ()
) -> ImportPlan:
    """Return the plan for a model.

    Args:
        model: metadata of the file.
        shapes: values of `--shape`.
        inputs: values of `--input`.

    Raises:
        FleetmarkError: USAGE: a size or range must be given, or a given one is not possible.
            BAD_DOCUMENT: no job can run the model.
    """
    _check_types(model)
    names = [tensor.name for tensor in model.inputs]
    given_shapes, given = parse_shapes(shapes, names), parse_inputs(inputs, names)
    tables = model.facts.table_sizes(names)
    sizes = [
        math.prod(size or 1 for size in one) for one in sample_sizes(model.inputs, given_shapes)
    ]
    chosen = choose_sample_input(model.inputs, sizes, given)
    fixed = fix_shapes(model.inputs, model.outputs, chosen, given_shapes)
    first = model.inputs[chosen]
    sample = _sample(first, fixed[chosen], given.get(first.name), tables.get(first.name, 0))
    length = _sequence_length(first, fixed[chosen])
    constants = tuple(
        _constant(tensor, shape, given.get(tensor.name), tables.get(tensor.name, 0), length)
        for number, (tensor, shape) in enumerate(zip(model.inputs, fixed, strict=True))
        if number != chosen
    )
    known = _known_sizes(model.inputs, fixed)
    batch = fixed[chosen].sizes[0]
    outputs = tuple(_output(tensor, first, known, batch) for tensor in model.outputs)
    plan = ImportPlan(sample, constants, outputs, model.facts.precision(first), ())
    return replace(plan, notes=tuple(_notes(plan)))


def _check_types(model: Description) -> None:
    if not model.inputs:
        raise FleetmarkError(ErrorKind.BAD_DOCUMENT, "the model has no input")
    seen: set[str] = set()
    for tensor in model.inputs:
        if tensor.name in seen or not tensor.name:
            what = f"input {tensor.name!r} has the name of another input, or none"
            raise FleetmarkError(ErrorKind.BAD_DOCUMENT, what)
        seen.add(tensor.name)
    sides = [("input", tensor) for tensor in model.inputs]
    for side, tensor in [*sides, ("output", model.outputs[0])]:
        if tensor.dtype not in FLOATS and tensor.dtype not in INTEGERS:
            kind = tensor.dtype or "a type that is not a tensor of numbers"
            raise FleetmarkError(
                ErrorKind.BAD_DOCUMENT,
                f"{side} {tensor.name}: {kind} is not supported",
                "",
                f"Supported types: {', '.join([*FLOATS, *INTEGERS])}",
            )


def _sample(tensor: Tensor, shape: FixedShape, given: Values | None, table: int) -> PlannedInput:
    if given is not None:
        _check_values(tensor, given, table)
        return PlannedInput(tensor.name, tensor.dtype, shape, given)
    if table:
        _, largest = INTEGERS.get(tensor.dtype, (0, table - 1))
        kind = "randint" if tensor.dtype in INTEGERS else "uniform"
        why = f"it indexes a table of {table:,}"
        values = Values(0, min(table - 1, largest), kind)
        return PlannedInput(tensor.name, tensor.dtype, shape, values, why)
    if tensor.dtype == "bool":
        return PlannedInput(tensor.name, tensor.dtype, shape, Values(0, 1, "randint"))
    if tensor.dtype in INTEGERS and tensor.dtype not in ("int8", "uint8"):
        raise FleetmarkError(
            ErrorKind.USAGE,
            f"input {tensor.name}: the graph does not show which {tensor.dtype} values are valid",
            "",
            f"Give --input {tensor.name}=randint:0:999 with the valid range",
        )
    return PlannedInput(tensor.name, tensor.dtype, shape, None)


def _constant(
    tensor: Tensor, shape: FixedShape, given: Values | None, table: int, length: int
) -> PlannedInput:
    if given is not None:
        _check_values(tensor, given, table)
        return PlannedInput(tensor.name, tensor.dtype, shape, given)
    role = role_of(tensor)
    value, why = {
        Role.MASK: (1, "it is a mask by its name"),
        Role.TOKEN_TYPE: (0, "it is a token type by its name"),
        Role.LENGTH: (length, "it is a length by its name"),
        Role.POSITION: (0, "it is a position by its name"),
        Role.STATE: (0, "it is a state by its name"),
    }.get(role, (0, "nothing shows what it is"))
    values = Values(value, value)
    _check_values(tensor, values, table)
    return PlannedInput(tensor.name, tensor.dtype, shape, values, why)


def _check_values(tensor: Tensor, values: Values, table: int) -> None:
    """Raise an error if the type or the table of an input does not allow the values."""
    what = ""
    if tensor.dtype in FLOATS:
        largest = FLOATS[tensor.dtype]
        if values.kind == "randint":
            what = f"{tensor.dtype} gets random numbers with uniform:LOW:HIGH, not randint"
        elif max(abs(values.low), abs(values.high)) > largest:
            what = f"{_range(values)} does not fit into {tensor.dtype}"
    else:
        least, most = INTEGERS[tensor.dtype]
        if values.kind == "uniform":
            what = f"{tensor.dtype} gets random numbers with randint:LOW:HIGH, not uniform"
        elif any(value != int(value) for value in (values.low, values.high)):
            what = f"{_range(values)} is not an integer"
        elif not least <= values.low <= values.high <= most:
            what = f"{_range(values)} does not fit into {tensor.dtype}"
    if not what and table and not (-table <= values.low and values.high < table):
        what = f"{_range(values)} is outside the table of {table:,} that the input indexes"
    if what:
        raise FleetmarkError(ErrorKind.USAGE, f"input {tensor.name}: {what}", "--input")


def _range(values: Values) -> str:
    low: Number = values.low
    return str(low) if values.low == values.high else f"{low} to {values.high}"


def _sequence_length(sample: Tensor, shape: FixedShape) -> int:
    """Return the length of one sample: its first open dimension, or else its first one."""
    for axis in range(1, len(sample.shape)):
        if not sample.shape[axis]:
            return shape.sizes[axis]
    return shape.sizes[1] if len(shape.sizes) > 1 else 1


def _known_sizes(inputs: Sequence[Tensor], fixed: Sequence[FixedShape]) -> dict[str, int]:
    return {
        tensor.symbol(axis): size
        for tensor, shape in zip(inputs, fixed, strict=True)
        for axis, size in enumerate(shape.sizes)
        if axis < len(tensor.shape) and axis != shape.batch_axis and tensor.symbol(axis)
    }


def _output(tensor: Tensor, sample: Tensor, known: Mapping[str, int], batch: int) -> PlannedOutput:
    symbol = sample.symbol(0) if sample.shape else ""
    fixed = sample.shape[0] if sample.shape else 0
    axes = [
        axis
        for axis, size in enumerate(tensor.shape)
        if (size == fixed if size and fixed else not size and symbol == tensor.symbol(axis) != "")
    ]
    if not axes and tensor.shape and tensor.shape[0] in (0, 1):
        axes = [0]
    sizes = [size or known.get(tensor.symbol(n), 0) for n, size in enumerate(tensor.shape)]
    for axis in axes[:1]:
        sizes[axis] = batch
    return PlannedOutput(tensor.name, tensor.dtype, tuple(sizes), axes[0] if axes else None)


def _notes(plan: ImportPlan) -> list[str]:
    notes = []
    if plan.fixed_batch:
        notes.append(
            f"the file fixes the batch at {plan.fixed_batch}: each inference takes "
            f"{plan.fixed_batch} samples"
        )
    for entry in plan.constants:
        if entry.why == "nothing shows what it is":
            notes.append(
                f"input {entry.name} is all {entry.describe_values()}, because {entry.why}; "
                f"--input {entry.name}=… sets it"
            )
    return notes
