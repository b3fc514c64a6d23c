"""Generate the components of an operator's own model from the metadata in its file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fleetmark_catalog.load import Component
from fleetmark_controller.artifacts.labeled_samples.labels import LABELS
from fleetmark_controller.artifacts.model_formats.model_check import FORMATS, check_model
from fleetmark_controller.artifacts.model_formats.onnx_file import OnnxDescription
from fleetmark_controller.artifacts.model_formats.runtime_limits import OnnxLimit, required_version
from fleetmark_controller.artifacts.model_import.components import (
    FIRST_VERSION,
    SPEED,
    DatasetFit,
    Footprint,
    ImportRequest,
    StoredFile,
    benchmark_text,
    dataset_text,
    model_text,
)
from fleetmark_controller.artifacts.model_import.options import ArrayHead
from fleetmark_controller.artifacts.model_import.plan import (
    Description,
    ImportPlan,
    plan_import,
)
from fleetmark_core.errors import ErrorKind, FleetmarkError

_NOT_A_NAME = re.compile(r"[^a-z0-9._-]+")
_SCALES = {"uint8": 1 / 255, "int16": 1 / 32768}
_CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class ImportedModel:
    """The components of a model, and what was decided about it."""

    name: str
    wanted: ImportRequest
    files: tuple[StoredFile, ...]
    """The model, and the files beside it that hold its weights."""
    plan: ImportPlan
    runtime: str = ""
    values: StoredFile | None = None
    """The archive with the values of its inputs."""
    fit: DatasetFit | None = None
    footprint: Footprint | None = None

    @property
    def toml(self) -> str:
        """Text of the model's component.toml, with version `FIRST_VERSION`."""
        return model_text(
            self.plan,
            self.name,
            self.wanted,
            self.files,
            runtime=self.runtime,
            fit=self.fit,
            footprint=self.footprint,
        )

    @property
    def dataset(self) -> str:
        """Name of the data set that its benchmark uses."""
        return self.plan.dataset or (self.name if self.values is not None else SPEED[1][1])

    def texts(self) -> dict[str, str]:
        """Return the text of each component by its kind, with version `FIRST_VERSION`."""
        found = {}
        if self.values is not None:
            found["dataset"] = dataset_text(
                self.plan,
                self.name,
                self.wanted.license,
                self.values,
                LABELS if self.wanted.metric else "",
            )
        found["model"] = self.toml
        found["benchmark"] = benchmark_text(self.name, self.dataset, self.wanted.metric)
        return found


def with_version(text: str, version: str) -> str:
    """Return the text of a component with another version than `FIRST_VERSION`."""
    # The lines before hold the kind and a name without spaces.
    return text.replace(f'version = "{FIRST_VERSION}"', f'version = "{version}"', 1)


def description_of(file: Path, file_name: str) -> Description:
    """Return the metadata of the model in `file`.

    Raises:
        FleetmarkError: UNKNOWN_WORD: no runtime reads the format. BAD_DOCUMENT: the file is not
            such a model.
        OSError: the file cannot be read.
    """
    ending = Path(file_name).suffix.lower()
    if ending not in FORMATS:
        raise FleetmarkError(
            ErrorKind.UNKNOWN_WORD,
            f"cannot import a model with the file name ending {ending or '(none)'}",
            file_name,
            f"Supported endings: {', '.join(FORMATS)}",
        )
    model = check_model(file, file_name, with_external=True)
    assert model is not None
    return model


def plan_of(
    file: Path, wanted: ImportRequest, arrays: Mapping[str, ArrayHead | None] | None = None
) -> tuple[ImportPlan, Description]:
    """Return the plan for the model in `file`, and its metadata.

    Args:
        file: the model.
        wanted: properties that the operator gave.
        arrays: the arrays that its inputs name.

    Raises:
        FleetmarkError: UNKNOWN_WORD: no runtime reads the format. USAGE: a shape or range must be
            given. BAD_DOCUMENT: the file is not such a model, or no job can run it.
        OSError: the file cannot be read.
    """
    model = description_of(file, wanted.file_name)
    try:
        plan = plan_import(
            model, wanted.shapes, wanted.inputs, batch_axes=wanted.batch_axes, arrays=arrays
        )
    except FleetmarkError as error:
        where = ": ".join(filter(None, (wanted.file_name, error.where)))
        raise FleetmarkError(error.kind, error.what, where, error.next_step) from error
    return plan, model


