"""Blobs: verified bytes down to boards and up from them."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path

from fleetmark_catalog.core.digest import is_sha256
from fleetmark_controller.engine import Engine
from fleetmark_controller.identity.rules import Budget
from fleetmark_controller.services import convert, edge, guard
from fleetmark_controller.store import attempts, jobs, releases
from fleetmark_protos.channel import CHUNK_BYTES
from fleetmark_protos.errors import ErrorKind, FleetmarkError
from fleetmark_protos.v1 import blobs_pb2, blobs_pb2_grpc

log = logging.getLogger("fleetmark.services")
_READ_BYTES = 16 * CHUNK_BYTES
_MOST_LOCKS = 256


class BlobsService(blobs_pb2_grpc.BlobsServicer):
    """Serves the controller's folder of blobs."""

    def __init__(self, engine: Engine) -> None:
        """Serves one engine's folder."""
        self._engine = engine
        self._blobs = engine.blobs
        self._budget = Budget(engine.settings.device_bytes_per_day)
        self._named: dict[str, set[str]] = {}  # blobs of locks

    @edge.streaming
    async def Download(
        self, request: blobs_pb2.DownloadRequest, context: edge.Context
    ) -> AsyncIterator[blobs_pb2.BlobChunk]:
        """Bytes of a blob from an offset."""
        if guard.device_id():
            await self._need_order(guard.device_id(), request.sha256)
        if not self._blobs.has(request.sha256):
            if not self._blobs.root.is_dir():
                # The disk is away, not the blob: the board may try again.
                raise self._unusable(NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)))
            raise FleetmarkError(ErrorKind.BLOB_MISSING, f"no blob {request.sha256[:64]}")
        # A board of the version before does not say for which attempt.
        key = convert.key_from(request.attempt) if request.HasField("attempt") else None
        path, offset = self._blobs.path(request.sha256), request.offset
        try:
            while block := await asyncio.to_thread(_read, path, offset):
                for start in range(0, len(block), CHUNK_BYTES):
                    chunk = block[start : start + CHUNK_BYTES]
                    offset += len(chunk)
                    yield blobs_pb2.BlobChunk(data=chunk)
        finally:
            # Of a transfer that is cut, too, what went out is counted.
            if key is not None and offset > request.offset:
                self._engine.count_sent(key, offset - request.offset)

    @edge.unary
    async def Upload(
        self,
        request_iterator: AsyncIterator[blobs_pb2.UploadRequest],
        context: edge.Context,
    ) -> blobs_pb2.UploadReply:
        """Take a blob whose digest and size are announced first."""
        messages = request_iterator.__aiter__()
        first = await messages.__anext__()
        header = first.header
        if guard.device_id():
            guard.be_device(header.device_id)
            await self._need_attempt(header.device_id)
        limit = self._engine.settings.max_upload_bytes
        if not is_sha256(header.sha256) or header.size_bytes > limit:
            raise FleetmarkError(
                ErrorKind.BAD_MESSAGE, f"an upload needs a digest and at most {limit} bytes"
            )
        if self._blobs.has(header.sha256):
            return blobs_pb2.UploadReply(existed=True)
        device_id = guard.device_id()
        if device_id and not self._budget.spend(device_id, header.size_bytes, time.monotonic()):
            raise FleetmarkError(
                ErrorKind.BACK_PRESSURE,
                "this device has uploaded too much today",
                next_step="Raise device_bytes_per_day in the controller's config.toml",
            )
        try:
            partial = self._blobs.partial(header.sha256)
            partial = partial.with_name(f"{partial.name}.{os.urandom(4).hex()}")
            try:
                await self._collect(messages, partial, header)
                await asyncio.to_thread(
                    self._blobs.commit, partial, header.sha256, header.size_bytes
                )
            finally:
                partial.unlink(missing_ok=True)
        except OSError as error:
            raise self._unusable(error) from error
        return blobs_pb2.UploadReply(existed=False)

    async def _need_order(self, device_id: str, sha256: str) -> None:
        """A board reads what its orders name, and nothing else that lies here."""

        def read(connection: sqlite3.Connection) -> bool:
            if releases.is_release(connection, sha256):
                return True
            for lock in attempts.unjudged(connection, device_id):
                if lock not in self._named:
                    self._named[lock] = {
                        lock,
                        *(b.sha256 for b in jobs.lock(connection, lock).blobs()),
                    }
                if sha256 in self._named[lock]:
                    return True
            return False

        while len(self._named) > _MOST_LOCKS:
            self._named.pop(next(iter(self._named)), None)
        if not await self._engine.reader.run(read):
            raise FleetmarkError(
                ErrorKind.FORBIDDEN, f"no order of this device names blob {sha256[:64]}"
            )

    async def _need_attempt(self, device_id: str) -> None:
        if not await self._engine.reader.run(lambda c: attempts.unjudged(c, device_id)):
            raise FleetmarkError(
                ErrorKind.FORBIDDEN, "this device has no attempt whose files are awaited"
            )

    def _unusable(self, error: OSError) -> FleetmarkError:
        """What an error of the file system means for a board: it keeps its result, and waits."""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return FleetmarkError(
                ErrorKind.DISK_FULL, "the controller's disk is full", str(self._blobs.root)
            )
        log.error("the blobs at %s cannot be used: %s", self._blobs.root, error)
        return FleetmarkError(
            ErrorKind.STORE_UNUSABLE,
            f"the controller's blobs cannot be used: {error.strerror or error}",
            str(self._blobs.root),
            "Mend the disk or the permissions of that folder",
        )

    async def _collect(
        self,
        messages: AsyncIterator[blobs_pb2.UploadRequest],
        partial: Path,
        header: blobs_pb2.UploadHeader,
    ) -> None:
        size = 0
        with partial.open("wb") as file:
            async for message in messages:
                size += len(message.data)
                if size > header.size_bytes:
                    raise FleetmarkError(
                        ErrorKind.BAD_MESSAGE, f"more than the announced {header.size_bytes} bytes"
                    )
                file.write(message.data)


def _read(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(_READ_BYTES)
