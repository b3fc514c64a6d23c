"""Read-only connections, one per thread, for listings and exports."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from fleetmark_controller.store.db.connection import connect

T = TypeVar("T")


class Reader:
    """Runner of read-only queries, each on a consistent snapshot, concurrently with the writer."""

    def __init__(self, path: Path, threads: int = 4) -> None:
        """Set up a pool of `threads` for the store at `path`, which must have been migrated."""
        self._path = path
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="store-reader")

    async def run(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Return the result of `query`; all its statements see the same state of the store."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._apply, query)

    def close(self) -> None:
        """Wait for running queries, then close all connections."""
        self._pool.shutdown()
        for connection in self._connections:
            connection.close()

    def _apply(self, query: Callable[[sqlite3.Connection], T]) -> T:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = connect(self._path, read_only=True)
            self._connections.append(connection)
        connection.execute("BEGIN")
        try:
            result = query(connection)
            connection.execute("ROLLBACK")
        except BaseException:
            # A statement that failed midway may hold its snapshot for as long as its cursor lives,
            # and this thread would then read an old state of the store. The connection is therefore
            # replaced.
            self._local.connection = None
            self._connections.remove(connection)
            connection.close()
            raise
        return result
