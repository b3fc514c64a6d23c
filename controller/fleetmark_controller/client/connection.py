"""An operator's connection to a controller; errors of its calls are `FleetmarkError`s."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import grpc

from fleetmark_controller.client.credentials import find
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.network_address import split_address
from fleetmark_protos.channel import CHUNK_BYTES, MAX_ANSWER_BYTES, client_options
from fleetmark_protos.status import from_rpc_error
from fleetmark_protos.v1 import (
    admin_pb2_grpc,
    blobs_pb2,
    blobs_pb2_grpc,
    catalog_pb2_grpc,
    common_pb2,
    fleet_pb2_grpc,
    jobs_pb2_grpc,
    results_pb2,
    results_pb2_grpc,
)

T = TypeVar("T")
CALL_TIMEOUT_S = 30.0
UPLOAD_TIMEOUT_S = 3600.0
Value = int | float | str | bool | None


class Client:
    """Stubs of all services that operators use, on one channel."""

    def __init__(self, address: str | None = None, credentials: str | None = None) -> None:
        """Set up the channel; nothing is sent before the first call.

        `address` is HOST:PORT, and `credentials` the path of a credentials file. Missing ones are
        found by `fleetmark_controller.client.credentials.find`.

        Raises:
            FleetmarkError: USAGE, or an error of `find`.
        """
        if address is not None:
            try:
                split_address(address)
            except ValueError as error:
                raise FleetmarkError(ErrorKind.USAGE, str(error), "--controller") from error
        self.address, found = find(address, credentials)
        self._channel = grpc.secure_channel(
            self.address,
            grpc.ssl_channel_credentials(
                found.ca.encode(), found.key.encode(), found.certificate.encode()
            ),
            options=client_options(most_bytes=MAX_ANSWER_BYTES),
        )
        self.admin = admin_pb2_grpc.AdminStub(self._channel)
        self.blobs = blobs_pb2_grpc.BlobsStub(self._channel)
        self.catalog = catalog_pb2_grpc.CatalogStub(self._channel)
        self.fleet = fleet_pb2_grpc.FleetStub(self._channel)
        self.jobs = jobs_pb2_grpc.JobsStub(self._channel)
        self.results = results_pb2_grpc.ResultsStub(self._channel)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._channel.close()

    def call(self, method: Any, request: Any, timeout_s: float = CALL_TIMEOUT_S) -> Any:
        """Make a unary call and return the reply.

        Raises:
            FleetmarkError: the error that the controller reports, or UNREACHABLE.
        """
        try:
            return method(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise from_rpc_error(error, self.address) from error

    def stream(self, method: Any, request: Any) -> Iterator[Any]:
        """Yield the messages of a streaming call until it ends.

        Raises:
            FleetmarkError: the error that the controller reports, or UNREACHABLE.
        """
        try:
            yield from method(request)
        except grpc.RpcError as error:
            raise from_rpc_error(error, self.address) from error

    def rows(self, **wanted: Any) -> tuple[list[str], Iterator[tuple[Value, ...]]]:
        """Return columns and rows of a public view; arguments are fields of `ListRowsRequest`."""
        batches = self.stream(self.results.ListRows, results_pb2.ListRowsRequest(**wanted))
        first = next(batches)

        def rest() -> Iterator[tuple[Value, ...]]:
            for batch in batches:
                for row in batch.rows:
                    yield values(row)

        return list(first.columns), rest()

    def blob(self, sha256: str) -> bytes:
        """Return all bytes of a blob, after verifying its digest."""
        from fleetmark_core.digest import sha256_hex

        request = blobs_pb2.DownloadRequest(sha256=sha256)
        data = b"".join(chunk.data for chunk in self.stream(self.blobs.Download, request))
        if sha256_hex(data) != sha256:
            raise FleetmarkError(
                ErrorKind.DIGEST_MISMATCH, f"blob {sha256} was changed in transfer"
            )
        return data

    def upload(self, path: Path) -> tuple[str, int]:
        """Upload a file to the controller; return its SHA-256 and size in bytes.

        Raises:
            FleetmarkError: the error that the controller reports, or UNREACHABLE.
            OSError: the file cannot be read.
        """
        from fleetmark_core.digest import sha256_file
        from fleetmark_core.regular_file import open_regular

        sha256, size_bytes = sha256_file(path), path.stat().st_size

        def messages() -> Iterator[blobs_pb2.UploadRequest]:
            header = blobs_pb2.UploadHeader(sha256=sha256, size_bytes=size_bytes)
            yield blobs_pb2.UploadRequest(header=header)
            with open_regular(path) as file:
                while chunk := file.read(CHUNK_BYTES):
                    yield blobs_pb2.UploadRequest(data=chunk)

        # The limit is one hour, because a file of gigabytes over a slow link is legitimate.
        self.call(self.blobs.Upload, messages(), UPLOAD_TIMEOUT_S)
        return sha256, size_bytes


def values(row: common_pb2.Row) -> tuple[Value, ...]:
    """Return the values of a row's cells; a cell that is not set is None."""
    return tuple(_value(cell) for cell in row.cells)


def _value(cell: common_pb2.Cell) -> Value:
    which = cell.WhichOneof("value")
    return None if which is None else getattr(cell, which)
