"""Plan the import of a model: its sample input, the values of the others, shapes and precision."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fleetmark_controller.artifacts.model_formats.model_graph import Tensor
from fleetmark_controller.artifacts.model_formats.onnx_file import OnnxDescription
from fleetmark_controller.artifacts.model_formats.ort_file import OrtDescription
from fleetmark_controller.artifacts.model_formats.tflite_file import TfliteDescription
from fleetmark_controller.artifacts.model_import.input_roles import (
    FLOATS,
    INTEGERS,
    Role,
    choose_sample_input,
    role_of,
)
from fleetmark_controller.artifacts.model_import.input_shapes import (
    FixedShape,
    fix_shapes,
    sample_sizes,
)
from fleetmark_controller.artifacts.model_import.options import (
    ARRAY,
    DATASET,
    ArrayHead,
    Number,
    Values,
    parse_batch_axes,
    parse_inputs,
    parse_shapes,
)
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.plural import counted

Description = OnnxDescription | TfliteDescription | OrtDescription


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
    rows: int = 0
    """Number of samples of an array; 0 for other values."""
    is_quantized: bool = False
    """True if its integers stand for real numbers, with a scale that the file states."""

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of one sample, without the batch axis."""
        sizes, axis = self.shape.sizes, self.shape.batch_axis
        return tuple(size for place, size in enumerate(sizes) if place != axis)

    @property
    def array_shape(self) -> tuple[int, ...]:
        """The shape of each row of an array with the values.

        Values that differ between samples have no batch axis; constant ones have it with size 1.
        """
        sizes, axis = self.shape.sizes, self.shape.batch_axis
        if axis == 0:
            return sizes[1:]
        return tuple(1 if place == axis else size for place, size in enumerate(sizes))

    def describe_values(self) -> str:
        """Return the values as text, such as `random 0 to 999`."""
        if self.values is None:
            return "random 0 to 1" if self.dtype in FLOATS else f"random {self.dtype}"
        if self.values.kind == ARRAY:
            return f"from a file, {counted(self.rows, 'sample')}"
        if self.values.kind == DATASET:
            return f"dataset/{self.values.source}"
        if self.values.kind == "normal":
            return f"normal, mean {self.values.low}, deviation {self.values.high}"
        if not self.values.is_constant:
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
    def sample_count(self) -> int:
        """The number of samples that files give; 0 if all values are random or constant."""
        return max((entry.rows for entry in (self.sample, *self.constants)), default=0)

    @property
    def dataset(self) -> str:
        """The data set that the samples are of; empty if they are not of one."""
        values = self.sample.values
        return values.source if values is not None and values.kind == DATASET else ""

    @property
    def has_arrays(self) -> bool:
        """True if values are in files that the operator gave."""
        return any(
            entry.values is not None and entry.values.kind == ARRAY
            for entry in (self.sample, *self.constants)
        )

    @property
    def fixed_batch(self) -> int:
        """The batch size that the file fixes, above 1; or 0."""
        sizes, axis = self.sample.shape.sizes, self.sample.shape.batch_axis
        return sizes[axis] if axis is not None and sizes[axis] > 1 else 0


def plan_import(
    model: Description,
    shapes: Sequence[str] = (),
    inputs: Sequence[str] = (),
    *,
    batch_axes: Sequence[str] = (),
    arrays: Mapping[str, ArrayHead | None] | None = None,
) -> ImportPlan:
    """Return the plan for a model.

    Args:
        model: metadata of the file.
        shapes: values of `--shape`.
        inputs: values of `--input`.
        batch_axes: values of `--batch-axis`.
        arrays: the arrays that `inputs` names. One that is not converted yet has no type, and only
            the number of its samples; None: not even that is known.

    Raises:
        FleetmarkError: USAGE: a size or range must be given, or a given one is not possible.
            BAD_DOCUMENT: no job can run the model.
    """
    _check_types(model)
    names = [tensor.name for tensor in model.inputs]
    given_shapes, given = parse_shapes(shapes, names), parse_inputs(inputs, names)
    axes = parse_batch_axes(batch_axes, [*names, *(tensor.name for tensor in model.outputs)])
    rows = {name: _rows(name, values, arrays or {}) for name, values in given.items()}
    tables = model.facts.table_sizes(names)
    sizes = [
        math.prod(size or 1 for size in one) for one in sample_sizes(model.inputs, given_shapes)
    ]
    varying = [name for name, values in given.items() if not values.is_constant and rows[name] != 1]
    chosen = choose_sample_input(model.inputs, sizes, varying)
    fixed = fix_shapes(model.inputs, model.outputs, chosen, given_shapes, axes)
    first = model.inputs[chosen]
    sample = replace(
        _sample(first, fixed[chosen], given.get(first.name), tables.get(first.name, 0)),
        is_quantized=first.quantization is not None,
    )
    length = _sequence_length(first, fixed[chosen])
    constants = [
        _constant(tensor, shape, given.get(tensor.name), tables.get(tensor.name, 0), length)
        for number, (tensor, shape) in enumerate(zip(model.inputs, fixed, strict=True))
        if number != chosen
    ]
    sample, *constants = (
        replace(entry, rows=rows.get(entry.name, 0)) for entry in (sample, *constants)
    )
    for entry in (sample, *constants):
        _check_array(entry, (arrays or {}).get(entry.values.source if entry.values else ""))
    _check_rows(sample, constants)
    known = _known_sizes(model.inputs, fixed)
    batch = fixed[chosen].sizes[0]
    outputs = tuple(_output(tensor, first, known, batch, axes) for tensor in model.outputs)
    plan = ImportPlan(sample, tuple(constants), outputs, model.facts.precision(first), ())
    return replace(plan, notes=tuple(_notes(plan)))


