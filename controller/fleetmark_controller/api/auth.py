"""Authentication and authorization of every call, before it reaches a service.

A refused call is written to the audit log, changes nothing, and ends with the status of its kind.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from fleetmark_controller.engine.engine import Engine
from fleetmark_controller.identity.certificates import read_peer
from fleetmark_controller.identity.model import Caller, CallRule, IdentityKind, RateLimiter
from fleetmark_controller.identity.permissions import RULES
from fleetmark_controller.identity.registry import Registry, expired
from fleetmark_controller.store.security import audit
from fleetmark_core.clock import now_unix_ns
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.log import get_logger
from fleetmark_protos.status import abort

log = get_logger("fleetmark.services")

AUDITED = {
    ErrorKind.UNAUTHENTICATED,
    ErrorKind.FORBIDDEN,
    ErrorKind.REVOKED,
    ErrorKind.PENDING,
    ErrorKind.BAD_TOKEN,
    ErrorKind.NOT_ENROLLED,
    ErrorKind.TOO_MANY_ATTEMPTS,
    ErrorKind.FENCED,
    ErrorKind.BAD_MESSAGE,
    ErrorKind.DIGEST_MISMATCH,
}
"""Kinds of refusals that are always logged: honest agents and operators do not cause them."""
_MOST_ROWS = 30
_NONSENSE = object()
"""Placeholder for a message whose bytes cannot be parsed."""
_CALL: ContextVar[AuthenticatedCall] = ContextVar("call")


class AuthenticatedCall:
    """A call that the guard admitted."""

    def __init__(
        self,
        method: str,
        context: Any,
        caller: Caller | None,
        expires_ns: int,
        refusals: RefusalAuditor,
    ) -> None:
        self.method = method
        self.refusals = refusals
        self.caller = caller
        self.expires_ns = expires_ns
        self.context = context
        self._task = asyncio.current_task()
        self._ending: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """The caller's address, without its port."""
        return address_of(self.peer)

    @property
    def peer(self) -> str:
        """The caller's address and port, in gRPC's notation."""
        return str(self.context.peer())

    @property
    def caller_label(self) -> str:
        """The caller as written in the audit log."""
        return self.caller.shown if self.caller else f"address {self.address}"

    def end(self, error: FleetmarkError) -> None:
        """End the call with an error for the caller."""
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._end(error))

    async def _end(self, error: FleetmarkError) -> None:
        log.info("call ended", method=self.method, caller=self.caller_label, error=error)
        with suppress(Exception):
            await abort(self.context, error)
        if self._task is not None:
            self._task.cancel()


def current() -> AuthenticatedCall:
    """Return the call in progress."""
    return _CALL.get()


def device_id() -> str:
    """Return the id of the calling device; empty for operators.

    An agent acts only for itself: compare every device id in a message with this one.
    """
    caller = _CALL.get().caller
    return caller.identity_id if caller and caller.kind is IdentityKind.DEVICE else ""


def caller_label() -> str:
    """Return the caller as written in the audit log."""
    return _CALL.get().caller_label


def operator_name() -> str:
    """Return the name of the calling operator; empty for devices.

    The name comes from the certificate, so an operator cannot act in another's name.
    """
    caller = _CALL.get().caller
    return caller.name if caller and caller.kind is IdentityKind.OPERATOR else ""


def require_device(named: str) -> None:
    """Refuse a message that names a device other than the caller.

    Raises:
        FleetmarkError: FORBIDDEN.
    """
    if named != device_id():
        raise FleetmarkError(
            ErrorKind.FORBIDDEN, f"device id {named[:80]!r} is not the id of the calling device"
        )


def address_of(peer: str) -> str:
    """Return an address such as `ipv4:192.0.2.1:1234` without its prefix and port."""
    kind, _, rest = peer.partition(":")
    return rest.rpartition(":")[0] if kind in ("ipv4", "ipv6") else peer


class RefusalAuditor:
    """Writer of refusals to the audit log, with a limit per minute and source."""

    def __init__(self, engine: Engine) -> None:
        """Write to the store of one engine."""
        self._engine = engine
        self._limiter = RateLimiter(_MOST_ROWS)

    async def note(self, caller_label: str, method: str, error: FleetmarkError) -> None:
        """Write one row, durable on return, unless this source has reached its limit."""
        count = self._limiter.refused(caller_label, time.monotonic())
        if count > _MOST_ROWS:
            return
        what = (
            error.what
            if count < _MOST_ROWS
            else f"{error.what}; further refusals in this minute are not recorded"
        )
        try:
            await self._engine.transactions.run_transaction(
                lambda c, fx, now: audit.add(
                    c,
                    now,
                    caller_label,
                    method,
                    outcome=audit.REFUSED,
                    kind=error.kind.name,
                    what=what[:500],
                )
            )
        except FleetmarkError as trouble:
            log.error("refusal not recorded in the audit log", error=trouble)


