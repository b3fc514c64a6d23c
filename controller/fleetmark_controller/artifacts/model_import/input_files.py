"""Values of inputs from files of an operator: arrays, raw bytes, sound and pictures.

The command reads them on the operator's machine, converts them to the types and shapes of the
inputs, and uploads one archive of plain arrays (`value_archive`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetmark_controller.artifacts.model_formats.model_graph import Tensor
from fleetmark_controller.artifacts.model_import.media_values import (
    MediaValues,
    picture_rows,
    raw_rows,
    wave_rows,
)
from fleetmark_controller.artifacts.model_import.options import (
    ARRAY,
    DATASET,
    ArrayHead,
    parse_shapes,
    split_pairs,
)
from fleetmark_controller.artifacts.model_import.plan import (
    Description,
    PlannedInput,
    plan_import,
)
from fleetmark_controller.artifacts.model_import.value_archive import (
    MAX_BYTES,
    read_archive,
    read_array,
    values_error,
)
from fleetmark_core.errors import ErrorKind, FleetmarkError

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

ARRAYS = (".npz", ".npy")
_WORDS = re.compile(rf"ones|zeros|[-+.0-9eE]+|(randint|uniform|normal|{ARRAY}|{DATASET})(:[^/]*)?")
PICTURES = (".png", ".jpg", ".jpeg")
_MEDIA: Mapping[str, Callable[[Path, PlannedInput], MediaValues]] = {
    ".wav": wave_rows,
    **dict.fromkeys(PICTURES, picture_rows),
}


@dataclass(frozen=True)
class FileInputs:
    """The options of an import, with the values of files as arrays."""

    shapes: tuple[str, ...]
    inputs: tuple[str, ...]
    arrays: Mapping[str, Array] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """Sentences about what was done with the files."""

    @property
    def heads(self) -> dict[str, ArrayHead | None]:
        """Type and shape of each array."""
        return {
            name: ArrayHead(str(array.dtype), array.shape) for name, array in self.arrays.items()
        }


def is_file(spec: str) -> bool:
    """Return whether the value of an input names a file."""
    if spec.startswith(f"{DATASET}/") or _WORDS.fullmatch(spec):
        return False
    known = Path(spec).suffix.lower() in (*ARRAYS, *_MEDIA)
    return known or "/" in spec or Path(spec).is_file()


def read_inputs(
    model: Description,
    shapes: Sequence[str],
    inputs: Sequence[str],
    batch_axes: Sequence[str] = (),
    heads: Mapping[str, ArrayHead | None] | None = None,
) -> FileInputs:
    """Return the options in which arrays take the place of files.

    Args:
        model: metadata of the model.
        shapes: values of `--shape`. A file of arrays also gives the sizes of open dimensions.
        inputs: values of `--input`; `FILE.npz` without a name gives each input its own array.
        batch_axes: values of `--batch-axis`.
        heads: the arrays that `inputs` names already.

    Raises:
        FleetmarkError: USAGE: a file is damaged, hostile, or does not fit its input.
    """
    tensors = {tensor.name: tensor for tensor in model.inputs}
    pairs = split_pairs("--input", spread_inputs(inputs, tensors), list(tensors))
    files = [(name, spec) for name, spec in pairs if is_file(spec)]
    if not files:
        return FileInputs(tuple(shapes), tuple(inputs))
    stored = {
        name: _stored_array(Path(spec), name)
        for name, spec in files
        if Path(spec).suffix.lower() in ARRAYS
    }
    given = parse_shapes(shapes, list(tensors))
    found = tuple(
        f"{name}={'x'.join(map(str, sizes))}"
        for name, array in stored.items()
        if name not in given and (sizes := open_sizes(tensors[name], array.shape))
    )
    keys = {name: f"a{number}" for number, (name, _) in enumerate(files)}
    texts = tuple(
        f"{name}={ARRAY}:{keys[name]}" if name in keys else f"{name}={spec}" for name, spec in pairs
    )
    plan = plan_import(
        model,
        (*shapes, *found),
        texts,
        batch_axes=batch_axes,
        arrays={
            **(heads or {}),
            **{keys[name]: _expected_head(tensors[name], stored.get(name)) for name in keys},
        },
    )
    planned = {entry.name: entry for entry in (plan.sample, *plan.constants)}
    arrays: dict[str, Array] = {}
    notes = []
    for name, spec in files:
        if name in stored:
            arrays[keys[name]] = _fitted(stored[name], planned[name], spec)
            continue
        read = _MEDIA.get(Path(spec).suffix.lower(), raw_rows)
        found_values = read(Path(spec), planned[name])
        arrays[keys[name]] = found_values.rows
        notes += [found_values.note] if found_values.note else []
    if sum(array.nbytes for array in arrays.values()) > MAX_BYTES:
        raise values_error("--input", f"the files give more than {MAX_BYTES >> 20} MiB of values")
    return FileInputs((*shapes, *found), texts, arrays, tuple(notes))


def spread_inputs(inputs: Sequence[str], tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the values in which each input has its own, also those of one archive.

    Args:
        inputs: values of `--input`.
        tensors: the inputs of the model by name.

    Raises:
        FleetmarkError: USAGE: an archive is damaged, or has an array that is not an input.
    """
    found: list[str] = []
    for text in inputs:
        is_named = any(text.startswith(f"{name}=") for name in tensors)
        if is_named or Path(text).suffix.lower() != ".npz" or len(tensors) == 1:
            found.append(text)
            continue
        held = read_archive(Path(text), text)
        unknown = [name for name in held if name not in tensors]
        if unknown:
            raise FleetmarkError(
                ErrorKind.USAGE,
                f"array {unknown[0][:80]!r} is not an input of the model",
                text,
                f"The inputs are {', '.join(name[:80] for name in list(tensors)[:10])}",
            )
        found += [f"{name}={text}" for name in held]
    return found


