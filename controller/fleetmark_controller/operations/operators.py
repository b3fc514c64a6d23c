"""Operations on the credentials of operators."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

from fleetmark_controller.identity.model import Identity, IdentityKind, IdentityState, Role
from fleetmark_controller.operations.effects import Effects
from fleetmark_controller.store.security import audit, identities
from fleetmark_core.clock import iso
from fleetmark_core.errors import ErrorKind, FleetmarkError

LOCAL_NAME = "local"
"""Name of the administrator whose credentials are in the controller's own home."""
_LOCAL_ID = "local"
_MAX_NAME = 63


def create(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    who: str,
    *,
    operator_id: str,
    name: str,
    role: Role,
    key_sha256: str,
) -> Identity:
    """Register the key of an operator. A revoked operator of the same name is replaced.

    Raises:
        FleetmarkError: USAGE: an invalid name, a name that is taken, or a known key.
    """
    if not name or len(name) > _MAX_NAME or not name.isprintable() or name != name.strip():
        raise FleetmarkError(
            ErrorKind.USAGE,
            f"{name[:80]!r} is not a valid name: use 1 to {_MAX_NAME} printable characters",
        )
    known = identities.by_name(connection, IdentityKind.OPERATOR, name)
    if known is not None and known.state is not IdentityState.REVOKED:
        raise FleetmarkError(
            ErrorKind.USAGE,
            f"operator {name!r} already exists",
            next_step=f"Revoke it first: `controller operator revoke {name}`",
        )
    if known is not None:
        identities.set_state(connection, now_ns, known.identity_id, IdentityState.REMOVED)
    if identities.by_key(connection, key_sha256) is not None:
        raise FleetmarkError(ErrorKind.USAGE, "this key is already in use")
    identity = Identity(
        operator_id,
        IdentityKind.OPERATOR,
        name,
        role,
        key_sha256,
        IdentityState.ACTIVE,
        {},
        iso(now_ns),
    )
    identities.add(connection, now_ns, identity)
    audit.add(
        connection, now_ns, who, "operator.create", name, role=role.value, key_sha256=key_sha256
    )
    effects.identities.add(operator_id)
    return identity


def revoke(
    connection: sqlite3.Connection, effects: Effects, now_ns: int, who: str, name: str
) -> Identity:
    """Revoke the credentials of an operator.

    Raises:
        FleetmarkError: NOT_FOUND, or USAGE: the local administrator.
    """
    known = identities.by_name(connection, IdentityKind.OPERATOR, name)
    if known is None:
        raise FleetmarkError(
            ErrorKind.NOT_FOUND, f"no operator {name!r}", next_step="See `controller operator list`"
        )
    if known.identity_id == _LOCAL_ID:
        raise FleetmarkError(
            ErrorKind.USAGE,
            "the local administrator, who can read the controller's home, cannot be revoked",
            next_step="Change the permissions of that folder",
        )
    identities.set_state(connection, now_ns, known.identity_id, IdentityState.REVOKED)
    audit.add(connection, now_ns, who, "operator.revoke", name, key_sha256=known.key_sha256)
    effects.identities.add(known.identity_id)
    return replace(known, state=IdentityState.REVOKED)


def admit_local(
    connection: sqlite3.Connection, effects: Effects, now_ns: int, key_sha256: str
) -> str:
    """Register the key in the controller's home as the local administrator's; return its id."""
    known = identities.get(connection, _LOCAL_ID)
    if known is None:
        identity = Identity(
            _LOCAL_ID,
            IdentityKind.OPERATOR,
            LOCAL_NAME,
            Role.ADMIN,
            key_sha256,
            IdentityState.ACTIVE,
            {},
            iso(now_ns),
        )
        identities.add(connection, now_ns, identity)
    elif known.key_sha256 != key_sha256:
        identities.set_key(connection, _LOCAL_ID, key_sha256)
    else:
        return _LOCAL_ID
    audit.add(connection, now_ns, "controller", "operator.local", LOCAL_NAME, key_sha256=key_sha256)
    effects.identities.add(_LOCAL_ID)
    return _LOCAL_ID
