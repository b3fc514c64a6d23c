"""An operator's own labeled samples for an import: pictures, sound, texts, or arrays.

The command prepares them on the operator's machine and uploads the values, in the type and shape of
the inputs, with the labels. Every device gets the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetmark_controller.artifacts.labeled_samples.arrays import read_arrays
from fleetmark_controller.artifacts.labeled_samples.labels import (
    SAMPLES,
    check_outputs,
    parse_metric,
    stored_form,
)
from fleetmark_controller.artifacts.labeled_samples.pictures import read_pictures
from fleetmark_controller.artifacts.labeled_samples.samples import (
    LabeledOptions,
    Samples,
    folder_files,
)
from fleetmark_controller.artifacts.labeled_samples.sound import SOUNDS, read_sounds
from fleetmark_controller.artifacts.labeled_samples.texts import read_text_samples
from fleetmark_controller.artifacts.model_formats.model_graph import Tensor
from fleetmark_controller.artifacts.model_import.input_files import (
    PICTURES,
    FileInputs,
    read_inputs,
    spread_inputs,
)
from fleetmark_controller.artifacts.model_import.options import ARRAY, ArrayHead, split_pairs
from fleetmark_controller.artifacts.model_import.plan import (
    Description,
    PlannedInput,
    plan_import,
)
from fleetmark_controller.artifacts.model_import.value_archive import MAX_BYTES, values_error
from fleetmark_controller.evaluation.output_metrics import OUTPUT_METRICS
from fleetmark_core.errors import ErrorKind, FleetmarkError

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]


def read_labeled_inputs(
    model: Description,
    shapes: Sequence[str],
    inputs: Sequence[str],
    batch_axes: Sequence[str],
    given: LabeledOptions,
) -> FileInputs:
    """Return the options of an import with the prepared samples and their labels as arrays.

    Args:
        model: metadata of the model.
        shapes: values of `--shape`.
        inputs: values of `--input`, for the other inputs.
        batch_axes: values of `--batch-axis`.
        given: the samples and labels.

    Raises:
        FleetmarkError: USAGE: an option is not valid, or a file is damaged, hostile, or does not
            fit the model.
    """
    parse_metric(given.metric)
    tensors = {tensor.name: tensor for tensor in model.inputs}
    named = [
        name for name, _ in split_pairs("--input", spread_inputs(inputs, tensors), list(tensors))
    ]
    samples = _read_samples(tensors, named, given)
    count = samples.count
    keys = {
        name: f"{SAMPLES}{number}" if number else SAMPLES
        for number, name in enumerate(samples.inputs)
    }
    heads: dict[str, ArrayHead | None] = {key: ArrayHead("", (count,)) for key in keys.values()}
    sized = [name for name, _ in split_pairs("--shape", shapes, list(tensors))]
    more = [
        f"{name}={'x'.join(map(str, sizes))}"
        for name, sizes in samples.open_shapes().items()
        if name not in sized
    ]
    texts = [*inputs, *(f"{name}={ARRAY}:{key}" for name, key in keys.items())]
    others = read_inputs(model, (*shapes, *more), texts, batch_axes, heads)
    plan = plan_import(
        model,
        others.shapes,
        others.inputs,
        batch_axes=batch_axes,
        arrays={**others.heads, **heads},
    )
    if plan.sample.name not in keys:
        what = f"input {plan.sample.name} has other values for each sample, too"
        raise FleetmarkError(ErrorKind.USAGE, what, "--dataset")
    planned = {entry.name: entry for entry in (plan.sample, *plan.constants)}
    fitted = samples.fit_labels(planned)
    labels = stored_form(fitted.labels, plan, given.detections, fitted.picture_size)
    check_outputs(plan, labels)
    _check_size([planned[name] for name in keys], count, samples.where)
    prepared = samples.prepare(planned)
    for name, table in model.facts.table_sizes(keys).items():
        _check_table(name, table, prepared.arrays[name], samples)
    arrays = {key: prepared.arrays[name] for name, key in keys.items()}
    return FileInputs(
        others.shapes,
        others.inputs,
        {**others.arrays, **arrays, **labels.arrays},
        (*others.notes, *prepared.notes),
    )


def _read_samples(
    tensors: Mapping[str, Tensor], others: Collection[str], given: LabeledOptions
) -> Samples:
    """Return the samples of the file or folder that `--dataset` names.

    Args:
        tensors: the inputs of the model by name.
        others: the inputs that `--input` names.
        given: the samples and labels.
    """
    name, source = "", given.dataset
    if "=" in source or len(tensors) == 1:
        ((name, source),) = split_pairs("--dataset", [source], list(tensors))
    path = Path(source)
    if path.is_dir():
        return _read_folder(path, name, tensors, given)
    if path.suffix.lower() == ".npz":
        return read_arrays(path, name, tensors, given)
    if path.suffix.lower() == ".csv":
        return read_text_samples(path, name, tensors, others, given)
    what = f"{source} is neither a folder of pictures or sound, nor an .npz or .csv file"
    raise FleetmarkError(ErrorKind.USAGE, what, "--dataset")


def _read_folder(
    folder: Path, name: str, tensors: Mapping[str, Tensor], given: LabeledOptions
) -> Samples:
    if not given.labels:
        what = "a folder of pictures or sound needs labels"
        raise FleetmarkError(ErrorKind.USAGE, what, "--dataset", "Give --labels labels.csv")
    if given.metric in OUTPUT_METRICS:
        what = f"{given.metric} needs expected outputs, and the files of a folder have labels"
        next_step = "Give an .npz file with x and y"
        raise FleetmarkError(ErrorKind.USAGE, what, "--metric", next_step)
    if not name:
        split_pairs("--dataset", [given.dataset], list(tensors))
    pictures, sounds = folder_files(folder, PICTURES), folder_files(folder, SOUNDS)
    if pictures and sounds:
        what = f"has pictures ({pictures[0][:80]}) and sound ({sounds[0][:80]})"
        raise values_error(str(folder), f"{what}: a data set has one kind of files")
    if pictures:
        return read_pictures(folder, pictures, tensors[name], given)
    if sounds:
        return read_sounds(folder, sounds, tensors[name], given)
    raise values_error(str(folder), "has no pictures (.png, .jpg, .jpeg) and no sound (.wav)")


def _check_size(entries: Sequence[PlannedInput], count: int, where: str) -> None:
    import numpy as np

    sizes = [math.prod(one.array_shape) * np.dtype(one.dtype).itemsize for one in entries]
    size = count * sum(sizes)
    if size > MAX_BYTES:
        what = f"{count:,} samples give {size >> 20:,} MiB of values, more than {MAX_BYTES >> 20}"
        raise values_error(where, what)


def _check_table(name: str, table: int, values: Array, samples: Samples) -> None:
    """Raise an error if values are outside the table that the graph looks them up in."""
    low, high = values.min(), values.max()
    if low < -table or high >= table:
        wrong = high if high >= table else low
        raise FleetmarkError(
            ErrorKind.USAGE,
            f"input {name}: {wrong} is outside the table of {table:,} that the input indexes",
            samples.where,
            samples.next_step,
        )