def _rows(name: str, values: Values, arrays: Mapping[str, ArrayHead | None]) -> int:
    if values.kind != ARRAY:
        return 0
    if values.source not in arrays:
        what = f"input {name}: the values of the import have no array {values.source!r}"
        raise FleetmarkError(ErrorKind.USAGE, what, "--input")
    head = arrays[values.source]
    return head.shape[0] if head is not None and head.shape else 0


def _check_array(entry: PlannedInput, head: ArrayHead | None) -> None:
    if head is None or not head.dtype or entry.values is None or entry.values.kind != ARRAY:
        return
    if head.dtype != entry.dtype or head.shape[1:] != entry.array_shape or not entry.rows:
        raise FleetmarkError(
            ErrorKind.USAGE,
            f"input {entry.name}: its array is {head.dtype} {list(head.shape)}, and each sample is "
            f"{entry.dtype} {list(entry.array_shape)}",
            "--input",
        )


def _check_rows(sample: PlannedInput, constants: Sequence[PlannedInput]) -> None:
    """Raise an error if samples of several inputs do not belong together."""
    for entry in constants:
        if entry.values is not None and entry.values.kind == DATASET:
            raise FleetmarkError(
                ErrorKind.USAGE,
                f"input {entry.name}: only one input can have the samples of a data set",
                "--input",
            )
        if entry.rows > 1 and entry.shape.batch_axis != 0:
            which = "has no batch axis" if entry.shape.batch_axis is None else "is not the first"
            raise FleetmarkError(
                ErrorKind.USAGE,
                f"input {entry.name} has {entry.rows} samples, but it {which}"
                if entry.shape.batch_axis is None
                else f"input {entry.name} has {entry.rows} samples, but its batch {which} axis",
                "--input",
                "Give it one sample",
            )
        if entry.rows > 1 and sample.rows and entry.rows != sample.rows:
            raise FleetmarkError(
                ErrorKind.USAGE,
                f"input {sample.name} has {sample.rows} samples, and {entry.name} {entry.rows}",
                "--input",
                "Give as many samples for each, or one",
            )


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
    if values.is_stored:
        return
    if tensor.dtype in FLOATS:
        largest = FLOATS[tensor.dtype]
        if values.kind == "randint":
            what = f"{tensor.dtype} gets random numbers with uniform:LOW:HIGH, not randint"
        elif max(abs(values.low), abs(values.high)) > largest:
            what = f"{_range(values)} does not fit into {tensor.dtype}"
    else:
        least, most = INTEGERS[tensor.dtype]
        if values.kind in ("uniform", "normal"):
            what = f"{tensor.dtype} gets random numbers with randint:LOW:HIGH, not {values.kind}"
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


def _output(
    tensor: Tensor,
    sample: Tensor,
    known: Mapping[str, int],
    batch: int,
    given: Mapping[str, int | None],
) -> PlannedOutput:
    symbol = sample.symbol(0) if sample.shape else ""
    fixed = sample.shape[0] if sample.shape else 0
    axes = [
        axis
        for axis, size in enumerate(tensor.shape)
        if (size == fixed if size and fixed else not size and symbol == tensor.symbol(axis) != "")
    ]
    if not axes and tensor.shape and tensor.shape[0] in (0, 1):
        axes = [0]
    if tensor.name in given:
        axis = given[tensor.name]
        if axis is not None and tensor.has_rank and axis >= len(tensor.shape):
            what = f"output {tensor.name}: {tensor.text()} has no axis {axis}"
            raise FleetmarkError(ErrorKind.USAGE, what, "--batch-axis")
        axes = [] if axis is None else [axis]
        if not tensor.has_rank:
            return PlannedOutput(tensor.name, tensor.dtype, (), axis)
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
