"""Import of an uploaded model into the catalog, for the service Catalog."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from fleetmark_catalog.load import Catalog
from fleetmark_controller.artifacts.catalog_registry import Catalogs
from fleetmark_controller.artifacts.labeled_samples.labels import (
    Labels,
    check_outputs,
    label_notes,
    parse_metric,
    stored_labels,
)
from fleetmark_controller.artifacts.model_formats.runtime_limits import onnx_limits
from fleetmark_controller.artifacts.model_import.components import (
    SPEED,
    ImportRequest,
    StoredFile,
)
from fleetmark_controller.artifacts.model_import.imported_model import (
    ImportedModel,
    component_of,
    dataset_fit,
    with_version,
)
from fleetmark_controller.artifacts.model_import.plan import (
    ImportPlan,
    PlannedInput,
    PlannedOutput,
)
from fleetmark_controller.artifacts.model_import.value_archive import read_heads
from fleetmark_controller.trial.outcome import TrialOutcome, tried_plan
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_protos.v1 import catalog_pb2

Blobs = Callable[[str], Path]
"""Returns the path of a stored blob, by its digest."""
Trial = Callable[[Catalog, ImportedModel], TrialOutcome]


@dataclass(frozen=True)
class PreparedImport:
    """A checked import, before it changes the catalog."""

    model: ImportedModel
    replace: bool
    is_same: bool
    """True if the catalog already has what the import makes."""
    trial: TrialOutcome | None = None


def prepare_import(
    catalogs: Catalogs,
    file: Path,
    request: catalog_pb2.ImportModelRequest,
    blobs: Blobs | None = None,
    trial: Trial | None = None,
) -> PreparedImport:
    """Check a model and its options, and run the model.

    Args:
        catalogs: the registry, which is not changed.
        file: the model.
        request: the options.
        blobs: finds the archive of values; not needed without one.
        trial: runs the model; None: it is not run.

    Raises:
        FleetmarkError: the model cannot be imported, does not run, or another one has the name.
        OSError: the model cannot be read.
    """
    wanted, values = _with_earlier_options(catalogs, request)
    catalog = catalogs.load()
    arrays = None
    if values is not None and blobs is not None:
        arrays = read_heads(blobs(values.sha256), "--input")
    model = component_of(
        file,
        request.sha256,
        wanted,
        onnx_limits(catalog),
        external=[StoredFile(one.name, one.sha256, one.size_bytes) for one in request.external],
        values=values,
        arrays=arrays,
    )
    labels = _checked_labels(model, values, blobs) if wanted.metric else None
    if labels is not None:
        notes = (*model.plan.notes, *label_notes(model.plan, labels))
        model = replace(model, plan=replace(model.plan, notes=notes))
    if model.plan.dataset:
        fit = dataset_fit(catalog.get("dataset", model.plan.dataset), model.plan)
        model = replace(model, fit=fit)
    is_replaced = request.replace or request.update
    is_same = _is_same(catalogs, catalog, model, is_replaced)
    if labels is not None and trial is None:
        check_outputs(model.plan, labels, is_final=True)
    if is_same or trial is None:
        return PreparedImport(model, is_replaced, is_same)
    outcome = trial(catalog, model)
    model = replace(model, footprint=outcome.footprint, plan=tried_plan(model.plan, outcome))
    if labels is not None:
        # The run may show sizes of outputs that the file leaves open.
        check_outputs(model.plan, labels, is_final=True)
    return PreparedImport(model, is_replaced, is_same, outcome)


def _checked_labels(model: ImportedModel, values: StoredFile | None, blobs: Blobs | None) -> Labels:
    """Return the labels of an import after a check, which the command made before.

    Raises:
        FleetmarkError: USAGE: there are no labels for the samples, or the metric does not fit them.
    """
    parse_metric(model.wanted.metric)
    if values is None or blobs is None or not model.plan.sample.rows:
        what = f"metric {model.wanted.metric} needs samples with labels"
        raise FleetmarkError(ErrorKind.USAGE, what, "--metric", "Give --dataset and --labels")
    labels = stored_labels(blobs(values.sha256), model.wanted.metric)
    if len(labels) != model.plan.sample.rows:
        what = f"{len(labels):,} labels belong to {model.plan.sample.rows:,} samples"
        raise FleetmarkError(ErrorKind.USAGE, what, "--labels")
    check_outputs(model.plan, labels)
    return labels


def _with_earlier_options(
    catalogs: Catalogs, request: catalog_pb2.ImportModelRequest
) -> tuple[ImportRequest, StoredFile | None]:
    """Return the options of an import; an update keeps the earlier ones that it does not give."""
    wanted = ImportRequest(
        file_name=request.file_name,
        name=request.name,
        title=request.title,
        license=request.license,
        task=request.task,
        precision=request.precision,
        shapes=tuple(request.shapes),
        inputs=tuple(request.inputs),
        batch_axes=tuple(request.batch_axes),
        metric=request.metric,
    )
    values = None
    if request.values_sha256:
        values = StoredFile("", request.values_sha256, request.values_size_bytes)
    if not request.update:
        return wanted, values
    earlier = catalogs.options_of(request.name)
    texts = {
        key: getattr(wanted, key) or str(earlier.get(key, ""))
        for key in ("title", "license", "task", "precision", "metric")
    }
    lists = {
        key: getattr(wanted, key) or tuple(map(str, earlier.get(key, ())))
        for key in ("shapes", "inputs", "batch_axes")
    }
    # Arrays of the earlier import belong to the earlier values.
    kept = earlier.get("values")
    if values is None and not wanted.inputs and isinstance(kept, dict):
        values = StoredFile("", str(kept["sha256"]), int(kept["size_bytes"]))
    return replace(wanted, **texts, **lists), values  # type: ignore[arg-type]


def _is_same(catalogs: Catalogs, catalog: Catalog, model: ImportedModel, is_replaced: bool) -> bool:
    """Return whether the catalog has the components of an import.

    Raises:
        FleetmarkError: it has others of this name, and they are not to be replaced.
    """
    name = model.name
    if not catalog.has("model", name):
        return False
    same = all(
        catalog.has(kind, name)
        and catalogs.is_same(kind, name, partial(with_version, text), catalog)
        for kind, text in model.texts().items()
        if kind != "benchmark"
    ) and (not catalog.has("benchmark", name) or _is_measured_by(catalog, model))
    if not same and not is_replaced:
        raise FleetmarkError(
            ErrorKind.INVALID_COMPONENT,
            f"the catalog already has a model {name!r} from another file or with other options",
            "",
            "Give --replace to make a new version of it, or choose another --name",
        )
    return same


def _is_measured_by(catalog: Catalog, model: ImportedModel) -> bool:
    """Return whether the benchmark of this name has the data set and the metric of an import."""
    benchmark = catalog.find("benchmark", model.name)
    metric = "" if benchmark is None else benchmark.body.get("quality", {}).get("metric", "")
    return bool(_dataset_of(catalog, model.name) == model.dataset and metric == model.wanted.metric)


def _dataset_of(catalog: Catalog, name: str) -> str:
    """Return the data set of the benchmark of this name; empty if there is no such benchmark."""
    benchmark = catalog.find("benchmark", name)
    if benchmark is None:
        return ""
    names = [
        choice.name
        for requirement in benchmark.requires
        for choice in requirement.choices
        if choice.kind == "dataset"
    ]
    return names[0] if names else ""


def apply_import(
    catalogs: Catalogs, prepared: PreparedImport
) -> tuple[Catalog, catalog_pb2.ImportModelReply]:
    """Add or replace the components of a prepared import; return the catalog and the reply.

    Raises:
        FleetmarkError: another model has got the name, or a component is not valid.
        OSError: the home cannot be written.
    """
    model, name = prepared.model, prepared.model.name
    catalog = catalogs.load()
    is_same = _is_same(catalogs, catalog, model, prepared.replace)
    texts = model.texts()
    runs_model = _is_measured_by(catalog, model)
    if runs_model or not all(catalog.has(*part) for part in SPEED):
        del texts["benchmark"]
    dropped = [] if model.values is not None else ["dataset"]
    made: list[str] = []
    if not is_same or "benchmark" in texts:
        catalog, made = catalogs.put(
            name, {kind: partial(with_version, text) for kind, text in texts.items()}, dropped
        )
    if runs_model and made:
        # The benchmark stays, and runs the new version of the model.
        made.append(f"benchmark/{name}")
    if made:
        catalogs.record_options(name, _options(model))
    version = catalog.get("model", name).version
    order = {"model": 0, "benchmark": 1, "dataset": 2}
    made.sort(key=lambda part: order[part.partition("/")[0]])
    return catalog, _reply(made, name, version, model.plan, prepared.trial)


def import_model(
    catalogs: Catalogs,
    file: Path,
    request: catalog_pb2.ImportModelRequest,
    blobs: Blobs | None = None,
    trial: Trial | None = None,
) -> tuple[Catalog, catalog_pb2.ImportModelReply]:
    """Add the components of a model; return the catalog and the reply.

    Raises:
        FleetmarkError: see `prepare_import` and `apply_import`.
        OSError: the model cannot be read, or the home cannot be written.
    """
    return apply_import(catalogs, prepare_import(catalogs, file, request, blobs, trial))


def _options(model: ImportedModel) -> Mapping[str, object]:
    wanted = model.wanted
    return {
        "title": wanted.title,
        "license": wanted.license,
        "task": wanted.task,
        "precision": wanted.precision,
        "shapes": list(wanted.shapes),
        "inputs": list(wanted.inputs),
        "batch_axes": list(wanted.batch_axes),
        "metric": wanted.metric,
        "values": None
        if model.values is None
        else {"sha256": model.values.sha256, "size_bytes": model.values.size_bytes},
    }


def _reply(
    made: list[str], name: str, version: str, plan: ImportPlan, trial: TrialOutcome | None
) -> catalog_pb2.ImportModelReply:
    reply = catalog_pb2.ImportModelReply(
        components=made,
        name=name,
        version=version,
        precision=plan.precision,
        inputs=[_input(entry) for entry in (plan.sample, *plan.constants)],
        outputs=[_output(entry) for entry in plan.outputs],
        notes=plan.notes,
    )
    if trial is not None:
        reply.trial.CopyFrom(
            catalog_pb2.ImportTrial(
                not_tried=trial.not_tried,
                runtime=trial.runtime,
                runtime_version=trial.runtime_version,
                load_ms=trial.load_ms,
                first_ms=trial.first_ms,
                run_ms=trial.run_ms,
                peak_memory_bytes=trial.peak_memory_bytes,
            )
        )
    return reply


def _input(entry: PlannedInput) -> catalog_pb2.ImportedTensor:
    return catalog_pb2.ImportedTensor(
        name=entry.name,
        dtype=entry.dtype,
        shape=entry.shape.sizes,
        batch_axis=entry.shape.batch_axis,
        values=entry.describe_values(),
        reason=entry.why,
    )


def _output(entry: PlannedOutput) -> catalog_pb2.ImportedTensor:
    return catalog_pb2.ImportedTensor(
        name=entry.name, dtype=entry.dtype, shape=entry.sizes, batch_axis=entry.batch_axis
    )
