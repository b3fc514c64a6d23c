"""Enrollment tokens, stored by digest: reading the store does not let anyone enroll a device."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

from fleetmark_controller.identity.model import TokenFacts
from fleetmark_core.clock import iso


@dataclass(frozen=True)
class Token:
    """A token as it is stored."""

    token_id: str
    facts: TokenFacts
    labels: dict[str, str]
    approve: bool
    created_at: str
    created_by: str


def add(
    connection: sqlite3.Connection,
    now_ns: int,
    *,
    token_id: str,
    secret_sha256: str,
    labels: dict[str, str],
    approve: bool,
    uses: int,
    expires_ns: int,
    created_by: str,
) -> None:
    """Store a new token."""
    connection.execute(
        "INSERT INTO token VALUES (?, ?, ?, ?, ?, 0, ?, ?, ?, NULL)",
        (
            token_id,
            secret_sha256,
            json.dumps(labels, sort_keys=True, ensure_ascii=False),
            int(approve),
            uses,
            iso(now_ns),
            created_by,
            expires_ns,
        ),
    )


def get(connection: sqlite3.Connection, token_id: str) -> Token | None:
    """Return one token; None if it does not exist."""
    row = connection.execute("SELECT * FROM token WHERE token_id = ?", (token_id,)).fetchone()
    return None if row is None else _token(row)


def list_all(connection: sqlite3.Connection) -> list[Token]:
    """Return all tokens, newest first."""
    rows = connection.execute("SELECT * FROM token ORDER BY created_at DESC, token_id")
    return [_token(row) for row in rows]


def use(connection: sqlite3.Connection, token_id: str) -> None:
    """Count one use, in the transaction that found the token usable."""
    connection.execute("UPDATE token SET used = used + 1 WHERE token_id = ?", (token_id,))


def revoke(connection: sqlite3.Connection, now_ns: int, token_id: str) -> None:
    """Revoke a token; the time of an earlier revocation is kept."""
    connection.execute(
        "UPDATE token SET revoked_at = coalesce(revoked_at, ?) WHERE token_id = ?",
        (iso(now_ns), token_id),
    )


def _token(row: sqlite3.Row) -> Token:
    facts = TokenFacts(
        row["secret_sha256"],
        row["uses"],
        row["used"],
        row["expires_ns"],
        row["revoked_at"] is not None,
    )
    return Token(
        row["token_id"],
        facts,
        json.loads(row["labels"]),
        bool(row["approve"]),
        row["created_at"],
        row["created_by"],
    )
