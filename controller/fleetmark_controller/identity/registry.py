"""Current identities, in memory: read at every call, updated after every commit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from fleetmark_controller.identity.model import Caller, Identity, IdentityKind, IdentityState
from fleetmark_core.errors import ErrorKind, FleetmarkError


class OpenCall(Protocol):
    """A call in progress."""

    expires_ns: int
    """End of validity of the certificate with which the call began."""

    @property
    def peer(self) -> str:
        """Address and port of its connection, in gRPC's notation."""

    def end(self, error: FleetmarkError) -> None:
        """End the call with an error for the caller."""


class Registry:
    """Identities by id, and the open calls of each."""

    def __init__(self, most_calls: Mapping[IdentityKind, int] | None = None) -> None:
        """Start without identities.

        Args:
            most_calls: maximum number of open calls of one identity of each kind. A kind that is
                not listed has no limit.
        """
        self._most_calls = dict(most_calls or {})
        self._identities: dict[str, Identity] = {}
        self._calls: dict[str, set[OpenCall]] = {}
        self._waiting: dict[str, set[Callable[[], None]]] = {}

    def update(self, identities: Iterable[Identity]) -> None:
        """Apply stored identities; end the calls of each identity that is not active."""
        for identity in identities:
            self._identities[identity.identity_id] = identity
            if identity.state is not IdentityState.ACTIVE:
                for call in list(self._calls.get(identity.identity_id, ())):
                    call.end(_refusal_error(identity))
            for callback in list(self._waiting.get(identity.identity_id, ())):
                callback()

    def get(self, identity_id: str) -> Identity | None:
        """Return an identity, or None if it is unknown."""
        return self._identities.get(identity_id)

    def name_of(self, identity_id: str) -> str:
        """Return the name of an identity, or its id if it is unknown."""
        identity = self._identities.get(identity_id)
        return identity.name if identity else identity_id

    def admit(self, kind: IdentityKind, identity_id: str, key_sha256: str) -> Caller:
        """Return the caller that a verified certificate names.

        Raises:
            FleetmarkError: UNAUTHENTICATED, PENDING or REVOKED.
        """
        identity = self._identities.get(identity_id)
        if identity is None or identity.kind is not kind or identity.key_sha256 != key_sha256:
            raise FleetmarkError(
                ErrorKind.UNAUTHENTICATED,
                "certificate is not registered with this controller",
                next_step="Enroll the device again or create a new credentials file",
            )
        if identity.state is not IdentityState.ACTIVE:
            raise _refusal_error(identity)
        return Caller(identity.kind, identity_id, identity.name, identity.role)

    def add_call(self, caller: Caller, call: OpenCall) -> None:
        """Record that a call began.

        A device cannot occupy all connections of the controller: a connection that it keeps without
        a call is closed after a while.

        Raises:
            FleetmarkError: BACK_PRESSURE: the identity has reached its limit of open calls.
        """
        open_calls = self._calls.get(caller.identity_id, set())
        most = self._most_calls.get(caller.kind)
        if most is not None and len(open_calls) >= most:
            raise _too_many_calls_error(caller, most)
        self._calls.setdefault(caller.identity_id, open_calls).add(call)

    def connections(self) -> set[str]:
        """Return address and port of each connection on which an identity has a call open."""
        return {call.peer for calls in self._calls.values() for call in calls}

    def closed(self, identity_id: str, call: OpenCall) -> None:
        """Record that a call ended."""
        calls = self._calls.get(identity_id)
        if calls is not None:
            calls.discard(call)
            if not calls:
                del self._calls[identity_id]

    def end_expired(self, now_ns: int) -> None:
        """End the calls whose certificates have expired."""
        for calls in list(self._calls.values()):
            for call in list(calls):
                if now_ns >= call.expires_ns:
                    call.end(expired())

    def watch(self, identity_id: str, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` whenever the identity changes; return a function that ends this."""
        self._waiting.setdefault(identity_id, set()).add(callback)

        def stop() -> None:
            watchers = self._waiting.get(identity_id, set())
            watchers.discard(callback)
            if not watchers:
                self._waiting.pop(identity_id, None)

        return stop


def _too_many_calls_error(caller: Caller, most: int) -> FleetmarkError:
    noun = "device" if caller.kind is IdentityKind.DEVICE else "operator"
    return FleetmarkError(
        ErrorKind.BACK_PRESSURE,
        f"{noun} {caller.name} has {most} open calls, the limit for one {noun}",
        next_step=f"End some of them or raise calls_per_{noun} in the controller's config.toml",
    )


def expired() -> FleetmarkError:
    """Return the error for a certificate that has expired."""
    return FleetmarkError(
        ErrorKind.UNAUTHENTICATED,
        "the certificate has expired",
        next_step="Devices renew it automatically; operators need a new credentials file",
    )


def _refusal_error(identity: Identity) -> FleetmarkError:
    if identity.state is IdentityState.PENDING:
        return FleetmarkError(
            ErrorKind.PENDING,
            f"device {identity.name} waits for approval",
            next_step=f"Run `controller fleet approve {identity.name}` on the controller",
        )
    return FleetmarkError(
        ErrorKind.REVOKED,
        f"the key of {identity.kind.value} {identity.name} was revoked",
        next_step="Ask an administrator of the controller",
    )
