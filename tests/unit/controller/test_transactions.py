"""Effects are applied after the commit; a dispatch is asked for whatever becomes of the others."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any

import pytest

from fleetmark_controller.api import auth, error_handling
from fleetmark_controller.engine.transactions import Transactions
from fleetmark_controller.operations.effects import Effects
from fleetmark_core.errors import ErrorKind, FleetmarkError


class InlineWriter:
    """Runs each transaction at once, without a store."""

    async def run(self, transaction: Any) -> Any:
        return transaction(None)


def made_of(*handlers: Any) -> tuple[Transactions, asyncio.Event, list[str]]:
    wanted, order = asyncio.Event(), []
    transactions = Transactions(InlineWriter(), wanted)  # type: ignore[arg-type]
    for handler in handlers:
        transactions.add_handler(
            transactions.request_scheduling if handler == "schedule" else handler(order)
        )
    return transactions, wanted, order


def noting(name: str) -> Any:
    def handler_of(order: list[str]) -> Any:
        async def handler(effects: Effects) -> None:
            order.append(name)

        return handler

    return handler_of


def failing(error: BaseException) -> Any:
    def handler_of(order: list[str]) -> Any:
        async def handler(effects: Effects) -> None:
            raise error

        return handler

    return handler_of


def asks_for_a_dispatch(_c: object, effects: Effects, _now: int) -> str:
    effects.schedule = True
    return "done"


async def test_effects_are_applied_in_the_order_of_their_handlers() -> None:
    transactions, wanted, order = made_of(noting("first"), "schedule", noting("second"))
    assert await transactions.run_operation(asks_for_a_dispatch) == "done"
    assert order == ["first", "second"] and wanted.is_set()


async def test_an_operation_that_makes_no_work_does_not_wake_the_scheduler() -> None:
    transactions, wanted, _ = made_of("schedule")
    await transactions.run_operation(lambda _c, _fx, _now: None)
    assert not wanted.is_set()


@pytest.mark.parametrize("error", [sqlite3.OperationalError("disk"), asyncio.CancelledError()])
async def test_a_dispatch_is_asked_for_though_publishing_fails(error: BaseException) -> None:
    """Else a job could wait beside an idle device until something unrelated happens."""
    transactions, wanted, _ = made_of("schedule", failing(error))
    with pytest.raises(type(error)):
        await transactions.run_operation(asks_for_a_dispatch)
    assert wanted.is_set()


def test_a_narrower_kind_is_answered_and_audited_as_the_one_that_it_narrows() -> None:
    meaning = error_handling._to_fleetmark_error(
        FleetmarkError(ErrorKind.BAD_DOCUMENT, "w", "x", "n")
    )
    assert meaning.kind is ErrorKind.BAD_MESSAGE and meaning.kind in auth.AUDITED
    assert (meaning.what, meaning.where, meaning.next_step) == ("w", "x", "n")
