"""`controller catalog`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fleetmark_cli.output import echo
from fleetmark_cli.renamed import RenamedOption, renamed
from fleetmark_controller.cli import (
    campaign,
    catalog_confirm,
    catalog_import,
    catalog_releases,
    options,
    pack,
)
from fleetmark_core.plural import counted

if TYPE_CHECKING:
    from fleetmark_protos.v1 import catalog_pb2

_PATIENCE_S = 900.0


@click.group(name="catalog")
def command() -> None:
    """Manage the components that can run."""


command.add_command(catalog_releases.key_command)
command.add_command(catalog_releases.release_command)
command.add_command(catalog_import.import_model)
command.add_command(catalog_import.update_model)
command.add_command(catalog_import.remove_model)
command.add_command(catalog_confirm.confirm)
command.add_command(renamed(campaign.pack, "pack", "controller campaign pack"))
command.add_command(renamed(pack.verify, "unpack", "controller pack verify"))


@command.command(name="list")
@click.argument("kind", default="")
@options.as_json
@options.controller
def list_components(kind: str, as_json: bool, address: str | None) -> None:
    """List the components of the controller, or only those of one KIND."""
    from fleetmark_catalog.load.model import KINDS
    from fleetmark_cli import output, tables
    from fleetmark_core import suggest
    from fleetmark_protos.plain import to_plain
    from fleetmark_protos.v1 import catalog_pb2

    if kind and kind not in KINDS:
        raise click.UsageError(f"no kind {kind!r}. {suggest.hint(kind, KINDS)}")
    with options.connect(address) as client:
        reply = client.call(
            client.catalog.ListComponents, catalog_pb2.ListComponentsRequest(kind=kind)
        )
    if as_json:
        output.print_json([to_plain(component) for component in reply.components])
        return
    tables.print_table(
        ("kind", "name", "version", "title", "variations"),
        [
            (c.kind, c.name, c.version, c.title, ", ".join(c.variations) or None)
            for c in reply.components
        ],
    )


@command.command(name="show")
@click.argument("name")
@click.option("--resolved", is_flag=True, help="Merge in the components that it extends.")
@options.as_json
@options.controller
def show(name: str, resolved: bool, as_json: bool, address: str | None) -> None:
    """Show one component: NAME, or KIND/NAME if several kinds have this name."""
    import json

    from fleetmark_cli import output
    from fleetmark_protos.plain import to_plain

    detail = _get(name, address)
    whole = json.loads(detail.resolved_json)
    if as_json:
        plain = {k: v for k, v in to_plain(detail).items() if k not in ("resolved_json", "toml")}
        output.print_json(
            {**plain, "resolved" if resolved else "toml": whole if resolved else detail.toml}
        )
        return
    output.print_fields(
        {
            "component": f"{detail.component.kind}/{detail.component.name}",
            "version": detail.component.version,
            "title": detail.component.title,
            "license": detail.license,
            "source": detail.source or None,
            "extends": ", ".join(detail.extends) or None,
            "MLPerf": _rounds(whole),
            "folder": detail.folder,
            "sha256": detail.sha256,
        }
    )
    for file in detail.files:
        where = "here" if file.present else f"from {'; '.join(file.locations)}"
        echo(f"file       {file.name}, {_identity(file)}, {where}")
    echo()
    echo(json.dumps(whole, indent=2, ensure_ascii=False) if resolved else detail.toml.rstrip())


def _rounds(component: dict[str, Any]) -> str | None:
    """Return the rounds of MLPerf to which a model belongs, as text."""
    rounds = component.get("body", {}).get("rounds", {})
    return "; ".join(f"{suite} {', '.join(names)}" for suite, names in rounds.items()) or None


def _identity(file: catalog_pb2.ComponentFile) -> str:
    if not file.sha256:
        return f"md5 {file.md5}, unsigned until an admin runs `controller catalog confirm`"
    who = f" confirmed by {file.confirmed_by}" if file.confirmed_by else ""
    return f"{file.size_bytes:,} bytes, {file.sha256[:16]}…{who}"


@command.command(name="schema")
@click.argument("kind")
def show_schema(kind: str) -> None:
    """Print the JSON Schema for component.toml files of this KIND."""
    from fleetmark_catalog.load.model import KINDS
    from fleetmark_catalog.load.schema import schema
    from fleetmark_cli import output
    from fleetmark_core import suggest

    if kind not in KINDS:
        raise click.UsageError(f"no kind {kind!r}. {suggest.hint(kind, KINDS)}")
    output.print_json(schema(kind))


@command.command(name="validate")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, exists=True))
@options.as_json
@click.pass_context
def validate(context: click.Context, folder: str, as_json: bool) -> None:
    """Validate the components in DIR and list all faults, without a controller."""
    from pathlib import Path

    from fleetmark_cli import output
    from fleetmark_controller.artifacts.validate import validate_folder

    components, wrong = validate_folder(Path(folder).absolute())
    if as_json:
        output.print_json(
            {
                "valid": not wrong,
                "components": components,
                "faults": [
                    {"where": e.where, "what": e.what, "next_step": e.next_step} for e in wrong
                ],
            }
        )
    else:
        for error in wrong:
            echo(str(error), err=True)
        summary = counted(len(components), "component") + (
            f", {counted(len(wrong), 'fault')}"
            if wrong
            else f" {'is' if len(components) == 1 else 'are'} valid"
        )
        echo(summary, err=bool(wrong))
    if wrong:
        context.exit(4)


@command.command(name="resolve")
@click.argument("benchmark")
@click.option("--device", required=True, metavar="NAME", help="Name of a registered device.")
@click.option(
    "--variation",
    "variations",
    cls=RenamedOption,
    old=("--with",),
    multiple=True,
    metavar="VARIATION",
    help="Variations to use, such as int8,tflite.",
)
@click.option("--explain", is_flag=True, help="Explain each decision.")
@options.as_json
@options.controller
@click.pass_context
def resolve(
    context: click.Context,
    benchmark: str,
    device: str,
    variations: tuple[str, ...],
    explain: bool,
    as_json: bool,
    address: str | None,
) -> None:
    """Show what BENCHMARK would run on a device, or why it cannot run there."""
    import json

    from fleetmark_cli import output
    from fleetmark_protos.v1 import catalog_pb2

    request = catalog_pb2.ResolveRequest(
        benchmark=benchmark, device=device, variations=options.words(variations)
    )
    with options.connect(address) as client:
        answers = client.call(client.catalog.Resolve, request).results
    if as_json:
        output.print_json(
            [
                {
                    "configuration": answer.configuration,
                    "fits": bool(answer.lockfile_json),
                    "lockfile_sha256": answer.lockfile_sha256 or None,
                    "bundle_bytes": answer.bundle_bytes if answer.lockfile_json else None,
                    "reasons": list(answer.reasons),
                    **({"explanation": list(answer.explanation)} if explain else {}),
                    "lockfile": json.loads(answer.lockfile_json) if answer.lockfile_json else None,
                }
                for answer in answers
            ]
        )
    else:
        for answer in answers:
            _print_answer(answer, device, explain)
    if not any(answer.lockfile_json for answer in answers):
        context.exit(3)


def _print_answer(answer: catalog_pb2.ResolveResult, device: str, explain: bool) -> None:
    import json

    if answer.lockfile_json:
        echo(
            f"{answer.configuration} fits {device}: lockfile {answer.lockfile_sha256[:16]}…, "
            f"{answer.bundle_bytes:,} bytes"
        )
    else:
        echo(f"{answer.configuration} does not fit {device}:")
        for reason in answer.reasons:
            echo(f"  {reason}")
    if explain:
        for line in answer.explanation:
            echo(f"  · {line}")
    elif answer.lockfile_json:
        for part in json.loads(answer.lockfile_json)["components"]:
            words = f" with {','.join(part['variations'])}" if part["variations"] else ""
            echo(f"  {part['kind']}/{part['name']} {part['version']}{words}")


@command.command(name="fetch")
@click.argument("name")
@options.as_json
@options.controller
def fetch(name: str, as_json: bool, address: str | None) -> None:
    """Fetch the files of a component, benchmark or suite into the controller's store."""
    from fleetmark_cli import output
    from fleetmark_protos.plain import to_plain
    from fleetmark_protos.v1 import catalog_pb2

    with options.connect(address) as client:
        result = catalog_pb2.FetchResult()
        for event in client.stream(client.catalog.Fetch, catalog_pb2.FetchRequest(name=name)):
            if event.WhichOneof("body") == "result":
                result = event.result
            else:
                echo(event.progress, err=True)
    if as_json:
        output.print_json(to_plain(result))
        return
    echo(
        f"{name}: {counted(result.files, 'file')}, {result.size_bytes:,} bytes; "
        f"{result.new_files} of them new, {result.new_bytes:,} bytes"
    )


