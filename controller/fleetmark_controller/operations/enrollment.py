"""Enrollment, approval and removal of devices: enrollment tokens and device identities."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from dataclasses import dataclass, replace

from fleetmark_controller.identity.model import (
    MAX_TOKEN_LIFE_NS,
    MAX_TOKEN_USES,
    Identity,
    IdentityKind,
    IdentityState,
    token_refusal,
)
from fleetmark_controller.operations import campaigns, sessions
from fleetmark_controller.operations.effects import Effects
from fleetmark_controller.store import events
from fleetmark_controller.store.devices import devices
from fleetmark_controller.store.id_lookup import SHORTEST_DEVICE_PART, resolve_id
from fleetmark_controller.store.jobs import jobs
from fleetmark_controller.store.security import audit, identities, tokens
from fleetmark_controller.store.security.tokens import Token
from fleetmark_core.clock import iso
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_protos.token import EnrollmentToken

_FINGERPRINT = re.compile(r"[0-9a-f]{8,64}")


def create_token(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    who: str,
    token: EnrollmentToken,
    *,
    life_ns: int,
    uses: int,
    labels: dict[str, str],
    approve: bool,
) -> int:
    """Store the digest of a token; return when it expires (unix ns).

    Raises:
        FleetmarkError: USAGE: life or uses out of range.
    """
    del effects
    if not 0 < life_ns <= MAX_TOKEN_LIFE_NS:
        raise FleetmarkError(
            ErrorKind.USAGE,
            "an enrollment token must be valid for more than 0 s and at most 30 days",
        )
    if not 1 <= uses <= MAX_TOKEN_USES:
        raise FleetmarkError(
            ErrorKind.USAGE, f"an enrollment token must have 1 to {MAX_TOKEN_USES} uses"
        )
    expires_ns = now_ns + life_ns
    tokens.add(
        connection,
        now_ns,
        token_id=token.token_id,
        secret_sha256=_digest(token.secret),
        labels=labels,
        approve=approve,
        uses=uses,
        expires_ns=expires_ns,
        created_by=who,
    )
    audit.add(
        connection,
        now_ns,
        who,
        "token.create",
        token.token_id,
        uses=uses,
        approve=approve,
        labels=labels,
        expires_at=iso(expires_ns),
    )
    return expires_ns


def revoke_token(
    connection: sqlite3.Connection, effects: Effects, now_ns: int, who: str, part: str
) -> str:
    """End a token, named by any part of its id; returns the id.

    Raises:
        FleetmarkError: NOT_FOUND; USAGE if several ids have this part.
    """
    del effects
    token_id = resolve_id(connection, part, ("token",)).item_id
    tokens.revoke(connection, now_ns, token_id)
    audit.add(connection, now_ns, who, "token.revoke", token_id)
    return token_id


@dataclass(frozen=True)
class Applicant:
    """A device that requests enrollment. Its key is proven; the other fields are unverified."""

    key_sha256: str
    device_id: str
    name: str
    address: str


def enrol(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    applicant: Applicant,
    token: EnrollmentToken | None,
) -> Identity:
    """Enroll a device as pending or active. A device with a known key needs no token.

    Transactions are serialized: of two devices that present the last use of one token, only one
    succeeds.

    Raises:
        FleetmarkError: NOT_ENROLLED, BAD_TOKEN, REVOKED, or FORBIDDEN (another key has its id).
    """
    known = identities.by_key(connection, applicant.key_sha256)
    if known is not None:
        return _again(connection, effects, now_ns, known, token)
    if token is None:
        raise FleetmarkError(
            ErrorKind.NOT_ENROLLED,
            "this device's key is not registered with the controller",
            next_step="Start the agent with an enrollment token: `controller token create`",
        )
    stored = _usable(connection, now_ns, token)
    if identities.get(connection, applicant.device_id) is not None:
        raise FleetmarkError(
            ErrorKind.FORBIDDEN,
            "another key is registered with this device's id",
            next_step="Remove identity/ from the agent's home to enroll it as a new device",
        )
    name = devices.free_name(connection, applicant.device_id, applicant.name)
    # An operator must approve a device that was here before or requests the name of another device.
    known_device = (
        name != applicant.name or devices.get(connection, applicant.device_id) is not None
    )
    active = stored.approve and not known_device
    identity = Identity(
        applicant.device_id,
        IdentityKind.DEVICE,
        name,
        None,
        applicant.key_sha256,
        IdentityState.ACTIVE if active else IdentityState.PENDING,
        stored.labels,
        iso(now_ns),
    )
    tokens.use(connection, stored.token_id)
    identities.add(connection, now_ns, identity, stored.token_id)
    audit.add(
        connection,
        now_ns,
        f"token {stored.token_id}",
        "device.enrol" if active else "device.apply",
        name,
        device_id=identity.identity_id,
        key_sha256=identity.key_sha256,
        address=applicant.address,
    )
    effects.identities.add(identity.identity_id)
    return identity


def _again(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    known: Identity,
    token: EnrollmentToken | None,
) -> Identity:
    if known.kind is not IdentityKind.DEVICE:
        raise FleetmarkError(
            ErrorKind.FORBIDDEN, "this key belongs to an operator, not to a device"
        )
    if known.state in (IdentityState.REVOKED, IdentityState.REMOVED):
        raise revoked_error(known)
    if known.state is IdentityState.PENDING and token is not None:
        stored = _usable(connection, now_ns, token)
        if stored.approve and devices.get(connection, known.identity_id) is None:
            tokens.use(connection, stored.token_id)
            return _activate(connection, effects, now_ns, f"token {stored.token_id}", known)
    return known


def renew(connection: sqlite3.Connection, now_ns: int, key_sha256: str, address: str) -> Identity:
    """Return the active device with this key, and record its renewal.

    Raises:
        FleetmarkError: NOT_ENROLLED, PENDING or REVOKED.
    """
    known = identities.by_key(connection, key_sha256)
    if known is None or known.kind is not IdentityKind.DEVICE:
        raise FleetmarkError(
            ErrorKind.NOT_ENROLLED,
            "this device's key is not registered with the controller",
            next_step="Start the agent with an enrollment token: `controller token create`",
        )
    if known.state is IdentityState.PENDING:
        raise FleetmarkError(ErrorKind.PENDING, f"device {known.name} waits for approval")
    if known.state is not IdentityState.ACTIVE:
        raise revoked_error(known)
    audit.add(
        connection, now_ns, f"device {known.name}", "device.renew", known.name, address=address
    )
    return known


def _usable(connection: sqlite3.Connection, now_ns: int, token: EnrollmentToken) -> Token:
    stored = tokens.get(connection, token.token_id)
    why = token_refusal(stored.facts if stored else None, _digest(token.secret), now_ns)
    if why or stored is None:
        raise FleetmarkError(
            ErrorKind.BAD_TOKEN, why, next_step="Create a new one: `controller token create`"
        )
    return stored


def approve(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    who: str,
    name: str,
    fingerprint: str,
) -> Identity:
    """Activate a pending device; an active device stays active.

    Raises:
        FleetmarkError: NOT_FOUND; REVOKED; USAGE: `fingerprint` is not 8 to 64 hexadecimal digits;
            FORBIDDEN: the device has another fingerprint.
    """
    identity = _named(connection, name)
    beginning = _fingerprint_digits(fingerprint) if fingerprint else ""
    if identity.state is IdentityState.REVOKED:
        raise revoked_error(identity)
    if not identity.key_sha256.startswith(beginning):
        raise FleetmarkError(
            ErrorKind.FORBIDDEN,
            f"the key of {name} has fingerprint {identity.key_sha256}, not {fingerprint}",
            next_step="If the device shows a different fingerprint than this key has, revoke it",
        )
    if identity.state is IdentityState.ACTIVE:
        return identity
    return _activate(connection, effects, now_ns, who, identity)


def _fingerprint_digits(fingerprint: str) -> str:
    """Return the digits of a fingerprint, which may contain colons, spaces and capital letters."""
    digits = fingerprint.replace(":", "").replace(" ", "").lower()
    if not _FINGERPRINT.fullmatch(digits):
        raise FleetmarkError(
            ErrorKind.USAGE,
            f"{fingerprint[:80]!r} is not a valid fingerprint",
            "--fingerprint",
            "Give at least 8 hexadecimal digits of the fingerprint that the device shows",
        )
    return digits


def _activate(
    connection: sqlite3.Connection, effects: Effects, now_ns: int, who: str, identity: Identity
) -> Identity:
    identities.set_state(connection, now_ns, identity.identity_id, IdentityState.ACTIVE)
    audit.add(
        connection,
        now_ns,
        who,
        "device.approve",
        identity.name,
        device_id=identity.identity_id,
        key_sha256=identity.key_sha256,
    )
    effects.identities.add(identity.identity_id)
    return replace(identity, state=IdentityState.ACTIVE)


def end_device(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    who: str,
    name: str,
    *,
    remove: bool,
) -> tuple[Identity, int]:
    """Revoke a device's key, or also remove the device from listings. Its results stay.

    Returns:
        The identity with its new state, and the number of cancelled jobs: those that waited only
        for a removed device.

    Raises:
        FleetmarkError: NOT_FOUND.
    """
    identity = _named(connection, name, adopt_at_ns=now_ns)
    state = IdentityState.REMOVED if remove else IdentityState.REVOKED
    if identity.state is state:
        return identity, 0
    cancelled = 0
    identities.set_state(connection, now_ns, identity.identity_id, state)
    act = "device.remove" if remove else "device.revoke"
    audit.add(
        connection,
        now_ns,
        who,
        act,
        identity.name,
        device_id=identity.identity_id,
        key_sha256=identity.key_sha256,
    )
    if devices.get(connection, identity.identity_id) is not None:
        kind = "device.removed" if remove else "device.revoked"
        events.add(connection, now_ns, kind, device_id=identity.identity_id)
        # The device can no longer connect, so what it runs now is lost.
        why = "the device was removed" if remove else "the device's key was revoked"
        sessions.lease_expired(connection, effects, now_ns, identity.identity_id, why)
        if remove:
            waiting = jobs.waiting_only_for(connection, identity.identity_id)
            cancelled = campaigns.cancel(connection, effects, now_ns, waiting)
            devices.rename(connection, identity.identity_id, f"{identity.name} ({iso(now_ns)})")
    effects.identities.add(identity.identity_id)
    return replace(identity, state=state), cancelled


def _named(connection: sqlite3.Connection, name: str, adopt_at_ns: int | None = None) -> Identity:
    identity = identities.by_name(connection, IdentityKind.DEVICE, name)
    if identity is None and adopt_at_ns is not None:
        identity = _adopt(connection, adopt_at_ns, name)
    if identity is None and len(name) >= SHORTEST_DEVICE_PART:
        # A name was not found: it may be a part of an id. Never `last`: trust is not a guess.
        found = resolve_id(connection, name, ("identity",))
        identity = identities.get(connection, found.item_id)
    if identity is None:
        raise FleetmarkError(
            ErrorKind.NOT_FOUND, f"no device {name!r}", next_step="See `controller fleet list`"
        )
    return identity


def _adopt(connection: sqlite3.Connection, now_ns: int, name: str) -> Identity | None:
    """Create an identity without a key for a device from before devices had keys, to end it."""
    for device in devices.list_all(connection):
        if device.name == name and identities.get(connection, device.device_id) is None:
            keyless = f"none {device.device_id}"
            identity = Identity(
                device.device_id,
                IdentityKind.DEVICE,
                name,
                None,
                keyless,
                IdentityState.PENDING,
                {},
                iso(now_ns),
            )
            identities.add(connection, now_ns, identity)
            return identity
    return None


def revoked_error(identity: Identity) -> FleetmarkError:
    """Return the error for a revoked key."""
    return FleetmarkError(
        ErrorKind.REVOKED,
        f"the key of {identity.kind.value} {identity.name} was revoked",
        next_step="Ask an administrator of the controller",
    )


def _digest(secret: bytes) -> str:
    return hashlib.sha256(secret).hexdigest()
