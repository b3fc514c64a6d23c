"""Import of an uploaded model into the catalog, for the service Catalog."""

from __future__ import annotations

from pathlib import Path

from fleetmark_catalog.load import Catalog
from fleetmark_controller.artifacts.catalog_registry import Catalogs
from fleetmark_controller.artifacts.import_plan import ImportPlan, PlannedInput, PlannedOutput
from fleetmark_controller.artifacts.model_import import (
    SPEED,
    ImportedModel,
    ImportRequest,
    benchmark_of,
    component_of,
)
from fleetmark_controller.artifacts.runtime_limits import onnx_limits
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_protos.v1 import catalog_pb2


def import_model(
    catalogs: Catalogs, file: Path, request: catalog_pb2.ImportModelRequest
) -> tuple[Catalog, catalog_pb2.ImportModelReply]:
    """Add the component of a model and a benchmark of its speed; return the catalog and the reply.

    Raises:
        FleetmarkError: the model cannot be imported, or another one has the name.
        OSError: the model cannot be read, or the home cannot be written.
    """
    wanted = ImportRequest(
        file_name=request.file_name,
        name=request.name,
        title=request.title,
        license=request.license,
        task=request.task,
        precision=request.precision,
        shapes=tuple(request.shapes),
        inputs=tuple(request.inputs),
    )
    catalog = catalogs.load()
    model = component_of(file, request.sha256, wanted, onnx_limits(catalog))
    name = model.name
    catalog, is_changed = _put(catalogs, catalog, model, replace=request.replace)
    made = [f"model/{name}"] if is_changed else []
    has_speed = all(catalog.has(kind, part) for kind, part in SPEED)
    if has_speed and not catalog.has("benchmark", name):
        catalog = catalogs.include("benchmark", name, benchmark_of(name))
        made.append(f"benchmark/{name}")
    elif is_changed and catalog.has("benchmark", name):
        made.append(f"benchmark/{name}")
    version = catalog.get("model", name).version
    return catalog, _reply(made, name, version, model.plan)


def _put(
    catalogs: Catalogs, catalog: Catalog, model: ImportedModel, *, replace: bool
) -> tuple[Catalog, bool]:
    """Return the catalog with the model, and whether it changed."""
    if not catalog.has("model", model.name):
        return catalogs.include("model", model.name, model.toml), True
    if replace:
        changed = catalogs.replace("model", model.name, model.with_version)
        return changed or catalog, changed is not None
    if not catalogs.is_same("model", model.name, model.with_version):
        raise FleetmarkError(
            ErrorKind.INVALID_COMPONENT,
            f"the catalog already has a model {model.name!r} from another file or with other "
            "options",
            "",
            "Give --replace to make a new version of it, or choose another --name",
        )
    return catalog, False


def _reply(
    made: list[str], name: str, version: str, plan: ImportPlan
) -> catalog_pb2.ImportModelReply:
    return catalog_pb2.ImportModelReply(
        components=made,
        name=name,
        version=version,
        precision=plan.precision,
        inputs=[_input(entry) for entry in (plan.sample, *plan.constants)],
        outputs=[_output(entry) for entry in plan.outputs],
        notes=plan.notes,
    )


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
