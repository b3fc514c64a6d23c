"""Error handling of all services: errors become gRPC statuses, bugs become log entries."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import grpc

from fleetmark_controller.api import auth
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.log import get_logger
from fleetmark_protos.status import abort

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]
else:
    Context = grpc.aio.ServicerContext

R = TypeVar("R")
log = get_logger("fleetmark.services")


def _to_fleetmark_error(error: Exception) -> FleetmarkError:
    if isinstance(error, FleetmarkError):
        # Use the kind that the caller reads: a narrower kind has the number of the broader one.
        kind = ErrorKind.from_number(error.kind.number)
        return FleetmarkError(kind, error.what, error.where, error.next_step)
    log.failure("call failed", error)
    return FleetmarkError(
        ErrorKind.INTERNAL,
        f"internal error of the controller: {type(error).__name__}",
        next_step="See the controller's log for details",
    )


async def _refuse(context: Context, error: Exception) -> NoReturn:
    meaning = _to_fleetmark_error(error)
    await auth.note(meaning)
    await abort(context, meaning)


def unary(
    method: Callable[[Any, Any, Any], Awaitable[R]],
) -> Callable[[Any, Any, Context], Awaitable[R]]:
    """Wrap `async def method(self, request, context)` with error handling."""

    @functools.wraps(method)
    async def call(self: Any, request: Any, context: Context) -> R:
        try:
            return await method(self, request, context)
        except (grpc.aio.AbortError, grpc.aio.UsageError):
            raise
        except Exception as error:
            await _refuse(context, error)

    return call


def streaming(
    method: Callable[[Any, Any, Any], AsyncIterator[R]],
) -> Callable[[Any, Any, Context], AsyncIterator[R]]:
    """Wrap an async generator `method(self, request, context)` with error handling."""

    @functools.wraps(method)
    async def call(self: Any, request: Any, context: Context) -> AsyncIterator[R]:
        try:
            async for item in method(self, request, context):
                yield item
        except (grpc.aio.AbortError, grpc.aio.UsageError):
            raise
        except Exception as error:
            await _refuse(context, error)

    return call
