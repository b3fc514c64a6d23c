"""Translates between `FleetmarkError` and gRPC statuses; the one place for both directions."""

from __future__ import annotations

from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError

from fleetmark_protos.errors import DETAIL_KEY, ErrorKind, FleetmarkError
from fleetmark_protos.v1.common_pb2 import ErrorDetail

_BROKEN = "Internal error from Core"
"""What grpc.aio says when a connection goes away under a call that is sending."""


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: FleetmarkError) -> NoReturn:
    """End the call with the error's status and its parts as trailing metadata."""
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
    """The error that the controller at `address` meant.

    A status without our metadata comes from gRPC itself: nobody listens, the call ran out of
    time, or a foreign server answered.
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
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return FleetmarkError(
            ErrorKind.UNREACHABLE,
            f"no controller answers at {address}",
            next_step="Start one with `controller serve`, or name another with --controller",
        )
    text = error.details() if hasattr(error, "details") else str(error)
    if text == _BROKEN:
        return FleetmarkError(
            ErrorKind.UNREACHABLE,
            f"the connection to the controller at {address} broke",
            next_step="If it stays so, look whether the controller runs and the network holds",
        )
    return FleetmarkError(
        ErrorKind.INTERNAL, f"the controller answered {code.name}: {text}", address
    )
