"""`controller catalog import`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fleetmark_cli.output import echo
from fleetmark_controller.cli import options

if TYPE_CHECKING:
    from fleetmark_protos.v1 import catalog_pb2

_PATIENCE_S = 900.0


@click.command(name="import")
@click.argument("file", type=click.Path(dir_okay=False, exists=True))
@click.option("--name", default="", help="Name of the component [default: name of the file].")
@click.option("--title", default="", help="Title, shown in lists.")
@click.option("--license", "license_", default="", help="License of the model.")
@click.option("--task", default="", help="Task, such as image-classification [default: speed].")
@click.option(
    "--precision",
    default="",
    help="Precision, such as fp32 or int8 [default: that of the graph].",
)
@click.option(
    "--shape",
    "shapes",
    multiple=True,
    metavar="NAME=SIZES",
    help="Shape of an input with open dimensions, such as x=1x3x224x224; repeatable.",
)
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="NAME=VALUES",
    help="Values of an input: ones, zeros, a number, randint:LOW:HIGH or uniform:LOW:HIGH; "
    "repeatable.",
)
@click.option("--replace", is_flag=True, help="Replace an imported model of the same name.")
@options.as_json
@options.controller
def import_model(
    file: str,
    name: str,
    title: str,
    license_: str,
    task: str,
    precision: str,
    shapes: tuple[str, ...],
    inputs: tuple[str, ...],
    replace: bool,
    as_json: bool,
    address: str | None,
) -> None:
    """Create components for the model in FILE, which must be .onnx or .tflite."""
    from pathlib import Path

    from fleetmark_cli import output
    from fleetmark_controller.artifacts.model_check import FORMATS
    from fleetmark_controller.artifacts.model_import import ImportRequest, plan_of
    from fleetmark_protos.v1 import catalog_pb2

    path = Path(file)
    if path.suffix.lower() not in FORMATS:
        raise click.UsageError(f"{path.name} is not a file of type {' or '.join(FORMATS)}")
    # Before the upload; the controller checks the same again.
    plan_of(path, ImportRequest(path.name, shapes=shapes, inputs=inputs))
    with options.connect(address) as client:
        sha256, size_bytes = client.upload(path)
        request = catalog_pb2.ImportModelRequest(
            sha256=sha256,
            size_bytes=size_bytes,
            file_name=path.name,
            name=name,
            title=title,
            license=license_,
            task=task,
            precision=precision,
            shapes=shapes,
            inputs=inputs,
            replace=replace,
        )
        reply = client.call(client.catalog.ImportModel, request, _PATIENCE_S)
    if as_json:
        output.print_json(
            {
                "sha256": sha256,
                "added": list(reply.components),
                "model": f"model/{reply.name}",
                "version": reply.version,
                "precision": reply.precision,
                "inputs": [_plain(tensor, is_input=True) for tensor in reply.inputs],
                "outputs": [_plain(tensor, is_input=False) for tensor in reply.outputs],
                "notes": list(reply.notes),
            }
        )
        return
    _print_reply(reply)


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


def _print_reply(reply: catalog_pb2.ImportModelReply) -> None:
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
    for note in reply.notes:
        echo(f"note: {note}")


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
