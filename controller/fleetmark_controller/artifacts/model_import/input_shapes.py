"""Fix the shapes of a model's inputs: sizes come from the file or from `--shape`.

The first axis of the sample input is the batch. A named dimension has the same size wherever its
name occurs, so that a size that is given for one input holds for the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fleetmark_controller.artifacts.model_formats.model_graph import Tensor, printable
from fleetmark_core.errors import ErrorKind, FleetmarkError

_EXAMPLES = {4: 224, 3: 128}


@dataclass(frozen=True)
class FixedShape:
    """A shape without open dimensions; an open batch axis has size 1."""

    sizes: tuple[int, ...]
    batch_axis: int | None


def sample_sizes(
    inputs: Sequence[Tensor], given: Mapping[str, tuple[int, ...]]
) -> list[tuple[int, ...]]:
    """Return the shape of one sample of each input, with 0 for each size that is not known.

    Raises:
        FleetmarkError: USAGE: a given shape does not match the file.
    """
    shapes = [_given_shape(tensor, given.get(tensor.name)) for tensor in inputs]
    named = _named_sizes(inputs, shapes)
    return [
        tuple(size or named.get(tensor.symbol(axis + 1), 0) for axis, size in enumerate(shape[1:]))
        for tensor, shape in zip(inputs, shapes, strict=True)
    ]


def fix_shapes(
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    sample: int,
    given: Mapping[str, tuple[int, ...]],
    batch_axes: Mapping[str, int | None] | None = None,
) -> list[FixedShape]:
    """Return the shape of each input.

    Args:
        inputs: the inputs.
        outputs: the outputs, which show whether a fixed first axis is a batch.
        sample: index of the sample input.
        given: shapes of `--shape`, by name of the input.
        batch_axes: axes of `--batch-axis`, by name of the input; None if it has no batch.

    Raises:
        FleetmarkError: USAGE: a size is neither in the file nor given, or the given one does not
            match the file. BAD_DOCUMENT: the sample input has no batch axis.
    """
    shapes = [_given_shape(tensor, given.get(tensor.name)) for tensor in inputs]
    first = inputs[sample]
    batch = first.shape[0] if first.shape else 0
    _check_batch_axis(first, outputs, shapes[sample], is_given=first.name in given)
    named = _named_sizes(inputs, shapes)
    inner = _inner_names(inputs)
    symbol = first.symbol(0) if first.shape else ""
    axes_of = batch_axes or {}
    if axes_of.get(first.name, 0) != 0:
        raise FleetmarkError(
            ErrorKind.USAGE,
            f"input {first.name} receives the samples: its batch must be the first axis",
            "--batch-axis",
            "Export the model with the batch as first axis",
        )
    for tensor, sizes in zip(inputs, shapes, strict=True):
        axis = axes_of.get(tensor.name)
        if axis is None:
            continue
        if axis >= len(sizes):
            what = f"input {tensor.name}: {tensor.text()} has no axis {axis}"
            raise FleetmarkError(ErrorKind.USAGE, what, "--batch-axis")
        if sizes[axis] not in (0, batch or 1):
            what = (
                f"input {tensor.name}: axis {axis} of {tensor.text()} is {sizes[axis]}, and the "
                f"batch is {batch or 1}"
            )
            raise FleetmarkError(ErrorKind.USAGE, what, "--batch-axis")

    def fixed(tensor: Tensor, shape: tuple[int, ...]) -> FixedShape:
        sizes: list[int] = []
        axes: list[int] = []
        for axis, size in enumerate(shape):
            name = tensor.symbol(axis)
            if tensor.name in axes_of:
                follows = axis == axes_of[tensor.name]
            elif tensor.has_rank and tensor.shape[axis]:
                follows = axis == 0 and size == batch
            elif axis == 0 and tensor is not first and (not name or name != symbol):
                # A size other than 1 shows that it is not the batch.
                follows = size in (0, 1) and name not in inner
            else:
                follows = axis == 0 or (bool(name) and name == symbol)
            if follows:
                axes.append(axis)
                sizes.append(batch or 1)
            else:
                sizes.append(size or named.get(name, 0))
        if len(axes) > 1:
            raise FleetmarkError(
                ErrorKind.BAD_DOCUMENT,
                f"input {tensor.name}: {tensor.text()}: the batch is on more than one axis",
            )
        return FixedShape(tuple(sizes), axes[0] if axes else None)

    found = [fixed(tensor, shape) for tensor, shape in zip(inputs, shapes, strict=True)]
    open_inputs = [
        tensor
        for tensor, shape in zip(inputs, found, strict=True)
        if not all(shape.sizes) or (not tensor.has_rank and tensor.name not in given)
    ]
    if open_inputs:
        lines = [
            f"input {printable(tensor.name)}: {tensor.text()} has open dimensions; "
            f"give --shape {_example(tensor)}"
            for tensor in open_inputs[:20]
        ]
        raise FleetmarkError(ErrorKind.USAGE, "\n".join(lines))
    for tensor, shape in zip(inputs, found, strict=True):
        axis = shape.batch_axis
        size = _size_on(axis, given.get(tensor.name), shape)
        if axis is not None and size not in (0, shape.sizes[axis]):
            raise _batch_error(tensor, shape.sizes[axis])
    return found


def _size_on(axis: int | None, given: tuple[int, ...] | None, shape: FixedShape) -> int:
    """Return the size that was given for an axis; 0 if none was."""
    if axis is None or given is None:
        return 0
    offset = len(shape.sizes) - len(given)
    return given[axis - offset] if axis >= offset else 0


def _given_shape(tensor: Tensor, given: tuple[int, ...] | None) -> tuple[int, ...]:
    """Return the sizes of the file, with those that were given in place of 0.

    A given shape may leave out the batch axis, which is 0 then.
    """
    if given is None:
        return tensor.shape
    if not tensor.has_rank:
        return given
    if len(given) == len(tensor.shape) - 1:
        given = (tensor.shape[0], *given)
    if len(given) != len(tensor.shape):
        raise FleetmarkError(
            ErrorKind.USAGE,
            f"input {tensor.name} has {len(tensor.shape)} dimensions {tensor.text()}, "
            f"the given shape has {len(given)}",
            "--shape",
            f"Give {_example(tensor)}" if tensor.shape else "Leave it out: the input is one number",
        )
    for axis, (size, wanted) in enumerate(zip(tensor.shape, given, strict=True)):
        if size and size != wanted:
            raise FleetmarkError(
                ErrorKind.USAGE,
                f"input {tensor.name}: dimension {axis} is {size} in the file {tensor.text()}, "
                f"not {wanted}",
                "--shape",
            )
    return given


def _inner_names(inputs: Sequence[Tensor]) -> set[str]:
    """Return the names of dimensions that are not only first axes."""
    names = {tensor.symbol(axis) for tensor in inputs for axis in range(1, len(tensor.shape))}
    return names - {""}


def _named_sizes(inputs: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]) -> dict[str, int]:
    """Return the sizes of named dimensions that were given.

    Raises:
        FleetmarkError: USAGE: two inputs give the same dimension different sizes.
    """
    named: dict[str, int] = {}
    inner = _inner_names(inputs)
    for tensor, shape in zip(inputs, shapes, strict=True):
        for axis in range(len(tensor.shape)):
            symbol, size = tensor.symbol(axis), shape[axis]
            if symbol in inner and size and named.setdefault(symbol, size) != size:
                raise FleetmarkError(
                    ErrorKind.USAGE,
                    f"dimension {symbol} is {named[symbol]} and {size}, but a name has one size",
                    "--shape",
                )
    return named


def _check_batch_axis(
    sample: Tensor, outputs: Sequence[Tensor], shape: tuple[int, ...], *, is_given: bool
) -> None:
    if not sample.has_rank and not is_given:
        return  # The shape is asked for.
    batch = sample.shape[0] if sample.shape else 0
    rest = [sample.symbol(axis).lower() for axis in range(1, len(sample.shape))]
    if len(shape) < 2:
        why = "it needs a batch axis and at least one more"
    elif "batch" not in sample.symbol(0).lower() and any("batch" in name for name in rest):
        why = "the batch must be the first axis"
    elif batch > 1 and all(
        tensor.has_rank and tensor.shape and batch not in tensor.shape and all(tensor.shape)
        for tensor in outputs[:1]
    ):
        why = f"no axis of the output follows the first axis of size {batch}, so it is not a batch"
    elif batch > 1 and not is_given:
        # Channels look the same. Counted as samples, they would multiply the throughput.
        raise FleetmarkError(
            ErrorKind.USAGE,
            f"input {sample.name}: {sample.text()}: the first axis is fixed at {batch}",
            "",
            f"If it is the batch, give --shape {'x'.join(map(str, sample.shape))}; if the model has"
            " no batch axis, export it with one",
        )
    else:
        return
    raise FleetmarkError(
        ErrorKind.BAD_DOCUMENT,
        f"input {sample.name}: {sample.text()}: {why}",
        "",
        "Export the model with the batch as first axis",
    )


def _batch_error(tensor: Tensor, batch: int) -> FleetmarkError:
    which = "is fixed in the file" if batch > 1 else "must be 1 here; jobs set batch_size"
    return FleetmarkError(
        ErrorKind.USAGE,
        f"input {tensor.name}: the batch axis of {tensor.text()} is {batch}: it {which}",
        "--shape",
    )


_SEQUENCE, _WAVEFORM = 128, 16000


def _example(tensor: Tensor) -> str:
    """Return a shape that could be given, with sizes that are usual for such inputs."""
    if not tensor.has_rank:
        return f"{printable(tensor.name)}=1x3x224x224"
    usual = _EXAMPLES.get(len(tensor.shape), _SEQUENCE)
    if len(tensor.shape) == 2 and tensor.dtype.startswith("float"):
        usual = _WAVEFORM
    sizes = [tensor.shape[0] or 1, *(size or usual for size in tensor.shape[1:])]
    if len(sizes) == 1 and not tensor.shape[0]:
        sizes = [_SEQUENCE]
    return f"{printable(tensor.name)}={'x'.join(map(str, sizes))}"