@command.command(name="add")
@click.argument("location")
@click.option("--commit", default="", metavar="ID", help="Full commit id, for a git repository.")
@options.as_json
@options.controller
def add(location: str, commit: str, as_json: bool, address: str | None) -> None:
    """Add a catalog: a folder on the controller's host, or a git repository at a commit."""
    from fleetmark_cli import output
    from fleetmark_cli.paths import expand_user
    from fleetmark_protos.v1 import catalog_pb2

    if not commit:
        if "://" in location:
            raise click.UsageError(
                "a repository needs --commit, because a branch can change; use `git rev-parse HEAD`"
            )
        location = str(expand_user(location).absolute())
    elif expand_user(location).is_dir():
        location = str(expand_user(location).absolute())
    request = catalog_pb2.AddCatalogRequest(location=location, commit=commit)
    with options.connect(address) as client:
        reply = client.call(client.catalog.AddCatalog, request, _PATIENCE_S)
    if as_json:
        output.print_json({"location": location, "commit": commit, "added": list(reply.components)})
        return
    for component in reply.components:
        echo(component)


@command.command(name="import-files")
@click.argument("name")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, exists=True))
@options.as_json
@options.controller
def import_files(name: str, folder: str, as_json: bool, address: str | None) -> None:
    """Import files of component NAME that the controller cannot fetch or may not fetch.

    DIR is searched for files with the right digests. A file whose publisher states only an MD5
    stays unsigned until an admin runs `controller catalog confirm`.
    """
    from pathlib import Path

    from fleetmark_cli import output
    from fleetmark_controller.artifacts.local_files import find_all

    detail = _get(name, address, with_md5=True)
    wanted = {file.sha256: file for file in detail.files if file.sha256 and not file.present}
    found, unsigned = find_all(
        Path(folder),
        {file.sha256: (file.name, file.size_bytes) for file in wanted.values()},
        {file.md5: file.name for file in detail.files if not file.sha256},
    )
    component = f"{detail.component.kind}/{detail.component.name}"
    with options.connect(address) as client:
        for sha256 in sorted(found):
            client.upload(found[sha256])
        if unsigned:
            uploaded = [client.upload(path)[0] for path in unsigned.values()]
            catalog_confirm.check(client, component, uploaded=uploaded)
    given = sorted([*(wanted[sha256].name for sha256 in found), *unsigned])
    missing = sorted(
        file.name for file in detail.files if not file.present and file.name not in given
    )
    if as_json:
        output.print_json(
            {"component": name, "given": given, "unsigned": sorted(unsigned), "missing": missing}
        )
        return
    for sha256 in sorted(found, key=lambda sha256: wanted[sha256].name):
        echo(f"{wanted[sha256].name}: taken from {found[sha256]}")
    for file_name, path in sorted(unsigned.items()):
        echo(
            f"{file_name}: taken from {path}; unsigned until an admin runs "
            f"`controller catalog confirm {component}`"
        )
    if missing:
        echo(f"still missing: {', '.join(missing)}")
    elif not unsigned:
        echo(f"{name} is complete")


command.add_command(renamed(import_files, "provide", "controller catalog import-files"))


def _get(name: str, address: str | None, with_md5: bool = False) -> catalog_pb2.ComponentDetail:
    from fleetmark_protos.v1 import catalog_pb2

    with options.connect(address) as client:
        request = catalog_pb2.GetComponentRequest(name=name, with_md5=with_md5)
        detail: catalog_pb2.ComponentDetail = client.call(client.catalog.GetComponent, request)
    return detail
