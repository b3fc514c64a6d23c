"""Labeled samples of an import that are arrays: an .npz file with the values of the inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetmark_controller.artifacts.labeled_samples.labels import (
    LABELS,
    SAMPLES,
    Labels,
    read_file_labels,
    read_given_labels,
)
from fleetmark_controller.artifacts.labeled_samples.pictures import (
    array_pictures,
    picture_values,
)
from fleetmark_controller.artifacts.labeled_samples.preprocess import (
    OPTION,
    Preprocess,
    find_picture_shape,
    open_picture_shape,
    parse_preprocess,
    typed,
)
from fleetmark_controller.artifacts.labeled_samples.samples import (
    FittedLabels,
    LabeledOptions,
    PreparedSamples,
)
from fleetmark_controller.artifacts.model_formats.model_graph import Tensor
from fleetmark_controller.artifacts.model_import.input_files import converted, open_sizes
from fleetmark_controller.artifacts.model_import.plan import PlannedInput
from fleetmark_controller.artifacts.model_import.value_archive import read_archive, values_error
from fleetmark_controller.evaluation.metrics.names import TRANSCRIPT_METRICS
from fleetmark_core.errors import ErrorKind, FleetmarkError

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ArraySamples:
    """Arrays of an archive, one for each input, with classes or expected outputs."""

    labels: Labels
    where: str
    tensors: Mapping[str, Tensor]
    arrays: Mapping[str, Array]
    """By input."""
    shown: Mapping[str, str]
    """Name of each input's array in the archive."""
    steps: Preprocess
    pixels: frozenset[str]
    """The inputs whose arrays are pictures."""
    next_step: str = ""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return tuple(self.arrays)

    def open_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes that the arrays give to inputs with open dimensions."""
        found = {
            name: open_picture_shape(self.tensors[name], self.steps)
            if name in self.pixels
            else open_sizes(self.tensors[name], array.shape)
            for name, array in self.arrays.items()
        }
        return {name: sizes for name, sizes in found.items() if sizes}

    @property
    def count(self) -> int:
        """The number of samples."""
        return len(self.labels)

    def fit_labels(self, planned: Mapping[str, PlannedInput]) -> FittedLabels:
        """Return the labels; see `Samples`."""
        size = None
        for name in self.arrays if len(self.arrays) == 1 else ():
            shape = find_picture_shape(planned[name].array_shape, self.steps)
            size = None if shape is None else (shape.width, shape.height)
        return FittedLabels(self.labels, size)

    def prepare(self, planned: Mapping[str, PlannedInput]) -> PreparedSamples:
        """Return the values in the types of the inputs; see `Samples`."""
        return PreparedSamples({name: self._values(name, planned[name]) for name in self.arrays})

    def _values(self, name: str, entry: PlannedInput) -> Array:
        array, tensor, what = self.arrays[name], self.tensors[name], self.shown[name]
        if name in self.pixels:
            pictures = array_pictures(array, what, self.where)
            return picture_values(pictures, len(array), tensor, entry, self.steps)
        if array.shape[1:] != entry.array_shape:
            shapes = f"{list(array.shape)}, and input {name} needs {list(entry.array_shape)}"
            raise values_error(self.where, f"has {what} {shapes} for each sample")
        if tensor.quantization is not None and array.dtype.kind == "f":
            return typed(array, tensor, self.where)
        return converted(array, entry, self.where)


def pixel_inputs(arrays: Mapping[str, Array], *, has_steps: bool) -> frozenset[str]:
    """Return the inputs whose arrays are pictures, and not values of the input.

    Of several arrays, one of bytes may also be a mask or a table, so that only steps of
    `--preprocess` show that it has pictures.

    Args:
        arrays: all sample arrays of an archive, by input.
        has_steps: True if there are steps.
    """
    if len(arrays) > 1 and not has_steps:
        return frozenset()
    return frozenset(
        name for name, array in arrays.items() if array.dtype == "uint8" and array.ndim in (3, 4)
    )


def read_arrays(
    path: Path, name: str, tensors: Mapping[str, Tensor], given: LabeledOptions
) -> ArraySamples:
    """Return the samples of an archive.

    Args:
        path: the archive: `y`, and an array for each input by its name, or `x` for one input.
        name: the input that the option names; empty if it names none.
        tensors: the inputs of the model by name.
        given: metric and preparation.

    Raises:
        FleetmarkError: USAGE: the archive is damaged or has other arrays, or a step is not valid.
    """
    where = str(path)
    has_texts = given.metric in TRANSCRIPT_METRICS
    for option, value in (("--labels", given.labels), ("--classes", given.classes)):
        if value and not has_texts:
            what = "an .npz file has its labels in the array y"
            raise FleetmarkError(ErrorKind.USAGE, what, option, "Leave the option out")
    steps = parse_preprocess(given.preprocess)
    held = read_archive(path, where)
    names = _array_names(sorted(held), name, list(tensors), where, has_labels=not has_texts)
    if has_texts:
        labels = read_file_labels(given.labels, given.classes, given.metric)
    else:
        labels = read_given_labels(held[LABELS], given.metric, where)
    arrays = {one: held[shown] for one, shown in names.items()}
    for one, array in arrays.items():
        if array.ndim < 1 or len(array) != len(labels):
            place = given.labels if has_texts else LABELS
            what = f"has {names[one]} {list(array.shape)} and {len(labels):,} labels in {place}"
            raise values_error(where, what)
    pixels = pixel_inputs(arrays, has_steps=bool(given.preprocess))
    if given.preprocess and not pixels:
        what = f"{' and '.join(names.values())} of {where}"[:200]
        what += " has values and not pictures (uint8 [N, height, width, channels])"
        raise FleetmarkError(ErrorKind.USAGE, what, OPTION, "Leave the option out")
    return ArraySamples(labels, where, tensors, arrays, names, steps, pixels)


def _array_names(
    held: Sequence[str], name: str, inputs: Sequence[str], where: str, *, has_labels: bool
) -> dict[str, str]:
    """Return the name of the array of each input that has one.

    Args:
        held: names of all arrays.
        name: the input that the option names; empty if it names none.
        inputs: names of the model's inputs.
        where: the file, for messages.
        has_labels: True if the labels are one of the arrays.
    """
    samples = [one for one in held if not (has_labels and one == LABELS)]
    listed = ", ".join(one[:80] for one in held[:10])
    both = f"{SAMPLES} and {LABELS}" if has_labels else SAMPLES
    if (has_labels and LABELS not in held) or not samples:
        wanted = both
        if len(inputs) > 1 and not name:
            wanted = f"{LABELS} and an array for each input"
            wanted = wanted if has_labels else "an array for each input"
        raise values_error(where, f"has the arrays {listed}, expected {wanted}")
    if name:
        if samples not in ([SAMPLES], [name]):
            raise FleetmarkError(
                ErrorKind.USAGE,
                f"has the arrays {listed}, expected {both}",
                where,
                f"Give --dataset {where} without NAME= if each array has the name of an input"
                if len(inputs) > 1
                else "",
            )
        return {name: samples[0]}
    unknown = [one for one in samples if one not in inputs]
    if unknown:
        raise FleetmarkError(
            ErrorKind.USAGE,
            f"array {unknown[0][:80]!r} is not an input of the model",
            where,
            f"The inputs are {', '.join(one[:80] for one in inputs[:10])}; give --dataset "
            f"NAME={where} if {SAMPLES} has the samples of one",
        )
    return {one: one for one in inputs if one in samples}
