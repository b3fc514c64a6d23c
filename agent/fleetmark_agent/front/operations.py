"""What the commands `agent front add` and `agent front remove` do."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from fleetmark_agent.front import device_setup
from fleetmark_agent.front.agent_archive import AgentKit
from fleetmark_agent.front.device_scripts import Device
from fleetmark_agent.front.registry import FrontedDevice, FrontHome
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.tunnel_address import split_address

_RELEASE_S = 90.0


@dataclass(frozen=True)
class AddedDevice:
    """What `add_device` did."""

    device: FrontedDevice
    sent_bytes: int
    is_enrolled: bool
    old_agent_runs: bool
    """True if an agent of another version runs there; the new one starts after its end."""


def add_device(
    home: FrontHome,
    wanted: FrontedDevice,
    kit_file: Path,
    token: str,
    report: Callable[[str], None],
) -> AddedDevice:
    """Push the agent to a device and register it with the front.

    Args:
        home: the front's home.
        wanted: the device; its version and enrollment port are filled in.
        kit_file: the agent kit.
        token: enrollment token; empty for a device that is enrolled.
        report: is called with lines for the operator.

    Raises:
        FleetmarkError: see the message. The device then has nothing that it did not have before,
            except for files of a transfer that can be resumed.
    """
    known = home.load()
    _check_unique(known, wanted)
    port = _enrollment_port(known.get(wanted.name), wanted, token)
    front = home.mark()
    kit = AgentKit(kit_file)
    try:
        transport = device_setup.open_transport(wanted)
        try:
            device = Device(transport, front, wanted.address)
            facts = device_setup.probe(device, front, wanted.address)
            if not token and not facts.is_enrolled:
                raise FleetmarkError(
                    ErrorKind.BAD_TOKEN,
                    "the device is not enrolled, and no token is given",
                    wanted.address,
                    "Pass one with --token-file, from: controller token create --approve",
                )
            old = set(facts.versions)
            version, sent = device_setup.push_agent(device, facts, kit, report)
            if token and not facts.is_enrolled:
                device_setup.store_token(device, token)
        finally:
            transport.close()
    finally:
        kit.close()
    record = replace(wanted, version=version, enrollment_port=port)
    home.save(record)
    stale = bool(facts.agent_pid) and version not in old
    return AddedDevice(record, sent, facts.is_enrolled, stale)


def remove_device(home: FrontHome, name: str, *, with_files: bool) -> None:
    """End a device's tunnel and forget the device; with `with_files`, remove the agent from it.

    Raises:
        FleetmarkError: this front has no such device, or the device cannot be reached or emptied;
            then the front still knows the device, so that the command can be repeated.
    """
    record = replace(home.get(name), is_removed=True)
    home.save(record)
    deadline = time.monotonic() + _RELEASE_S
    while home.is_running() and home.status(name)[0]:
        if time.monotonic() > deadline:
            raise FleetmarkError(
                ErrorKind.HOME_IN_USE, f"the front does not let go of {name}", str(home.folder)
            )
        time.sleep(0.1)
    if with_files:
        transport = device_setup.open_transport(record)
        try:
            device_setup.wipe(Device(transport, home.mark(), record.address))
        finally:
            transport.close()
    home.delete(name)


def _check_unique(known: dict[str, FrontedDevice], wanted: FrontedDevice) -> None:
    for other in known.values():
        if other.name != wanted.name and other.address == wanted.address:
            raise FleetmarkError(
                ErrorKind.USAGE,
                f"this front has it already, as {other.name}",
                wanted.address,
                f"Use --name {other.name}, or remove that one",
            )
        if other.name == wanted.name and other.address != wanted.address:
            raise FleetmarkError(
                ErrorKind.USAGE,
                f"this front has another device with the name {other.name}: {other.address}",
                wanted.address,
                "Choose another name with --name",
            )


def _enrollment_port(known: FrontedDevice | None, wanted: FrontedDevice, token: str) -> int:
    """Return the controller's port for new devices, which the token carries."""
    from fleetmark_protos.token import TokenError, parse_token

    if token:
        try:
            return parse_token(token).entry_port
        except TokenError as error:
            raise FleetmarkError(ErrorKind.BAD_TOKEN, str(error)) from error
    if known is not None:
        return known.enrollment_port
    return split_address(wanted.controller)[1] + 1
