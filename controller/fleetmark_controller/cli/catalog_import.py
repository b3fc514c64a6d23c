"""`controller catalog import`, `update` and `remove`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from fleetmark_cli.output import echo
from fleetmark_controller.cli import options

if TYPE_CHECKING:
    from fleetmark_controller.client.connection import Client
    from fleetmark_protos.v1 import catalog_pb2

_PATIENCE_S = 1800.0


def _model_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that describe a model, for `import` and `update`."""
    for option in reversed(
        (
            click.option("--title", default="", help="Title, shown in lists."),
            click.option("--license", "license_", default="", help="License of the model."),
            click.option(
                "--task", default="", help="Task, such as image-classification [default: speed]."
            ),
            click.option(
                "--precision",
                default="",
                help="Precision, such as fp32 or int8 [default: that of the graph].",
            ),
            click.option(
                "--shape",
                "shapes",
                multiple=True,
                metavar="NAME=SIZES",
                help="Shape of an input with open dimensions, such as x=1x3x224x224; repeatable.",
            ),
            click.option(
                "--input",
                "inputs",
                multiple=True,
                metavar="NAME=VALUES",
                help="Values of an input: ones, zeros, a number, randint:LOW:HIGH, "
                "uniform:LOW:HIGH, normal:MEAN:DEVIATION, dataset/NAME, or a file (.npz, .npy, "
                ".wav, .png, .jpg, raw bytes); repeatable.",
            ),
            click.option(
                "--dataset",
                default="",
                metavar="[NAME=]PATH",
                help="Labeled samples, for the accuracy: a folder of pictures or of sound (.wav), "
                "a .csv file of texts, or an .npz file with x and y.",
            ),
            click.option(
                "--labels",
                default="",
                metavar="PATH",
                help="CSV file with lines FILE,CLASS or FILE,TEXT, a file with one text a line, "
                "COCO's JSON file, or a folder of label pictures.",
            ),
            click.option(
                "--classes",
                default="",
                metavar="FILE",
                help="Names of all classes, or tokens, one a line, in the order of the model's "
                "outputs.",
            ),
            click.option(
                "--preprocess",
                default="",
                metavar="STEPS",
                help="Preparation, separated by commas. Pictures: resize, letterbox or "
                "crop=HEIGHTxWIDTH, mean=, scale=, color=, layout=. Sound: rate=HZ, seconds=, "
                "mean=, scale=. Texts: tokenizer=FILE, max_length=, pad=.",
            ),
            click.option(
                "--metric",
                default="",
                help="Metric of the accuracy: top-K, f1, miou, map, map50, wer, cer, mae or cosine "
                "[default: top-1].",
            ),
            click.option(
                "--detections",
                default="",
                metavar="PARTS",
                help="Outputs of a detector, for map: boxes=NAME, scores=NAME, classes=NAME, "
                "format=xyxy, yxyx or cxcywh, scale=pixels or unit; separated by commas.",
            ),
            click.option(
                "--batch-axis",
                "batch_axes",
                multiple=True,
                metavar="NAME=AXIS",
                help="Axis of an input or output that is the batch, or none; repeatable.",
            ),
            click.option(
                "--member", default="", help="Model in a .task bundle that contains several."
            ),
            click.option(
                "--no-trial", is_flag=True, help="Import the model without running it once."
            ),
        )
    ):
        command = option(command)
    return command


@click.command(name="import")
@click.argument("file", type=click.Path(dir_okay=False, exists=True))
@click.option("--name", default="", help="Name of the component [default: name of the file].")
@_model_options
@click.option("--replace", is_flag=True, help="Replace an imported model of the same name.")
@options.as_json
@options.controller
def import_model(file: str, as_json: bool, address: str | None, **given: Any) -> None:
    """Create components for the model in FILE: .onnx, .ort, .tflite, .lite or .task.

    The controller runs the model once, in the sandbox of a job, and refuses one that does not run.
    """
    _import(file, as_json, address, **given)


