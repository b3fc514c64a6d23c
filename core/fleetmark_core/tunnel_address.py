"""Addresses of a controller as an agent dials it: HOST:PORT, or a port of a tunnel folder.

A device that cannot reach the controller gets its ports through a tunnel. `unix:/FOLDER:PORT` names
port PORT of the tunnel in /FOLDER, which has one of these files for each port: `PORT.sock`, a UNIX
socket, or `PORT.port`, the number of a port on 127.0.0.1. A program that opens a tunnel
again makes a new folder and then replaces the link /FOLDER, so the address stays the same.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from fleetmark_core import network_address
from fleetmark_core.regular_file import read_regular

PREFIX = "unix:"
_MAX_PORT_FILE_BYTES = 16


class Endpoint(NamedTuple):
    """The place to connect to: a UNIX socket, or a host and a port."""

    path: str
    """Path of a UNIX socket; empty for a host and a port."""
    host: str = ""
    port: int = 0


def split_address(text: str) -> tuple[str, int]:
    """Return the host and the port of an address; the host of a tunnel is `unix:/FOLDER`.

    Raises:
        ValueError: the text has another form.
    """
    if not text.startswith(PREFIX):
        return network_address.split_address(text)
    folder, _, port = text.removeprefix(PREFIX).rpartition(":")
    is_path = folder.startswith("/") and folder.isprintable() and ".." not in folder.split("/")
    if not is_path or any(sign in folder for sign in "[]:"):
        raise ValueError(f"{text!r} is not unix:/FOLDER:PORT")
    return PREFIX + folder, network_address.split_address(f"tunnel:{port}")[1]


def join_address(host: str, port: int) -> str:
    """Return the address of a host and a port; see `split_address`."""
    if host.startswith(PREFIX):
        return f"{host}:{port}"
    return network_address.join_address(host, port)


def endpoint(host: str, port: int) -> Endpoint:
    """Return where to connect for a port of a host or tunnel.

    Raises:
        OSError: the tunnel does not have this port now.
    """
    if not host.startswith(PREFIX):
        return Endpoint("", host, port)
    folder = Path(host.removeprefix(PREFIX))
    number = folder / f"{port}.port"
    if not number.exists():
        return Endpoint(str(folder / f"{port}.sock"))
    text = read_regular(number, _MAX_PORT_FILE_BYTES).decode("ascii", "replace").strip()
    try:
        return Endpoint("", *network_address.split_address(f"127.0.0.1:{text}"))
    except ValueError as error:
        raise OSError(0, f"{number} does not contain a port") from error


def connect(host: str, port: int, timeout_s: float) -> socket.socket:
    """Return a connected socket.

    Raises:
        OSError: nothing answers there.
    """
    place = endpoint(host, port)
    if not place.path:
        return socket.create_connection((place.host, place.port), timeout=timeout_s)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.settimeout(timeout_s)
        made.connect(place.path)
    except BaseException:
        made.close()
        raise
    return made


def grpc_target(address: str) -> str:
    """Return the target of a gRPC channel to an address.

    See gRPC's naming document (doc/naming.md) for the form of UNIX sockets. Of a tunnel that is
    closed now, it is the UNIX socket that it will probably have.
    """
    host, port = split_address(address)
    if not host.startswith(PREFIX):
        return address
    try:
        place = endpoint(host, port)
    except OSError:
        place = Endpoint(f"{host.removeprefix(PREFIX)}/{port}.sock")
    if place.path:
        return PREFIX + quote(place.path)  # gRPC parses the target as a URI
    return network_address.join_address(place.host, place.port)
