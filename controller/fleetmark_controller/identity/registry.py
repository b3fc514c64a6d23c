"""Who counts just now, in memory: looked up at every call, changed after every commit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from fleetmark_controller.identity.model import Caller, Identity, Kind, State
from fleetmark_core.errors import ErrorKind, FleetmarkError


class OpenCall(Protocol):
    """A call that is going on."""

    expires_ns: int
    """When the certificate that it was begun with ends."""

    def end(self, error: FleetmarkError) -> None:
        """Tell the caller why, and stop."""


class Registry:
    """Identities by id, and the calls that each has open."""

    def __init__(self) -> None:
        """Nobody counts yet."""
        self._identities: dict[str, Identity] = {}
        self._calls: dict[str, set[OpenCall]] = {}
        self._waiting: dict[str, set[Callable[[], None]]] = {}

    def update(self, identities: Iterable[Identity]) -> None:
        """Take over what was stored; calls of whoever counts no more end at once."""
        for identity in identities:
            self._identities[identity.identity_id] = identity
            if identity.state is not State.ACTIVE:
                for call in list(self._calls.get(identity.identity_id, ())):
                    call.end(_refusal(identity))
            for told in list(self._waiting.get(identity.identity_id, ())):
                told()

    def get(self, identity_id: str) -> Identity | None:
        """What is known of an identity."""
        return self._identities.get(identity_id)

    def admit(self, kind: Kind, identity_id: str, key_sha256: str) -> Caller:
        """The caller whom a verified certificate names.

        Raises:
            FleetmarkError: UNAUTHENTICATED, PENDING or REVOKED.
        """
        identity = self._identities.get(identity_id)
        if identity is None or identity.kind is not kind or identity.key_sha256 != key_sha256:
            raise FleetmarkError(
                ErrorKind.UNAUTHENTICATED,
                "this certificate is of no one whom the controller knows now",
                next_step="Enrol the board, or make the credentials file, anew",
            )
        if identity.state is not State.ACTIVE:
            raise _refusal(identity)
        return Caller(identity.kind, identity_id, identity.name, identity.role)

    def opened(self, identity_id: str, call: OpenCall) -> None:
        """A call began."""
        self._calls.setdefault(identity_id, set()).add(call)

    def closed(self, identity_id: str, call: OpenCall) -> None:
        """A call ended."""
        calls = self._calls.get(identity_id)
        if calls is not None:
            calls.discard(call)
            if not calls:
                del self._calls[identity_id]

    def end_expired(self, now_ns: int) -> None:
        """End calls whose certificates have run out meanwhile."""
        for calls in list(self._calls.values()):
            for call in list(calls):
                if now_ns >= call.expires_ns:
                    call.end(expired())

    def watch(self, identity_id: str, told: Callable[[], None]) -> Callable[[], None]:
        """Call `told` whenever the identity changes; returns what ends this."""
        self._waiting.setdefault(identity_id, set()).add(told)

        def stop() -> None:
            watchers = self._waiting.get(identity_id, set())
            watchers.discard(told)
            if not watchers:
                self._waiting.pop(identity_id, None)

        return stop


def expired() -> FleetmarkError:
    """What the bearer of a certificate that has run out is told."""
    return FleetmarkError(
        ErrorKind.UNAUTHENTICATED,
        "the certificate has run out",
        next_step="A board renews it by itself; make a person's credentials file anew",
    )


def _refusal(identity: Identity) -> FleetmarkError:
    if identity.state is State.PENDING:
        return FleetmarkError(
            ErrorKind.PENDING,
            f"device {identity.name} waits for approval",
            next_step=f"On the controller: `controller fleet approve {identity.name}`",
        )
    return FleetmarkError(
        ErrorKind.REVOKED,
        f"the key of {identity.kind.value} {identity.name} was revoked",
        next_step="Ask an administrator of the controller",
    )
