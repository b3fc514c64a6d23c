"""Devices behind SSH: runs `agent front`, which holds their connections, on the operator's host."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from fleetmark_core.errors import ErrorKind, FleetmarkError

PREFIX = "ssh://"
_PROGRAM = ("-I", "-m", "fleetmark_agent.cli", "front")


def add_fronted_device(
    target: str, controller: str | None, credentials: str | None, options: Sequence[str]
) -> None:
    """Create a one-time token, and let the front of this host push the agent to a device.

    Args:
        target: the device, as ssh://USER@HOST:PORT.
        controller: address of the controller; None for that of this host.
        credentials: see `options.connect`.
        options: more options of `agent front add`.

    Raises:
        FleetmarkError: the target is not an address, or the controller refuses.
        SystemExit: the front failed; it has printed why.
    """
    from fleetmark_controller.client.connection import Client
    from fleetmark_core.ssh_address import parse_ssh_address
    from fleetmark_protos.v1 import admin_pb2

    try:
        parse_ssh_address(target)
    except ValueError as error:
        raise FleetmarkError(ErrorKind.USAGE, str(error)) from error
    with Client(controller, credentials) as client:
        request = admin_pb2.CreateTokenRequest(ttl_ns=3600 * 10**9, uses=1, approve=True)
        made = client.call(client.admin.CreateToken, request)
        words = ["add", target, "--controller", client.address, "--token-file", "-", *options]
        try:
            _run(words, made.token)
        except BaseException:
            # A token that reached no device is of no use.
            revocation = admin_pb2.RevokeTokenRequest(token_id=made.token_id)
            client.call(client.admin.RevokeToken, revocation)
            raise


def wipe_fronted_device(name: str) -> None:
    """Let the front of this host end the agent on a device and remove its files.

    Raises:
        SystemExit: the front failed; it has printed why.
    """
    _run(["remove", "--wipe", "--", name], "")


def _run(words: Sequence[str], data: str) -> None:
    # The program of the same installation; agent and controller import nothing of each other.
    done = subprocess.run([sys.executable, *_PROGRAM, *words], input=data, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.returncode if done.returncode > 0 else ErrorKind.INTERNAL.exit_code)
