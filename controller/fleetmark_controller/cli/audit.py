"""`controller audit`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from fleetmark_cli.output import echo
from fleetmark_controller.cli import options
from fleetmark_core.plural import counted

if TYPE_CHECKING:
    from fleetmark_controller.client.connection import Client
    from fleetmark_controller.identity.audit_chain import Row

_WIDE = 70


@click.group(name="audit")
def command() -> None:
    """Show and verify the audit log."""


@command.command(name="show")
@click.option(
    "--last", type=click.IntRange(1), default=50, show_default=True, help="Number of rows."
)
@click.option("--all", "everything", is_flag=True, help="Show all rows.")
@options.as_json
@options.controller
def show(last: int, everything: bool, as_json: bool, address: str | None) -> None:
    """Show the audit log, oldest rows first."""
    import json
    from dataclasses import asdict

    from fleetmark_cli import output, tables

    with options.connect(address) as client:
        rows, _ = _read(client)
    shown = rows if everything else rows[-last:]
    if as_json:
        output.print_json([{**asdict(row), "detail": json.loads(row.detail)} for row in shown])
        return
    tables.print_table(
        ("row", "at", "actor", "action", "subject", "outcome", "detail"),
        [
            (row.seq, row.at, row.actor, row.action, row.subject or None, row.outcome, _short(row))
            for row in shown
        ],
    )


@command.command(name="verify")
@click.option("--head", metavar="HASH", help="Require the chain to contain this earlier head.")
@options.as_json
@options.controller
def verify(head: str | None, as_json: bool, address: str | None) -> int:
    """Verify the hash chain, and report a row that was changed, added or deleted.

    An attacker with write access to the store can also create a new chain. Store the printed head
    in another place, and pass it to a later check with --head.
    """
    from fleetmark_cli import output
    from fleetmark_controller.identity.audit_chain import find_break

    with options.connect(address) as client:
        rows, (head_seq, head_hash) = _read(client)
    wrong = find_break(rows, head_seq, head_hash)
    if not wrong and head and head not in {row.hash for row in rows}:
        wrong = f"no row has the hash {head}"
    if as_json:
        output.print_json(
            {"sound": not wrong, "wrong": wrong, "rows": len(rows), "head": head_hash}
        )
    elif wrong:
        echo(f"The audit log is not valid: {wrong}.", err=True)
    else:
        echo(f"The audit log is valid: {counted(len(rows), 'row')}, head {head_hash}")
    return 1 if wrong else 0


def _read(client: Client) -> tuple[list[Row], tuple[int, str]]:
    from fleetmark_protos.v1 import admin_pb2

    found: list[Row] = []
    head = (0, "")
    for batch in client.stream(client.admin.ListAudit, admin_pb2.ListAuditRequest()):
        found.extend(_rows(batch))
        if batch.head_hash:
            head = (batch.head_seq, batch.head_hash)
    return found, head


def _rows(batch: object) -> Iterator[Row]:
    from fleetmark_controller.identity.audit_chain import Row

    for row in batch.rows:  # type: ignore[attr-defined]
        yield Row(
            row.seq,
            row.at,
            row.actor,
            row.action,
            row.subject,
            row.outcome,
            row.detail,
            row.hash,
        )


def _short(row: Row) -> str:
    import json

    detail = json.loads(row.detail)
    text = " ".join(f"{key}={value}" for key, value in detail.items() if value not in ("", None))
    return text if len(text) <= _WIDE else text[: _WIDE - 1] + "…"
