"""Identities of devices and operators: their keys, states and roles."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection

from fleetmark_controller.identity.model import Identity, IdentityKind, IdentityState, Role
from fleetmark_core.clock import iso


def add(
    connection: sqlite3.Connection,
    now_ns: int,
    identity: Identity,
    token_id: str | None = None,
) -> None:
    """Store a new identity.

    Raises:
        sqlite3.IntegrityError: its id, key or name is taken.
    """
    connection.execute(
        "INSERT INTO identity VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
        (
            identity.identity_id,
            identity.kind.value,
            identity.name,
            identity.role.value if identity.role else None,
            identity.key_sha256,
            identity.state.value,
            json.dumps(identity.labels, sort_keys=True, ensure_ascii=False),
            token_id,
            iso(now_ns),
            iso(now_ns) if identity.state is IdentityState.ACTIVE else None,
        ),
    )


def set_state(
    connection: sqlite3.Connection, now_ns: int, identity_id: str, state: IdentityState
) -> None:
    """Approve, revoke or remove an identity."""
    column = "approved_at" if state is IdentityState.ACTIVE else "ended_at"
    connection.execute(
        f"UPDATE identity SET state = ?, {column} = ? WHERE identity_id = ?",  # noqa: S608
        (state.value, iso(now_ns), identity_id),
    )


def set_key(connection: sqlite3.Connection, identity_id: str, key_sha256: str) -> None:
    """Replace the key of an identity; the old key is no longer accepted."""
    connection.execute(
        "UPDATE identity SET key_sha256 = ? WHERE identity_id = ?", (key_sha256, identity_id)
    )


def rename(connection: sqlite3.Connection, identity_id: str, name: str) -> None:
    """Rename an identity; the name must not be in use."""
    connection.execute("UPDATE identity SET name = ? WHERE identity_id = ?", (name, identity_id))


def get(connection: sqlite3.Connection, identity_id: str) -> Identity | None:
    """Return the identity with this id; None if there is none."""
    return _one(connection, "identity_id = ?", identity_id)


def by_key(connection: sqlite3.Connection, key_sha256: str) -> Identity | None:
    """Return the identity that has this key; None if there is none."""
    return _one(connection, "key_sha256 = ?", key_sha256)


def by_name(connection: sqlite3.Connection, kind: IdentityKind, name: str) -> Identity | None:
    """Return the identity of this kind that has the name now; None if there is none."""
    return _one(connection, "kind = ? AND name = ? AND state <> 'removed'", kind.value, name)


def list_all(connection: sqlite3.Connection, kind: IdentityKind | None = None) -> list[Identity]:
    """Return all identities of a kind, by name, including removed ones."""
    rows = connection.execute("SELECT * FROM identity ORDER BY name, created_at")
    found = [_identity(row) for row in rows]
    return [identity for identity in found if kind in (None, identity.kind)]


def list_by_ids(connection: sqlite3.Connection, wanted: Collection[str]) -> list[Identity]:
    """Return the identities with these ids; unknown ids are ignored."""
    found = (get(connection, identity_id) for identity_id in wanted)
    return [identity for identity in found if identity is not None]


def _one(connection: sqlite3.Connection, condition: str, *values: str) -> Identity | None:
    row = connection.execute(
        f"SELECT * FROM identity WHERE {condition}",  # noqa: S608
        values,
    ).fetchone()
    return None if row is None else _identity(row)


def _identity(row: sqlite3.Row) -> Identity:
    return Identity(
        row["identity_id"],
        IdentityKind(row["kind"]),
        row["name"],
        Role(row["role"]) if row["role"] else None,
        row["key_sha256"],
        IdentityState(row["state"]),
        json.loads(row["labels"]),
        row["created_at"],
    )
