"""Read-only connections, one a thread, for listings and exports."""

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
    """Runs queries on a consistent snapshot, beside the writer."""

    def __init__(self, path: Path, threads: int = 4) -> None:
        """The store at `path` must have been migrated."""
        self._path = path
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="store-reader")

    async def run(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """The query's result; all its statements see one state of the store."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._apply, query)

    def close(self) -> None:
        """Wait for running queries, then close."""
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
            # A statement that failed midway may keep its snapshot for as long as its cursor lives:
            # this thread would serve an old state of the store from then on.
            self._local.connection = None
            self._connections.remove(connection)
            connection.close()
            raise
        return result
