"""The only writer: one thread runs all transactions and commits them in groups.

A transaction is a function of the connection. Transactions that wait at the same time share one
COMMIT (synchronous=FULL). Each runs in its own savepoint, so that a failing one undoes only itself.
A caller gets its result after the COMMIT, never before.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from fleetmark_controller.store.db.connection import connect
from fleetmark_core.errors import ErrorKind, FleetmarkError

T = TypeVar("T")
Transaction = Callable[[sqlite3.Connection], T]

GROUP_S = 0.005
"""Maximum number of seconds for which a group accepts more transactions."""


class _PendingTransaction:
    __slots__ = ("error", "future", "loop", "result", "transaction")

    def __init__(self, transaction: Transaction[Any], loop: asyncio.AbstractEventLoop) -> None:
        self.transaction = transaction
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None

    def resolve(self) -> None:
        """Pass the transaction's result or error to the caller. Runs in the caller's event loop."""
        if self.future.cancelled():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Writer:
    """Runner of transactions in its own thread."""

    def __init__(self, path: Path, group_s: float = GROUP_S) -> None:
        """Open the store at `path`, which must have been migrated, and start the thread."""
        self._path = path
        self._connection = connect(path)
        self._group_s = group_s
        self.commits = 0
        """Number of groups committed so far."""
        self._queue: queue.SimpleQueue[_PendingTransaction | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="store-writer", daemon=True)
        self._thread.start()

    async def run(self, transaction: Transaction[T]) -> T:
        """Run a transaction and return its result once it is durable.

        Raises:
            FleetmarkError: STORE_UNUSABLE or DISK_FULL: nothing was stored.
            Exception: any exception that the transaction raised; nothing was stored.
        """
        entry = _PendingTransaction(transaction, asyncio.get_running_loop())
        self._queue.put(entry)
        result: T = await entry.future
        return result

    def close(self) -> None:
        """Run the queued transactions, then close the store."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        open_for_more = True
        while open_for_more:
            first = self._queue.get()
            if first is None:
                break
            group = [first]
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                self._apply(first)
                until = time.monotonic() + self._group_s
                while True:
                    try:
                        # Transactions that arrived while the first one ran share its commit. The
                        # writer never waits for further ones, because they may not come.
                        entry = self._queue.get_nowait()
                    except queue.Empty:
                        break
                    if entry is None:
                        open_for_more = False
                        break
                    group.append(entry)
                    self._apply(entry)
                    if time.monotonic() >= until:
                        break
                self._connection.execute("COMMIT")
                self.commits += 1
            except sqlite3.Error as error:
                self._roll_back()
                for entry in group:
                    entry.error = _translate(error, self._path)
            _resolve_group(group)
        self._fold()
        self._connection.close()

    def _fold(self) -> None:
        # After a clean shutdown the store is one file, which can be copied as it is.
        try:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error:
            return

    def _apply(self, entry: _PendingTransaction) -> None:
        self._connection.execute("SAVEPOINT one")
        try:
            entry.result = entry.transaction(self._connection)
        except BaseException as error:
            entry.error = _translate(error, self._path)
            if not self._connection.in_transaction:
                # SQLite rolled back the whole transaction (disk full, I/O error), so the group has
                # failed.
                raise sqlite3.OperationalError(str(error)) from error
            self._connection.execute("ROLLBACK TO one")
        self._connection.execute("RELEASE one")

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error:
                return


def _resolve_group(group: list[_PendingTransaction]) -> None:
    """Wake the waiting callers, each event loop once.

    Waking a loop costs more than most transactions.
    """
    for loop in {entry.loop for entry in group}:
        own = [entry for entry in group if entry.loop is loop]
        loop.call_soon_threadsafe(_run_alone, own)


def _run_alone(entries: list[_PendingTransaction]) -> None:
    for entry in entries:
        entry.resolve()


def _translate(error: BaseException, path: Path) -> BaseException:
    if not isinstance(error, sqlite3.OperationalError | sqlite3.DatabaseError):
        return error
    if isinstance(error, sqlite3.IntegrityError):
        return error
    text = str(error)
    if "full" in text:
        return FleetmarkError(
            ErrorKind.DISK_FULL,
            "the disk is full: the results store saved nothing",
            str(path.parent),
            "Free space on the controller's disk",
        )
    return FleetmarkError(ErrorKind.STORE_UNUSABLE, f"the results store failed: {text}", str(path))