def _stored_array(path: Path, name: str) -> Array:
    where = str(path)
    if path.suffix.lower() == ".npy":
        return read_array(path, where)
    held = read_archive(path, where)
    if name in held:
        return held[name]
    if len(held) == 1:
        return next(iter(held.values()))
    listed = ", ".join(sorted(held)[:10])
    raise values_error(where, f"has no array {name[:80]!r}; its arrays are {listed}")


def open_sizes(tensor: Tensor, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of an input with open dimensions that an array gives; empty if it cannot."""
    sizes = tensor.shape
    if not tensor.has_rank or all(sizes[1:]) or not all(shape):
        return ()
    if len(shape) == len(sizes):
        return (sizes[0] or 1, *shape[1:])
    if len(shape) == len(sizes) - 1:
        return (sizes[0] or 1, *shape)
    return ()


def _expected_head(tensor: Tensor, array: Array | None) -> ArrayHead | None:
    """Return the number of samples that a file has, before the shape of the input is known."""
    if array is None:
        return None
    is_one = array.shape == tensor.shape or array.ndim != len(tensor.shape) or not array.ndim
    return ArrayHead("", (1 if is_one else len(array),))


def _fitted(array: Array, entry: PlannedInput, where: str) -> Array:
    """Return an array [N, …] in the input's type."""
    import numpy as np

    wanted, axis = entry.array_shape, entry.shape.batch_axis
    if array.shape == wanted or (axis == 0 and array.shape[1:] == wanted and len(array)):
        rows = array[None] if array.shape == wanted else array
    elif axis is not None and axis > 0 and array.shape == entry.sample_shape:
        rows = np.expand_dims(array, axis)[None]
    elif array.shape[1:] == wanted and len(array) == 1:
        rows = array
    else:
        raise values_error(
            where,
            f"has the shape {list(array.shape)}, and input {entry.name} needs {list(wanted)}"
            + (" or samples of it as [N, …]" if axis == 0 else ""),
        )
    return converted(rows, entry, where)


def converted(rows: Array, entry: PlannedInput, where: str) -> Array:
    """Return values in the input's type.

    Raises:
        FleetmarkError: USAGE: the type cannot hold them, or they are not finite.
    """
    import numpy as np

    dtype = np.dtype(entry.dtype)
    if rows.dtype.kind == "f" and not np.isfinite(rows).all():
        raise values_error(where, f"input {entry.name}: has NaN or infinite values")
    if rows.dtype.kind == "f" and dtype.kind != "f":
        what = f"input {entry.name}: holds {rows.dtype}, and the input takes {dtype}"
        raise values_error(where, what)
    with np.errstate(over="ignore"):
        made = rows.astype(dtype)
    is_kept = np.isfinite(made).all() if dtype.kind == "f" else (made == rows).all()
    if not is_kept:
        what = f"input {entry.name}: has values that do not fit into {dtype}"
        raise values_error(where, what)
    return np.ascontiguousarray(made)
