"""A network cable that tests can cut: a TCP forwarder on loopback."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
UP, DOWN = "up", "down"
"""From the agent to the controller, and back."""


class Wire:
    """Forwards `port` to `target`, until told otherwise. Each method returns when it holds."""

    def __init__(self, target: str, listener: socket.socket | None = None) -> None:
        """Listen on a port of loopback, or on a socket of another namespace."""
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._loop = asyncio.new_event_loop()
        self._lines: set[asyncio.StreamWriter] = set()
        self._rate = 0.0
        self._cuts, self._cut_bytes, self._since_cut = 0, 0, 0
        self._cut_way = DOWN
        self._up = True
        self.bytes = {UP: 0, DOWN: 0}
        self.cuts_made = 0
        self._free = {UP: asyncio.Event(), DOWN: asyncio.Event()}
        for way in self._free.values():
            way.set()
        self._socket = listener or socket.create_server(("127.0.0.1", 0), backlog=512)
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Reset every connection, and each new one."""
        self._do(self._cut)

    def hold(self, *ways: str) -> None:
        """Let nothing pass in these directions; it stays on its way, as in TCP's buffers."""
        self._do(lambda: [self._free[way].clear() for way in ways])

    def heal(self) -> None:
        """End `cut` and `hold`."""
        self._do(self._heal)

    def slow(self, bytes_per_s: float) -> None:
        """Limit each direction of each connection; 0: no limit."""
        self._do(lambda: setattr(self, "_rate", bytes_per_s))

    def cut_repeatedly(self, way: str, after_bytes: int, times: int) -> None:
        """Reset every connection each time that so many bytes have passed in this direction."""

        def plan() -> None:
            self._cut_way, self._cut_bytes, self._cuts, self._since_cut = way, after_bytes, times, 0

        self._do(plan)

    def close(self) -> None:
        """Close all connections and the port."""
        self._do(self._cut)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _do(self, change: Callable[[], object]) -> None:
        done = threading.Event()
        self._loop.call_soon_threadsafe(lambda: (change(), done.set()))
        assert done.wait(5), "the wire's thread hangs"

    def _cut(self) -> None:
        self._up = False
        self._reset()

    def _heal(self) -> None:
        self._up = True
        for way in self._free.values():
            way.set()

    def _reset(self) -> None:
        for line in list(self._lines):
            line.transport.abort()

    def _work(self) -> None:
        asyncio.set_event_loop(self._loop)
        serving = asyncio.start_server(self._serve, sock=self._socket)
        server = self._loop.run_until_complete(serving)
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._up:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        lines = {writer, far_writer}
        self._lines |= lines
        try:
            pumps = [
                asyncio.ensure_future(self._pump(UP, reader, far_writer)),
                asyncio.ensure_future(self._pump(DOWN, far_reader, writer)),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
        finally:
            self._lines -= lines
            for line in lines:
                line.transport.abort()

    async def _pump(
        self, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while data := await reader.read(16 * 1024):
                await self._free[way].wait()
                if self._rate:
                    await asyncio.sleep(len(data) / self._rate)
                writer.write(data)
                await writer.drain()
                self.bytes[way] += len(data)
                self._count(way, len(data))
        except OSError:
            return

    def _count(self, way: str, size: int) -> None:
        if not self._cuts or way != self._cut_way:
            return
        self._since_cut += size
        if self._since_cut >= self._cut_bytes:
            self._cuts -= 1
            self.cuts_made += 1
            self._since_cut = 0
            self._reset()
