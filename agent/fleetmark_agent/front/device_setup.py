"""Steps of a front on one device: add it, connect its tunnel, remove it."""

from __future__ import annotations

import re
import secrets
import shlex
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from fleetmark_agent.front import agent_archive, device_scripts
from fleetmark_agent.front.device_facts import DeviceFacts, check_facts
from fleetmark_agent.front.device_scripts import Device
from fleetmark_agent.front.registry import FrontedDevice
from fleetmark_agent.front.ssh import SshTransport
from fleetmark_agent.front.transport import Transport, device_error
from fleetmark_core.ssh_address import parse_ssh_address
from fleetmark_core.tunnel_address import split_address

_TUNNEL = re.compile(r"/[A-Za-z0-9/._@+-]{1,400}")
_TRANSFER_S = 1800.0
_UNPACK_S = 300.0


def open_transport(device: FrontedDevice) -> Transport:
    """Connect to a device.

    Raises:
        FleetmarkError: it cannot be reached, or does not let this user in.
    """
    return SshTransport(parse_ssh_address(device.address), device.jump, device.ssh_config)


def probe(device: Device, front: str, where: str) -> DeviceFacts:
    """Return the facts of a device that can run the agent.

    Raises:
        FleetmarkError: it cannot, or is another front's.
    """
    return check_facts(device.ask(device_scripts.PROBE), front, where)


def push_agent(
    device: Device, facts: DeviceFacts, kit: agent_archive.AgentKit, report: Callable[[str], None]
) -> tuple[str, int]:
    """Put the agent's files on the device unless they are there.

    Returns:
        Their version, and the number of bytes that were sent.

    Raises:
        FleetmarkError: the kit does not fit, or the files cannot be written there.
    """
    chosen = kit.choose(facts.interpreter)
    python = facts.python_version
    version = agent_archive.version_of(chosen, python)
    offset = device.count(device_scripts.CLAIM, "received", version=version)
    if version in facts.versions:
        return version, 0
    with tempfile.TemporaryDirectory(prefix="fm-push-") as scratch:
        archive = Path(scratch) / "agent.tar.gz"
        kit.write_archive(chosen, python, archive)
        size = archive.stat().st_size
        if offset > size:
            raise device_error(
                "it has more bytes than were sent", device.where, "Remove it with --wipe"
            )
        report(f"sending {(size - offset) / 1e6:.1f} MB")
        if offset < size:
            _send(device, version, agent_archive.read_from(archive, offset), size)
        device.first(
            device_scripts.UNPACK,
            "version",
            timeout_s=_UNPACK_S,
            version=version,
            sha256=agent_archive.sha256_of(archive),
            python=facts.interpreter.path,
            python_version=python,
        )
    return version, size - offset


def _send(device: Device, version: str, data: Iterable[bytes], size: int) -> None:
    received = device.count(
        device_scripts.RECEIVE, "received", data=data, timeout_s=_TRANSFER_S, version=version
    )
    if received != size:
        raise device_error(
            f"{received:,} of {size:,} bytes arrived", device.where, "Add it again to resume"
        )


def store_token(device: Device, token: str) -> None:
    """Put an enrollment token on the device, where the agent alone reads it."""
    device.first(device_scripts.STORE_JOIN_FILE, "stored", data=(token.encode(),))


def connect_tunnel(device: Device, record: FrontedDevice) -> str:
    """Open a tunnel to the controller, and start the agent if it does not run.

    Returns:
        The agent's process id on the device.

    Raises:
        FleetmarkError: the device cannot forward ports, or its agent does not start.
    """
    name = secrets.token_hex(4)
    folder = device.first(device_scripts.NEW_TUNNEL, "tunnel", name=name)
    if not _TUNNEL.fullmatch(folder) or not folder.endswith(f"/run/{name}"):
        # The path becomes a part of a forward, which must not lead to another host than ours.
        raise device_error("its answer has a wrong path of a tunnel", device.where)
    host, port = split_address(record.controller)
    made = device.transport.forward(folder, host, (port, record.enrollment_port))
    pairs = " ".join(
        f"{one.controller_port}:{one.loopback_port}" for one in made if one.loopback_port
    )
    device.first(
        device_scripts.SWITCH_TUNNEL, "switched", name=name, pairs=pairs, version=record.version
    )
    return start_agent(device, record)


def start_agent(device: Device, record: FrontedDevice) -> str:
    """Start the agent if it does not run; return its process id."""
    options = ["--name", record.name]
    for key, value in sorted(record.labels.items()):
        options += ["--label", f"{key}={value}"]
    return device.first(
        device_scripts.START,
        "agent",
        version=record.version,
        port=split_address(record.controller)[1],
        options=" ".join(map(shlex.quote, options)),
    )


def wipe(device: Device) -> None:
    """End the agent and all its processes, and remove its folder.

    Raises:
        FleetmarkError: something is left; the message names it.
    """
    device.first(device_scripts.WIPE, "wiped", timeout_s=120.0)
