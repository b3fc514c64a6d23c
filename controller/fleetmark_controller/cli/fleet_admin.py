"""The commands of `controller fleet` that show or change one device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fleetmark_cli.output import echo
from fleetmark_cli.renamed import note, renamed
from fleetmark_controller.cli import options
from fleetmark_core.ids import SHORT_ID

if TYPE_CHECKING:
    from fleetmark_protos.v1 import capabilities_pb2, fleet_pb2

_names = click.argument("names", metavar="NAME...", nargs=-1, required=True)


@click.command(name="label")
@click.argument("name")
@click.argument("labels", metavar="KEY=VALUE...", nargs=-1)
@click.option("--unset", multiple=True, metavar="KEY", help="Remove this label.")
@options.controller
def label(name: str, labels: tuple[str, ...], unset: tuple[str, ...], address: str | None) -> None:
    """Set labels of a device. They override labels that its agent sets."""
    from fleetmark_protos.v1 import fleet_pb2

    changes: dict[str, str] = {}
    for text in labels:
        key, equals, value = text.partition("=")
        if not equals or not key or not value:
            raise click.UsageError(f"{text!r} is not KEY=VALUE")
        changes[key] = value
    if not changes and not unset:
        raise click.UsageError("give KEY=VALUE, or --unset KEY")
    with options.connect(address) as client:
        reply = client.call(
            client.fleet.Label,
            fleet_pb2.LabelRequest(names=[name], set=changes, unset=unset),
        )
    for device in reply.devices:
        shown = ", ".join(f"{k}={v}" for k, v in sorted(device.labels.items())) or "no label"
        echo(f"{device.name}: {shown}")


@click.command(name="set-system-info")
@click.argument("name")
@click.argument("fields", metavar="FIELD=VALUE...", nargs=-1)
@click.option("--unset", multiple=True, metavar="FIELD", help="Remove this field.")
@options.as_json
@options.controller
def set_system_info(
    name: str, fields: tuple[str, ...], unset: tuple[str, ...], as_json: bool, address: str | None
) -> None:
    """Set the fields of a device's MLPerf system description that no agent can measure.

    Without FIELD=VALUE, show the system description.
    """
    from fleetmark_cli import output
    from fleetmark_protos.v1 import fleet_pb2

    changes: dict[str, str] = {}
    for text in fields:
        field, equals, value = text.partition("=")
        if not equals or not field or not value:
            raise click.UsageError(f"{text!r} is not FIELD=VALUE")
        changes[field] = value
    with options.connect(address) as client:
        if changes or unset:
            request = fleet_pb2.SetDescriptionRequest(name=name, set=changes, unset=unset)
            found = client.call(client.fleet.SetDescription, request)
        else:
            asked = fleet_pb2.GetDescriptionRequest(name=name)
            found = client.call(client.fleet.GetDescription, asked)
    given, known = dict(found.operator_fields), dict(found.catalog_fields)
    if as_json:
        output.print_json(
            {
                "operator_fields": given,
                "component": found.component,
                "catalog_fields": known,
            }
        )
        return
    shown = {**known, **given}
    output.print_fields({field: shown[field] for field in sorted(shown)})
    if found.component:
        echo(f"Fields that no operator set come from system/{found.component} of the catalog.")
    elif not shown:
        echo(f"{name} has no system description yet.")


@click.command(name="drain")
@_names
@click.option("--reason", default="", help="Reason, shown in `fleet list`.")
@options.controller
def drain(names: tuple[str, ...], reason: str, address: str | None) -> None:
    """Stop dispatching jobs to devices. Running jobs continue."""
    from fleetmark_protos.v1 import fleet_pb2

    with options.connect(address) as client:
        reply = client.call(client.fleet.Drain, fleet_pb2.DrainRequest(names=names, reason=reason))
    for device in reply.devices:
        rest = "; its job continues" if device.job_id else ""
        echo(f"{device.name} is drained{rest}")


def _resume(names: tuple[str, ...], address: str | None, hold: fleet_pb2.Hold.ValueType) -> None:
    """End one hold of devices, and print which holds remain."""
    from fleetmark_protos.v1 import fleet_pb2

    with options.connect(address) as client:
        request = fleet_pb2.ResumeRequest(names=names, hold=hold)
        reply = client.call(client.fleet.Resume, request)
    for device in reply.devices:
        rest = admin_text(device)
        echo(f"{device.name}: still {rest}" if rest else f"{device.name} accepts jobs")


@click.command(name="undrain")
@_names
@options.controller
def undrain(names: tuple[str, ...], address: str | None) -> None:
    """Dispatch jobs to drained devices again."""
    from fleetmark_protos.v1 import fleet_pb2

    _resume(names, address, fleet_pb2.HOLD_DRAIN)


@click.command(name="unreserve")
@_names
@options.controller
def unreserve(names: tuple[str, ...], address: str | None) -> None:
    """End the reservation of devices, so that they take jobs of all operators."""
    from fleetmark_protos.v1 import fleet_pb2

    _resume(names, address, fleet_pb2.HOLD_RESERVATION)


@click.command(name="unquarantine")
@_names
@options.controller
def unquarantine(names: tuple[str, ...], address: str | None) -> None:
    """Release devices from quarantine, without a health check."""
    from fleetmark_protos.v1 import fleet_pb2

    _resume(names, address, fleet_pb2.HOLD_QUARANTINE)


@click.command(name="resume", hidden=True)
@_names
@options.controller
def resume(names: tuple[str, ...], address: str | None) -> None:
    """Dispatch jobs to devices again, after a drain, reservation or quarantine."""
    from fleetmark_protos.v1 import fleet_pb2

    note("controller fleet undrain`, `unreserve` or `unquarantine")
    _resume(names, address, fleet_pb2.HOLD_ALL)


@click.command(name="reserve")
@_names
@click.option(
    "--for", "for_s", type=options.TERM, required=True, help="Duration, such as 90s, 30m, 1h or 2d."
)
@options.controller
def reserve(names: tuple[str, ...], for_s: float, address: str | None) -> None:
    """Reserve devices for your own campaigns. Jobs of other operators wait.

    Your credentials identify you.
    """
    from fleetmark_protos.v1 import fleet_pb2

    request = fleet_pb2.ReserveRequest(names=names, duration_ns=int(for_s * 1e9))
    with options.connect(address) as client:
        reply = client.call(client.fleet.Reserve, request)
    for device in reply.devices:
        admin = device.admin
        echo(f"{device.name} is reserved for {admin.reserved_for} until {admin.reserved_until}")


@click.command(name="rename")
@click.argument("name")
@click.argument("new_name", metavar="NEW")
@options.controller
def rename(name: str, new_name: str, address: str | None) -> None:
    """Rename a device. The new name also applies to stored results."""
    from fleetmark_protos.v1 import fleet_pb2

    request = fleet_pb2.RenameRequest(name=name, new_name=new_name)
    with options.connect(address) as client:
        client.call(client.fleet.Rename, request)
    echo(f"{name} is now {new_name}")


@click.command(name="show")
@click.argument("name")
@options.as_json
@options.controller
def show(name: str, as_json: bool, address: str | None) -> None:
    """Show the state, capabilities and history of a device."""
    from fleetmark_cli import output, tables
    from fleetmark_protos.plain import to_plain
    from fleetmark_protos.v1 import fleet_pb2

    with options.connect(address) as client:
        found = client.call(client.fleet.ShowDevice, fleet_pb2.ShowDeviceRequest(name=name))
    if as_json:
        output.print_json(to_plain(found))
        return
    device = found.device
    facts = device.capabilities
    software = [f"{s.name} {s.version}".strip() for s in facts.software]
    counts = [f"{n} {state.lower()}" for state, n in sorted(found.jobs_by_state.items())]
    output.print_fields(
        {
            "name": device.name,
            "id": device.device_id,
            "presence": device.presence,
            "now": activity_text(device) or "–",
            "state": admin_text(device) or "accepts jobs",
            "labels": ", ".join(f"{k}={v}" for k, v in sorted(device.labels.items())) or "–",
            "tags": ", ".join(facts.tags) or "–",
            "board": facts.board.model or None,
            "soc": facts.board.soc or None,
            "system": f"{facts.os.name} {facts.os.version}, {facts.arch}",
            "cpu": facts.cpu.model or None,
            "cores": _cores(facts.cpu),
            "memory": f"{facts.memory.total_bytes / 2**30:.1f} GiB",
            "software": ", ".join(software) or "–",
            "agent": device.agent_version,
            "registered": device.registered_at,
            "jobs": ", ".join(counts) or "none yet",
        }
    )
    echo()
    tables.print_table(
        ("at", "capabilities"), [(change.at, change.what) for change in found.history]
    )


def _cores(cpu: capabilities_pb2.Cpu) -> str:
    """Return the usable cores, the total, and the CPU quota if there is one."""
    text = f"{cpu.usable_cores} of {cpu.logical_cores}"
    return f"{text}, CPU quota {cpu.quota_cores:g}" if cpu.HasField("quota_cores") else text


COMMANDS = (
    *(show, label, rename, set_system_info),
    *(drain, undrain, reserve, unreserve, unquarantine),
    resume,
    renamed(set_system_info, "describe", "controller fleet set-system-info"),
)


def admin_text(device: fleet_pb2.Device) -> str:
    """Return the administrative state of a device; empty if it accepts jobs."""
    admin = device.admin
    parts = []
    if admin.drained_at:
        parts.append(f"drained ({admin.drain_reason})" if admin.drain_reason else "drained")
    if admin.quarantined:
        check = f", health check {admin.check_campaign[-SHORT_ID:]}" if admin.check_campaign else ""
        parts.append(f"quarantined after {admin.failures} failures{check}: {admin.last_failure}")
    if admin.reserved_for:
        parts.append(f"reserved for {admin.reserved_for} until {admin.reserved_until}")
    return "; ".join(parts)


def activity_text(device: fleet_pb2.Device) -> str:
    """Return the current activity of a device, such as `fashion-mnist fp32 …: run 40 %`."""
    if not device.job_id:
        return device.activity
    progress = device.progress
    text = f"{device.configuration}: {progress.phase or 'preparing'}"
    if progress.total:
        text += f" {min(100, 100 * progress.done // progress.total)} %"
    if device.HasField("temperature_c"):
        text += f", {device.temperature_c:.0f} °C"
    return text