@click.command(name="update")
@click.argument("name")
@click.argument("file", type=click.Path(dir_okay=False, exists=True))
@_model_options
@options.as_json
@options.controller
def update_model(name: str, file: str, as_json: bool, address: str | None, **given: Any) -> None:
    """Replace the imported model NAME by that in FILE, with the options of its last import.

    Options that are given replace those of the last import. --dataset needs --metric.
    """
    _import(file, as_json, address, name=name, is_update=True, **given)


def _import(
    file: str,
    as_json: bool,
    address: str | None,
    *,
    name: str,
    title: str,
    license_: str,
    task: str,
    precision: str,
    shapes: tuple[str, ...],
    inputs: tuple[str, ...],
    batch_axes: tuple[str, ...],
    member: str,
    no_trial: bool,
    dataset: str,
    labels: str,
    classes: str,
    preprocess: str,
    metric: str,
    detections: str,
    replace: bool = False,
    is_update: bool = False,
) -> None:
    from pathlib import Path

    from fleetmark_cli import output
    from fleetmark_controller.artifacts.labeled_samples.labeled_inputs import read_labeled_inputs
    from fleetmark_controller.artifacts.labeled_samples.labels import TOP_1
    from fleetmark_controller.artifacts.labeled_samples.samples import LabeledOptions
    from fleetmark_controller.artifacts.model_formats.model_check import FORMATS
    from fleetmark_controller.artifacts.model_formats.model_files import BUNDLE, open_model_files
    from fleetmark_controller.artifacts.model_import.components import ImportRequest
    from fleetmark_controller.artifacts.model_import.imported_model import plan_of
    from fleetmark_controller.artifacts.model_import.input_files import FileInputs, read_inputs
    from fleetmark_protos.v1 import catalog_pb2

    path = Path(file)
    if path.suffix.lower() not in (*FORMATS, BUNDLE):
        known = ", ".join((*FORMATS, BUNDLE))
        raise click.UsageError(f"{path.name} is not a model: supported are {known}")
    alone = {"labels": labels, "classes": classes, "preprocess": preprocess, "metric": metric}
    alone["detections"] = detections
    for option, value in alone.items():
        if value and not dataset and not (is_update and option == "metric"):
            raise click.UsageError(f"--{option} needs --dataset")
    if is_update and dataset and not metric:
        # The metric of the last import is known to the controller only, and top-1 may not be it.
        what = "--dataset needs --metric in an update: give --metric of the new samples, such as"
        raise click.UsageError(f"{what} {TOP_1}")
    with open_model_files(path, member) as files:
        # Before the upload; the controller checks the same again. It knows the options of the last
        # import, which an update keeps.
        values = FileInputs(shapes, inputs)
        if dataset:
            given = LabeledOptions(dataset, labels, classes, preprocess, metric, detections)
            values = read_labeled_inputs(files.description, shapes, inputs, batch_axes, given)
            metric = metric or TOP_1
        elif not is_update or inputs:
            values = read_inputs(files.description, shapes, inputs, batch_axes)
        if not is_update:
            wanted = ImportRequest(
                files.file_name,
                shapes=values.shapes,
                inputs=values.inputs,
                batch_axes=batch_axes,
            )
            plan_of(files.path, wanted, values.heads)
        with options.connect(address) as client:
            sha256, size_bytes = client.upload(files.path)
            request = catalog_pb2.ImportModelRequest(
                sha256=sha256,
                size_bytes=size_bytes,
                file_name=files.file_name,
                name=name,
                title=title,
                license=license_,
                task=task,
                precision=precision,
                shapes=values.shapes,
                inputs=values.inputs,
                replace=replace,
                batch_axes=batch_axes,
                no_trial=no_trial,
                update=is_update,
                metric=metric,
            )
            for beside in files.external:
                digest, size = client.upload(beside)
                request.external.add(name=beside.name, sha256=digest, size_bytes=size)
            if values.arrays:
                digest, size = _upload_values(client, values.arrays)
                request.values_sha256, request.values_size_bytes = digest, size
            if not no_trial:
                echo("running the model once on the controller's machine", err=True)
            reply = client.call(client.catalog.ImportModel, request, _PATIENCE_S)
    if as_json:
        trial = reply.trial if reply.HasField("trial") else None
        output.print_json(
            {
                "sha256": sha256,
                "added": list(reply.components),
                "model": f"model/{reply.name}",
                "version": reply.version,
                "precision": reply.precision,
                "inputs": [_plain(tensor, is_input=True) for tensor in reply.inputs],
                "outputs": [_plain(tensor, is_input=False) for tensor in reply.outputs],
                "notes": [*values.notes, *reply.notes],
                "trial": None if trial is None else _plain_trial(trial),
            }
        )
        return
    _print_reply(reply, values.notes)


