"""Converts between `FleetmarkError` and gRPC statuses, in both directions."""

from __future__ import annotations

import re
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError

from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_protos.v1.common_pb2 import ErrorDetail

DETAIL_KEY = "fleetmark-error-bin"
"""Trailing metadata key of a serialized `ErrorDetail`."""
_CAUSE = re.compile(r"connect: ([A-Z][A-Za-z ]+) \(\d+\)")
"""gRPC's words for the system's reason, of the last address that it dialed."""
_UNRESOLVED = re.compile(r"lookup failed|errors? resolving|DNS resolution failed")
_NO_METHOD = "Method not found!"
_BROKEN = "Internal error from Core"
"""The details that grpc.aio reports when a connection breaks during a call that is sending."""


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: FleetmarkError) -> NoReturn:
    """End the call with the error's status, and its parts as trailing metadata."""
    detail = ErrorDetail(
        code=error.kind.number, what=error.what, where=error.where, next_step=error.next_step
    )
    await context.abort(
        getattr(grpc.StatusCode, error.kind.status),
        str(error),
        trailing_metadata=((DETAIL_KEY, detail.SerializeToString()),),
    )
    raise AssertionError("abort always raises")


def from_rpc_error(error: grpc.RpcError, address: str) -> FleetmarkError:
    """Return the `FleetmarkError` that an RPC error from the controller at `address` represents.

    A status without Fleetmark's metadata comes from gRPC itself: no server listens, the call ran
    out of time, or another kind of server answered.
    """
    metadata: Any = error.trailing_metadata() if hasattr(error, "trailing_metadata") else None
    for key, value in metadata or ():
        if key == DETAIL_KEY and isinstance(value, bytes):
            try:
                detail = ErrorDetail.FromString(value)
            except DecodeError:
                break
            kind = ErrorKind.from_number(detail.code)
            return FleetmarkError(kind, detail.what, detail.where, detail.next_step)
    code = error.code() if hasattr(error, "code") else grpc.StatusCode.UNKNOWN
    details = str(error.details() or "") if hasattr(error, "details") else ""
    if code is grpc.StatusCode.UNAVAILABLE and (untrusted := _handshake(details, address)):
        return untrusted
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        if _UNRESOLVED.search(details):
            return unresolved_error(address.rpartition(":")[0], address)
        cause = _CAUSE.search(details)
        return FleetmarkError(
            ErrorKind.UNREACHABLE,
            f"no controller answers at {address}" + (f": {cause[1].lower()}" if cause else ""),
            next_step="Start one with `controller serve`, or name another with --controller",
        )
    if code is grpc.StatusCode.UNIMPLEMENTED and details == _NO_METHOD:
        return FleetmarkError(
            ErrorKind.INTERNAL,
            "this call is not served there: it is the port for new devices, or another version",
            address,
            "Give --controller the port of `controller serve --listen`, which is 7117 by default",
        )
    text = details or str(error)
    if text == _BROKEN:
        return FleetmarkError(
            ErrorKind.UNREACHABLE,
            f"the connection to the controller at {address} was lost",
            next_step="If this persists, check that the controller runs and the network works",
        )
    return FleetmarkError(
        ErrorKind.INTERNAL, f"the controller returned {code.name}: {text}", address
    )


def unresolved_error(host: str, address: str) -> FleetmarkError:
    """Return the error for a host name that this machine cannot turn into an address.

    Args:
        host: the name.
        address: HOST:PORT as the user gave it.
    """
    return FleetmarkError(
        ErrorKind.UNREACHABLE,
        f"cannot resolve {host}, the host of the controller's address {address}",
        next_step="Give --controller an IP address in place of the name, or make the name known to"
        " this machine (DNS, mDNS or /etc/hosts)",
    )


def _handshake(details: str, address: str) -> FleetmarkError | None:
    """Return the error for a failed TLS handshake, recognized by the text of gRPC's TLS library."""
    if "certificate has expired" in details or "certificate is not yet valid" in details:
        return FleetmarkError(
            ErrorKind.CLOCK_SKEW,
            "the controller's certificate is not valid according to this machine's clock",
            address,
            "Correct the clock that is wrong",
        )
    if "CERTIFICATE_VERIFY_FAILED" in details or "Hostname Verification" in details:
        return FleetmarkError(
            ErrorKind.UNTRUSTED,
            "the server at this address is not the expected controller",
            address,
            "Check the address; another controller needs another token or credentials file",
        )
    if "Socket closed" in details:
        return FleetmarkError(
            ErrorKind.UNREACHABLE,
            f"the server at {address} closed the connection",
            next_step="The credential may have expired or belong to another controller, another"
            " program may listen there, or the controller may have no free connections",
        )
    return None
