"""Labeled samples of an import, whatever they are made of, and the files that they come from."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fleetmark_controller.artifacts.labeled_samples.label_files import MAX_SAMPLES
from fleetmark_controller.artifacts.labeled_samples.labels import Labels
from fleetmark_controller.artifacts.model_formats.model_graph import Tensor
from fleetmark_controller.artifacts.model_import.plan import PlannedInput
from fleetmark_controller.artifacts.model_import.value_archive import values_error

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]


@dataclass(frozen=True)
class LabeledOptions:
    """Values of the options of labeled samples, from `--dataset` to `--detections`."""

    dataset: str
    labels: str = ""
    classes: str = ""
    preprocess: str = ""
    metric: str = ""
    detections: str = ""


@dataclass(frozen=True)
class PreparedSamples:
    """Values of the inputs that a data set gives."""

    arrays: Mapping[str, Array]
    """By input: an array [N, …] in the input's type."""
    notes: tuple[str, ...] = ()
    """Sentences about what was changed, such as texts that were cut."""


@dataclass(frozen=True)
class FittedLabels:
    """Labels that fit the prepared samples: places in pictures are those in the input."""

    labels: Labels
    picture_size: tuple[int, int] | None = None
    """Width and height of the pictures that the input takes; None if it takes none."""


class Samples(Protocol):
    """Samples with labels, before they are values of the model's inputs."""

    @property
    def where(self) -> str:
        """The file or folder, for messages."""
        ...

    @property
    def count(self) -> int:
        """The number of samples."""
        ...

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs that get values, at least one."""
        ...

    @property
    def next_step(self) -> str:
        """Advice if integers are outside the table that the graph looks them up in."""
        ...

    def open_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes that the samples give to inputs with open dimensions."""
        ...

    def fit_labels(self, planned: Mapping[str, PlannedInput]) -> FittedLabels:
        """Return the labels in the order of the samples.

        Args:
            planned: the inputs with their final shapes, by name.

        Raises:
            FleetmarkError: USAGE: a file of labels is damaged or hostile, or does not fit.
        """
        ...

    def prepare(self, planned: Mapping[str, PlannedInput]) -> PreparedSamples:
        """Return the values.

        Args:
            planned: the inputs with their final shapes, by name.

        Raises:
            FleetmarkError: USAGE: a file is damaged or hostile, or does not fit its input.
        """
        ...


def folder_files(folder: Path, endings: Collection[str]) -> list[str]:
    """Return the paths of the files with these endings below a folder, sorted.

    They are relative to the folder. Links to folders are not followed.

    Raises:
        FleetmarkError: USAGE: a file is a link, or there are too many files.
    """
    return sorted(_named_files(folder, endings))


def _named_files(folder: Path, endings: Collection[str]) -> Iterator[str]:
    count = 0
    for place, _, files in os.walk(folder):
        for file in files:
            if Path(file).suffix.lower() not in endings:
                continue
            count += 1
            if count > MAX_SAMPLES:
                raise values_error(str(folder), f"has more than {MAX_SAMPLES:,} samples")
            path = Path(place) / file
            if path.is_symlink():
                raise values_error(str(path), "is a link; put the file itself into the folder")
            yield path.relative_to(folder).as_posix()


def line_length(sizes: Sequence[int]) -> int:
    """Return the size of the only axis that is longer than 1; 0 if there is no such axis."""
    long = [size for size in sizes if size != 1]
    return long[0] if len(long) == 1 else 0


def with_length(tensor: Tensor, length: int) -> tuple[int, ...]:
    """Return the shape of an input whose only open axis, besides the batch, gets a length.

    It is empty if the length is 0, or if the input has no such axis.
    """
    batch, *sizes = tensor.shape or (0,)
    if not tensor.has_rank or not length or sizes.count(0) != 1:
        return ()
    return (batch or 1, *(size or length for size in sizes))