class AuthInterceptor(grpc.aio.ServerInterceptor):
    """Interceptor that admits the callers that the table of permissions allows."""

    def __init__(self, registry: Registry, refusals: RefusalAuditor) -> None:
        """Create a guard.

        Args:
            registry: the current identities.
            refusals: writes refused calls to the audit log.
        """
        self._registry = registry
        self._refusals = refusals
        self._wrapped: dict[str, tuple[Any, Any]] = {}

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any
    ) -> Any:
        """Return the method's handler, wrapped once because it is the same for each call."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = str(handler_call_details.method)
        known, wrapped = self._wrapped.get(method, (None, None))
        if known is not handler:
            wrapped = self._wrap(method, handler)
            self._wrapped[method] = (handler, wrapped)
        return wrapped

    def _wrap(self, method: str, handler: Any) -> Any:
        rule = RULES.get(method, CallRule())
        behaviour = (
            handler.unary_unary
            or handler.unary_stream
            or handler.stream_unary
            or handler.stream_stream
        )

        async def unary(request: Any, context: Any) -> Any:
            call = await self._enter(method, rule, context)
            try:
                return await behaviour(await self._understood(call, request), context)
            finally:
                self._end_call(call)

        async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
            call = await self._enter(method, rule, context)
            try:
                async for item in behaviour(await self._understood(call, request), context):
                    yield item
            finally:
                self._end_call(call)

        makers: dict[tuple[bool, bool], tuple[Any, Any]] = {
            (False, False): (grpc.unary_unary_rpc_method_handler, unary),
            (False, True): (grpc.unary_stream_rpc_method_handler, stream),
            (True, False): (grpc.stream_unary_rpc_method_handler, unary),
            (True, True): (grpc.stream_stream_rpc_method_handler, stream),
        }
        make, wrapped = makers[handler.request_streaming, handler.response_streaming]
        understand = _tolerant_parser(handler.request_deserializer)
        return make(wrapped, understand, handler.response_serializer)

    async def _understood(self, call: AuthenticatedCall, request: Any) -> Any:
        """Return the request if it was parsed; messages of a stream are checked as they arrive."""
        if request is _NONSENSE:
            refusal = _unparsable_error()
            await self._refusals.note(call.caller_label, call.method, refusal)
            await abort(call.context, refusal)
        return _parsed_messages(request) if hasattr(request, "__aiter__") else request

    async def _enter(self, method: str, rule: CallRule, context: Any) -> AuthenticatedCall:
        shown = f"address {address_of(context.peer())}"
        try:
            call = self._admitted(method, rule, context)
        except FleetmarkError as error:
            await self._refusals.note(shown, method, error)
            await abort(context, error)
        _CALL.set(call)
        if call.caller is not None:
            try:
                self._registry.add_call(call.caller, call)
            except FleetmarkError as error:
                await self._refusals.note(call.caller_label, method, error)
                await abort(context, error)
            if not rule.allows(call.caller):
                refusal = _not_allowed(call.caller, rule, method)
                self._registry.closed(call.caller.identity_id, call)
                await self._refusals.note(call.caller_label, method, refusal)
                await abort(context, refusal)
        return call

    def _end_call(self, call: AuthenticatedCall) -> None:
        if call.caller is not None:
            self._registry.closed(call.caller.identity_id, call)

    def _admitted(self, method: str, rule: CallRule, context: Any) -> AuthenticatedCall:
        shown = context.auth_context().get("x509_pem_cert")
        if rule.anyone:
            return AuthenticatedCall(method, context, None, 0, self._refusals)
        if not shown:
            raise FleetmarkError(
                ErrorKind.UNAUTHENTICATED,
                "this call needs a certificate",
                next_step="Enroll the device, or use a credentials file",
            )
        peer = read_peer(bytes(shown[0]))
        if now_unix_ns() >= peer.expires_ns:
            raise expired()
        caller = self._registry.admit(peer.kind, peer.identity_id, peer.key_sha256)
        return AuthenticatedCall(method, context, caller, peer.expires_ns, self._refusals)


def _tolerant_parser(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Return a parser that marks invalid bytes: they must cause a refusal, not a traceback."""

    def understand(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError:
            return _NONSENSE

    return understand


async def _parsed_messages(messages: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for message in messages:
        if message is _NONSENSE:
            raise _unparsable_error()
        yield message


def _unparsable_error() -> FleetmarkError:
    return FleetmarkError(ErrorKind.BAD_MESSAGE, "the bytes are not a valid message for this call")


async def note(error: FleetmarkError) -> None:
    """Write an error of the call in progress to the audit log if its kind is audited."""
    call = _CALL.get(None)
    if call is not None and error.kind in AUDITED:
        await call.refusals.note(call.caller_label, call.method, error)


def _not_allowed(caller: Caller, rule: CallRule, method: str) -> FleetmarkError:
    name = method.rpartition(".")[2]
    if caller.kind is IdentityKind.DEVICE:
        what = f"agents may not call {name}"
        return FleetmarkError(ErrorKind.FORBIDDEN, what)
    if rule.operators is None:
        return FleetmarkError(ErrorKind.FORBIDDEN, f"only agents call {name}")
    role = caller.role.value if caller.role else "none"
    return FleetmarkError(
        ErrorKind.FORBIDDEN,
        f"{name} needs role {rule.operators.value}; {caller.name} is {role}",
        next_step="Ask an administrator: `controller operator create`",
    )