def _upload_values(client: Client, arrays: Mapping[str, Any]) -> tuple[str, int]:
    import tempfile
    from pathlib import Path

    from fleetmark_controller.artifacts.model_import.value_archive import write_archive

    with tempfile.TemporaryDirectory(prefix="fleetmark-values-") as scratch:
        file = Path(scratch) / "values.npz"
        write_archive(file, arrays)
        return client.upload(file)


@click.command(name="remove")
@click.argument("name")
@options.as_json
@options.controller
def remove_model(name: str, as_json: bool, address: str | None) -> None:
    """Remove the imported model NAME and its benchmark; results stay."""
    from fleetmark_cli import output
    from fleetmark_protos.v1 import catalog_pb2

    with options.connect(address) as client:
        request = catalog_pb2.RemoveModelRequest(name=name)
        reply = client.call(client.catalog.RemoveModel, request)
    if as_json:
        output.print_json({"removed": list(reply.components)})
        return
    for component in reply.components:
        echo(component)


def _print_reply(reply: catalog_pb2.ImportModelReply, notes: Sequence[str]) -> None:
    from fleetmark_cli import tables

    for component in reply.components:
        echo(component)
    if not reply.components:
        echo(f"model/{reply.name} {reply.version} is unchanged", err=True)
    echo()
    sides = [("input", tensor) for tensor in reply.inputs]
    sides += [("output", tensor) for tensor in reply.outputs]
    tables.print_table(
        ("", "name", "type", "shape", "values", "reason"),
        [
            (side, t.name, t.dtype, _shape(t), t.values or None, t.reason or None)
            for side, t in sides
        ],
    )
    echo(f"precision: {reply.precision}")
    if reply.HasField("trial"):
        _print_trial(reply.trial)
    for note in (*notes, *reply.notes):
        echo(f"note: {note}")


def _print_trial(trial: catalog_pb2.ImportTrial) -> None:
    from fleetmark_core.resource_model import size

    if trial.not_tried:
        echo(f"not tried: {trial.not_tried}")
        return
    echo(
        f"trial: {trial.runtime} {trial.runtime_version} opened it in {trial.load_ms:.3g} ms; one "
        f"sample took {trial.first_ms:.3g} ms, the next {trial.run_ms:.3g} ms; peak memory "
        f"{size(trial.peak_memory_bytes)}"
    )


def _plain_trial(trial: catalog_pb2.ImportTrial) -> dict[str, object]:
    if trial.not_tried:
        return {"not_tried": trial.not_tried}
    return {
        "not_tried": None,
        "runtime": trial.runtime,
        "runtime_version": trial.runtime_version,
        "load_ms": trial.load_ms,
        "first_ms": trial.first_ms,
        "run_ms": trial.run_ms,
        "peak_memory_bytes": trial.peak_memory_bytes,
    }


def _shape(tensor: catalog_pb2.ImportedTensor) -> str:
    sizes = [str(size) if size else "?" for size in tensor.shape]
    if tensor.HasField("batch_axis") and sizes[tensor.batch_axis] == "1":
        sizes[tensor.batch_axis] = "batch"
    return f"[{', '.join(sizes)}]"


def _plain(tensor: catalog_pb2.ImportedTensor, *, is_input: bool) -> dict[str, object]:
    plain: dict[str, object] = {
        "name": tensor.name,
        "dtype": tensor.dtype,
        "shape": [size or None for size in tensor.shape],
        "batch_axis": tensor.batch_axis if tensor.HasField("batch_axis") else None,
    }
    if is_input:
        plain |= {"values": tensor.values, "reason": tensor.reason or None}
    return plain