def component_of(
    file: Path,
    sha256: str,
    wanted: ImportRequest,
    limits: Mapping[str, OnnxLimit],
    *,
    external: Sequence[StoredFile] = (),
    values: StoredFile | None = None,
    arrays: Mapping[str, ArrayHead] | None = None,
) -> ImportedModel:
    """Return the components of the model in `file`, which is in the blob store.

    Args:
        file: the model.
        sha256: its digest.
        wanted: properties that the operator gave.
        limits: what each version of ONNX Runtime in the catalog can run, the default first; empty
            if that is not known.
        external: the stored files that hold its weights.
        values: the stored archive with the values of its inputs.
        arrays: the content of that archive.

    Raises:
        FleetmarkError: as `plan_of`; also UNKNOWN_WORD: the name is not valid; BAD_DOCUMENT: no
            version of the runtime can run the model, or a file with weights is missing.
        OSError: the file cannot be read.
    """
    plan, model = plan_of(file, wanted, arrays)
    name = wanted.name or _NOT_A_NAME.sub("-", Path(wanted.file_name).stem.lower()).strip("-._")
    if not name or _NOT_A_NAME.search(name) or not name[0].isalnum() or len(name) > 80:
        what = f"{name[:80]!r} is not a valid component name"
        raise FleetmarkError(
            ErrorKind.UNKNOWN_WORD, what, "--name", "Use lowercase letters, digits, dots and dashes"
        )
    runtime = ""
    if isinstance(model, OnnxDescription):
        needed = OnnxLimit(model.ir_version, model.opset)
        runtime = required_version(needed, limits, wanted.file_name)
        _check_external(model.external, external, wanted.file_name)
    if runtime:
        note = f"the model needs onnxruntime {runtime} or newer, which its jobs use"
        plan = replace(plan, notes=(*plan.notes, note))
    plan = replace(plan, precision=wanted.precision or plan.precision)
    own = StoredFile(Path(wanted.file_name).name, sha256, file.stat().st_size)
    if values is not None:
        values = replace(values, name=f"{name}-values.npz")
    return ImportedModel(
        name,
        wanted,
        (own, *external),
        plan,
        runtime,
        values if plan.has_arrays else None,
    )


def _check_external(named: Sequence[str], given: Sequence[StoredFile], where: str) -> None:
    missing = sorted(set(named) - {file.name for file in given})
    if missing:
        raise FleetmarkError(
            ErrorKind.BAD_DOCUMENT,
            f"keeps weights in {missing[0][:80]!r}, which was not delivered",
            where,
            "Put the file into the folder of the model",
        )


def dataset_fit(dataset: Component, plan: ImportPlan) -> DatasetFit:
    """Return how the samples of a data set become values of a model's sample input.

    Raises:
        FleetmarkError: USAGE: they do not fit.
    """
    body, entry = dataset.body, plan.sample
    wanted, stored = entry.sample_shape, tuple(body.get("shape", ()))
    layout = str(body["layout"])
    is_real = entry.dtype.startswith("float") or entry.is_quantized
    is_picture = layout in ("pictures", "cifar") or len(stored) == 3
    first = len(wanted) == 3 and wanted[0] in _CHANNELS and wanted[2] not in _CHANNELS
    what = ""
    if layout in ("random", "tensors"):
        what = f"layout {layout!r} has no samples of its own"
    elif layout == "pictures":
        if (wanted[0] if first else wanted[-1:] and wanted[-1]) != 3:
            what = f"its samples are RGB pictures, and the input is {list(wanted)}"
    elif _product(stored) != _product(wanted):
        what = f"its samples are {list(stored)}, and the input is {list(wanted)}"
    if what:
        where = f"input {entry.name}"
        raise FleetmarkError(ErrorKind.USAGE, f"{dataset.id} does not fit: {what}", where)
    scale = _SCALES.get(str(body.get("dtype", "uint8")), 1.0) if is_real else 1.0
    return DatasetFit("NCHW" if first and is_picture else "", scale)


def _product(sizes: Sequence[int]) -> int:
    found = 1
    for size in sizes:
        found *= size
    return found
