"""Bundle files and results files of commands: written and sent on behalf of the operator.

The controller makes all decisions.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fleetmark_controller.client.connection import Client
from fleetmark_controller.export.atomic import atomic
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.bundle_file import (
    BUNDLE,
    RESULTS,
    blob_name,
    open_bundle,
    parse_results,
    parse_signed_by_device,
    write_files,
)
from fleetmark_core.device_keys import pem_sha256
from fleetmark_core.digest import canonical_json
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_protos.channel import CHUNK_BYTES
from fleetmark_protos.v1 import blobs_pb2, jobs_pb2, results_pb2

_PATIENCE_S = 900.0


@dataclass(frozen=True)
class BundleSummary:
    """A written bundle file.

    `device` is its device; `pin` has the fingerprints that a new device must pin.
    """

    device: str
    pin: str


def write_bundle(client: Client, job: str, device: str, out: Path) -> tuple[BundleSummary, int]:
    """Export a job into the bundle file `out`; return what was written, and its size in bytes.

    Raises:
        FleetmarkError: an error of the controller or of the file.
    """
    request = jobs_pb2.ExportBundleRequest(job_id=job, device=device)
    bundle = client.call(client.jobs.ExportBundle, request, _PATIENCE_S)
    about = {
        "format": 1,
        "order": bundle.signed_order.decode(),
        "ca": bundle.ca.decode(),
        "catalog_sha256": bundle.catalog_sha256,
        "blobs": [[blob.sha256, blob.size_bytes] for blob in bundle.blobs],
    }
    with tempfile.TemporaryDirectory(prefix="fleetmark-bundle-", dir=out.absolute().parent) as room:
        folder = BlobFolder(Path(room))
        places = {}
        for blob in bundle.blobs:
            places[blob_name(blob.sha256)] = _fetched(client, folder, blob.sha256, blob.size_bytes)
        with atomic(out) as scratch:
            write_files(scratch, {BUNDLE: canonical_json(about)}, places)
            size_bytes = scratch.stat().st_size
    pin = f"{pem_sha256(bundle.ca)}.{bundle.catalog_sha256}"
    return BundleSummary(bundle.device, pin), size_bytes


def send_results(client: Client, path: Path) -> results_pb2.ImportReply:
    """Upload the content of a results file to the controller.

    Raises:
        FleetmarkError: the file is damaged, or an error of the controller.
    """
    try:
        with open_bundle(path, RESULTS) as carried, tempfile.TemporaryDirectory() as room:
            document = carried.document(RESULTS)
            # Every blob that the document names is sent; the controller verifies the signature.
            results = parse_results(parse_signed_by_device(document).signed)
            if set(carried.blobs) != {sha256 for sha256, _ in results.blobs}:
                raise carried.invalid_error("it does not contain the files that its records name")
            folder = BlobFolder(Path(room))
            for sha256, size_bytes in results.blobs:
                carried.store(sha256, size_bytes, folder)
                client.upload(folder.path(sha256))
                folder.remove(sha256)
    except OSError as error:
        raise FleetmarkError(
            ErrorKind.USAGE, error.strerror or str(error), str(error.filename or path)
        ) from error
    reply: results_pb2.ImportReply = client.call(
        client.results.Import, _parts(document), _PATIENCE_S
    )
    return reply


def _parts(document: bytes) -> Iterator[results_pb2.ImportRequest]:
    for start in range(0, len(document), CHUNK_BYTES):
        yield results_pb2.ImportRequest(data=document[start : start + CHUNK_BYTES])


def _fetched(client: Client, folder: BlobFolder, sha256: str, size_bytes: int) -> Path:
    if not folder.has(sha256):
        partial = folder.partial(sha256)
        request = blobs_pb2.DownloadRequest(sha256=sha256)
        with partial.open("wb") as file:
            for chunk in client.stream(client.blobs.Download, request):
                file.write(chunk.data)
        try:
            folder.commit(partial, sha256, size_bytes)
        except FleetmarkError as error:
            raise FleetmarkError(ErrorKind.DIGEST_MISMATCH, error.what, f"blob {sha256}") from error
    return folder.path(sha256)
