"""Service Blobs: downloads and uploads of verified bytes."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Hashable, Mapping
from pathlib import Path

from fleetmark_controller.api import auth, error_handling, serde
from fleetmark_controller.engine.engine import Engine
from fleetmark_controller.identity.model import UploadLimit, UploadQuota
from fleetmark_controller.store.jobs import attempts, lockfiles
from fleetmark_controller.store.security import releases
from fleetmark_core.digest import is_sha256
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.log import get_logger
from fleetmark_core.regular_file import open_regular
from fleetmark_protos.channel import CHUNK_BYTES
from fleetmark_protos.v1 import blobs_pb2, blobs_pb2_grpc

log = get_logger("fleetmark.services")
_READ_BYTES = 16 * CHUNK_BYTES
_MOST_LOCKS = 256
_OWN_FILES = 2
"""stdout and stderr, besides the outputs that a lockfile declares."""
_FARTHEST = 1 << 62


class BlobsService(blobs_pb2_grpc.BlobsServicer):
    """Service for the controller's folder of blobs."""

    def __init__(self, engine: Engine) -> None:
        """Serve the folder of one engine."""
        self._engine = engine
        self._blobs = engine.blobs
        self._allowance = UploadQuota()
        self._named: dict[str, set[str]] = {}  # lockfile → its blobs
        self._files: dict[str, int] = {}  # lockfile → number of files that its job may leave

    @error_handling.streaming
    async def Download(
        self, request: blobs_pb2.DownloadRequest, context: error_handling.Context
    ) -> AsyncIterator[blobs_pb2.BlobChunk]:
        """Yield the bytes of a blob from an offset."""
        # An agent of the previous version does not name the attempt, and operators have none.
        key = None
        if auth.device_id():
            if request.HasField("attempt"):
                key = serde.key_from(request.attempt)
                auth.require_device(key.device_id)
            await self._need_order(auth.device_id(), request.sha256)
        if request.offset > _FARTHEST:
            raise FleetmarkError(ErrorKind.BAD_MESSAGE, "the offset is beyond the end of any file")
        if not self._blobs.has(request.sha256):
            if not self._blobs.root.is_dir():
                # The disk is missing, not the blob: the device may try again.
                raise self._unusable_error(
                    NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
                )
            raise FleetmarkError(ErrorKind.BLOB_MISSING, f"no blob {request.sha256[:64]}")
        path, offset = self._blobs.path(request.sha256), request.offset
        try:
            while block := await asyncio.to_thread(_read, path, offset):
                for start in range(0, len(block), CHUNK_BYTES):
                    chunk = block[start : start + CHUNK_BYTES]
                    offset += len(chunk)
                    yield blobs_pb2.BlobChunk(data=chunk)
        finally:
            # Bytes of an interrupted transfer are counted, too.
            if key is not None and offset > request.offset:
                self._engine.count_sent(key, offset - request.offset)

    @error_handling.unary
    async def Upload(
        self,
        request_iterator: AsyncIterator[blobs_pb2.UploadRequest],
        context: error_handling.Context,
    ) -> blobs_pb2.UploadReply:
        """Store a blob whose digest and size are announced first."""
        messages = request_iterator.__aiter__()
        try:
            header = (await messages.__anext__()).header
        except StopAsyncIteration:
            raise FleetmarkError(ErrorKind.BAD_MESSAGE, "the upload is empty") from None
        device_id, awaited = auth.device_id(), dict[Hashable, UploadLimit]()
        if device_id:
            auth.require_device(header.device_id)
            awaited = await self._pending_uploads(device_id)
        limit = self._engine.settings.max_upload_bytes
        if not is_sha256(header.sha256) or header.size_bytes > limit:
            raise FleetmarkError(
                ErrorKind.BAD_MESSAGE, f"an upload needs a digest and at most {limit} bytes"
            )
        if self._blobs.has(header.sha256):
            return blobs_pb2.UploadReply(existed=True)
        if device_id:
            self._consume_quota(device_id, awaited, header.size_bytes)
        came = False
        try:
            partial = self._blobs.partial(header.sha256)
            partial = partial.with_name(f"{partial.name}.{os.urandom(4).hex()}")
            try:
                await self._collect(messages, partial, header)
                await asyncio.to_thread(
                    self._blobs.commit, partial, header.sha256, header.size_bytes
                )
                came = True
            finally:
                partial.unlink(missing_ok=True)
        except OSError as error:
            raise self._unusable_error(error) from error
        finally:
            if device_id and not came:
                # The blob did not arrive completely: a bad link must not use up the limit.
                self._allowance.refund(device_id, header.size_bytes)
        return blobs_pb2.UploadReply(existed=False)

    def _consume_quota(
        self, device_id: str, awaited: Mapping[Hashable, UploadLimit], size: int
    ) -> None:
        """Count an upload against the limits of the awaited attempts and of the day.

        The digests that a device may upload are not known in advance, because its records name them
        later.
        """
        if not self._allowance.take(device_id, awaited, size):
            raise FleetmarkError(
                ErrorKind.FORBIDDEN,
                "the attempts of this device already have the maximum number of files",
            )
        if not self._engine.budget.spend(device_id, size, time.monotonic()):
            self._allowance.refund(device_id, size)
            raise quota_exceeded_error()

    async def _need_order(self, device_id: str, sha256: str) -> None:
        """Refuse a blob that no order of the device names, unless it is a release."""

        def read(connection: sqlite3.Connection) -> bool:
            if releases.is_release(connection, sha256):
                return True
            for _, lock in attempts.list_unevaluated_on(connection, device_id):
                if lock not in self._named:
                    self._named[lock] = {
                        lock,
                        *(b.sha256 for b in lockfiles.get(connection, lock).blobs()),
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

    async def _pending_uploads(self, device_id: str) -> dict[Hashable, UploadLimit]:
        """Return the attempts whose files may arrive, with the maximum files and bytes of each.

        Raises:
            FleetmarkError: FORBIDDEN: there is no such attempt.
        """

        def read(connection: sqlite3.Connection) -> dict[Hashable, UploadLimit]:
            found: dict[Hashable, UploadLimit] = {}
            for key, lock in attempts.list_unevaluated_on(connection, device_id):
                if lock not in self._files:
                    outputs = lockfiles.get(connection, lock).program.outputs
                    self._files[lock] = len(outputs) + _OWN_FILES
                found[key] = UploadLimit(self._files[lock], self._engine.settings.attempt_bytes)
            return found

        while len(self._files) > _MOST_LOCKS:
            self._files.pop(next(iter(self._files)), None)
        awaited = await self._engine.reader.run(read)
        if not awaited:
            raise FleetmarkError(
                ErrorKind.FORBIDDEN, "this device has no attempt that can upload files"
            )
        return awaited

    def _unusable_error(self, error: OSError) -> FleetmarkError:
        """Return the error for a file system failure; the device keeps its result and waits."""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return FleetmarkError(
                ErrorKind.DISK_FULL, "the controller's disk is full", str(self._blobs.root)
            )
        log.error("blob folder failed", path=self._blobs.root, error=error)
        return FleetmarkError(
            ErrorKind.STORE_UNUSABLE,
            f"the controller's blob folder cannot be used: {error.strerror or error}",
            str(self._blobs.root),
            "Repair the disk or the permissions of that folder",
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
                        ErrorKind.BAD_MESSAGE,
                        f"the upload is larger than the declared {header.size_bytes} bytes",
                    )
                file.write(message.data)


def quota_exceeded_error() -> FleetmarkError:
    """Return the error for a device that has uploaded more than its daily limit."""
    return FleetmarkError(
        ErrorKind.BACK_PRESSURE,
        "this device has reached its upload limit for today",
        next_step="Raise device_bytes_per_day in the controller's config.toml",
    )


def _read(path: Path, offset: int) -> bytes:
    with open_regular(path) as file:
        file.seek(offset)
        return file.read(_READ_BYTES)
