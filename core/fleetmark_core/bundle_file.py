"""Bundle files: they carry work to devices without network, and carry their results back.

Both are zip files. Entries are stored uncompressed, in sorted order and without times, so that
equal content gives equal bytes. Such a file is untrusted input: it may contain only documents of
known names and blobs named by their SHA-256, each once and within its size limit.
"""

from __future__ import annotations

import os
import shutil
import stat
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.digest import canonical_json, is_sha256
from fleetmark_core.document_parser import parse_json
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.records import Record
from fleetmark_core.serde import parse_document
from fleetmark_core.zip_reader import open_zip

BUNDLE, RESULTS = "bundle.json", "results.json"
"""Name of the document that identifies the kind of file."""
MAX_DOCUMENT_BYTES = 256 * 1024 * 1024
_MAX_ENTRIES = 100_000
_BLOBS = "blobs/"
_CHUNK = 1 << 20
_FORMAT = 1
_TIME = (1980, 1, 1, 0, 0, 0)
_DAMAGED = (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, struct.error)


def write_files(path: Path, texts: Mapping[str, bytes], places: Mapping[str, Path]) -> None:
    """Write a zip file with the documents `texts` and the files `places`, both by entry name.

    Raises:
        OSError: the zip file cannot be written, or a file cannot be read.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted({*texts, *places}):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            if name in texts:
                archive.writestr(entry, texts[name])
                continue
            entry.file_size = places[name].stat().st_size
            with places[name].open("rb") as source, archive.open(entry, "w") as target:
                shutil.copyfileobj(source, target, _CHUNK)


def blob_name(sha256: str) -> str:
    """Return the entry name of a blob in a bundle file."""
    return f"{_BLOBS}{sha256}"


class BundleFile:
    """An opened bundle file or results file whose entry list was checked."""

    def __init__(self, archive: zipfile.ZipFile, path: Path, known: frozenset[str]) -> None:
        self._archive = archive
        self._path = path
        self.documents: dict[str, zipfile.ZipInfo] = {}
        self.blobs: dict[str, zipfile.ZipInfo] = {}
        entries = archive.infolist()
        if len(entries) > _MAX_ENTRIES:
            raise self.invalid_error(f"it has {len(entries)} entries, more than {_MAX_ENTRIES}")
        size = path.stat().st_size
        for entry in entries:
            self._sort_in(entry, known)
        if sum(entry.file_size for entry in entries) > size:
            raise self.invalid_error("its entries are larger than the file itself")

    def _sort_in(self, entry: zipfile.ZipInfo, known: frozenset[str]) -> None:
        name = entry.filename
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise self.invalid_error(f"{name[:80]!r} is compressed or encrypted")
        if kind not in (0, stat.S_IFREG) or entry.file_size != entry.compress_size:
            raise self.invalid_error(f"{name[:80]!r} is not a regular file")
        sha256 = name.removeprefix(_BLOBS)
        if name in known:
            found, key = self.documents, name
        elif name != sha256 and is_sha256(sha256):
            found, key = self.blobs, sha256
        else:
            raise self.invalid_error(f"{name[:80]!r} is not an entry of a Fleetmark file")
        if key in found:
            raise self.invalid_error(f"{name[:80]!r} occurs twice")
        found[key] = entry

    def document(self, name: str, limit_bytes: int = MAX_DOCUMENT_BYTES) -> bytes:
        """Return the bytes of a document.

        Raises:
            FleetmarkError: BAD_DOCUMENT: it is missing, too large or damaged.
        """
        entry = self.documents.get(name)
        if entry is None:
            raise self.invalid_error(f"{name} is missing")
        return self._read(entry, limit_bytes)

    def table(self, name: str) -> dict[str, Any]:
        """Return a JSON document as a dict, if its format is one that this version reads.

        Raises:
            FleetmarkError: BAD_DOCUMENT.
        """
        try:
            values = parse_json(self.document(name))
        except ValueError as error:
            raise self.invalid_error(f"{name} is not JSON") from error
        if not isinstance(values, dict) or values.get("format") != _FORMAT:
            raise self.invalid_error(
                f"the format of {name} is not supported: this version reads {_FORMAT}"
            )
        return values

    def blob(self, sha256: str, limit_bytes: int) -> bytes:
        """Return the bytes of a small blob without checking their digest.

        Raises:
            FleetmarkError: BAD_DOCUMENT.
        """
        entry = self.blobs.get(sha256)
        if entry is None:
            raise self.invalid_error(f"blob {sha256[:12]}… is missing")
        return self._read(entry, limit_bytes)

    def chunks(self, sha256: str, offset: int = 0) -> Iterator[bytes]:
        """Yield the bytes of a blob in chunks, from an offset, without checking their digest.

        Raises:
            FleetmarkError: BAD_DOCUMENT.
        """
        entry = self.blobs.get(sha256)
        if entry is None:
            raise self.invalid_error(f"blob {sha256[:12]}… is missing")
        try:
            with self._archive.open(entry) as source:
                source.seek(offset)
                while data := source.read(_CHUNK):
                    yield data
        except (zipfile.BadZipFile, EOFError, ValueError) as error:
            raise self.invalid_error(f"{entry.filename} cannot be read: {error}") from error

    def store(self, sha256: str, size_bytes: int, blobs: BlobFolder) -> None:
        """Copy a blob into a blob folder if its bytes match its digest; otherwise leave nothing.

        Raises:
            FleetmarkError: BAD_DOCUMENT, DIGEST_MISMATCH.
            OSError: the blob cannot be written.
        """
        if blobs.has(sha256):
            return
        partial = blobs.partial(sha256)
        partial = partial.with_name(f"{sha256}.{os.getpid()}.{os.urandom(4).hex()}")
        try:
            with partial.open("wb") as target:
                for data in self.chunks(sha256):
                    target.write(data)
            blobs.commit(partial, sha256, size_bytes)
        finally:
            partial.unlink(missing_ok=True)

    def invalid_error(self, what: str) -> FleetmarkError:
        """Return a BAD_DOCUMENT error about this file."""
        return FleetmarkError(
            ErrorKind.BAD_DOCUMENT, what, str(self._path), "Copy or download the file again"
        )

    def _read(self, entry: zipfile.ZipInfo, limit_bytes: int) -> bytes:
        if entry.file_size > limit_bytes:
            raise self.invalid_error(
                f"{entry.filename} has {entry.file_size} bytes, more than {limit_bytes}"
            )
        try:
            return self._archive.read(entry)
        except (zipfile.BadZipFile, EOFError, ValueError) as error:
            raise self.invalid_error(f"{entry.filename} cannot be read: {error}") from error


@contextmanager
def open_bundle(path: Path, *known: str) -> Iterator[BundleFile]:
    """Open a bundle file or results file that may contain only the documents `known`, and blobs.

    Raises:
        FleetmarkError: BAD_DOCUMENT: it is not such a file, or contains an entry that is not
            allowed.
        OSError: it cannot be read.
    """
    with ExitStack() as stack:
        try:
            archive = stack.enter_context(open_zip(path))
        except _DAMAGED as error:
            what = f"it is not a Fleetmark file, or it is truncated: {error}"
            raise FleetmarkError(
                ErrorKind.BAD_DOCUMENT, what, str(path), "Copy or download the file again"
            ) from error
        # A file that was truncated inside an embedded wheel ends with that wheel's own zip
        # directory, whose offsets do not begin at 0.
        if min((entry.header_offset for entry in archive.infolist()), default=0):
            what = "it is truncated, or other data precedes it"
            raise FleetmarkError(
                ErrorKind.BAD_DOCUMENT, what, str(path), "Copy or download the file again"
            )
        yield BundleFile(archive, path, frozenset(known))


@dataclass(frozen=True)
class DeviceSignedDocument:
    """A document that a device wrote, with its signature; `csr` proves possession of the key."""

    signed: bytes
    csr: bytes
    signature: str

    def canonical(self) -> bytes:
        """Return the canonical bytes of the envelope."""
        return canonical_json(
            {
                "format": _FORMAT,
                "signed": self.signed.decode(),
                "csr": self.csr.hex(),
                "signature": self.signature,
            }
        )


def parse_signed_by_device(data: bytes) -> DeviceSignedDocument:
    """Parse the envelope of a document from a device without checking its signature.

    Raises:
        FleetmarkError: BAD_DOCUMENT.
    """
    try:
        values = parse_json(data)
        if values["format"] != _FORMAT:
            raise ValueError(
                f"format {str(values['format'])[:40]!r} is not supported: "
                f"this version reads {_FORMAT}"
            )
        return DeviceSignedDocument(
            values["signed"].encode(), bytes.fromhex(values["csr"]), str(values["signature"])
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"it is not a valid document of a device: {error}"
        raise FleetmarkError(
            ErrorKind.BAD_DOCUMENT, what, "", "Copy or download the file again"
        ) from error


@dataclass(frozen=True)
class DeviceIdentityDocument:
    """The identity and capabilities that a device without network exports for enrollment."""

    format: int
    device_id: str
    name: str
    agent_version: str
    capabilities: Capabilities


def parse_device_identity(data: bytes) -> DeviceIdentityDocument:
    """Parse the identity document of a device.

    Raises:
        FleetmarkError: BAD_DOCUMENT.
    """
    return parse_document(DeviceIdentityDocument, data, "device")


@dataclass(frozen=True)
class ResultsDocument:
    """The records of one attempt on a device without network, or the reason why it was refused."""

    device_id: str
    job_id: str
    epoch: int
    boot_id: str
    order_sha256: str
    records: tuple[Record, ...]
    blobs: tuple[tuple[str, int], ...]
    refusal: str = ""
    """Reason why the device refused the order; then there are no records."""

    def canonical(self) -> bytes:
        """Return the canonical bytes, which the device signs."""
        return canonical_json(
            {
                "format": _FORMAT,
                "device_id": self.device_id,
                "job_id": self.job_id,
                "epoch": self.epoch,
                "boot_id": self.boot_id,
                "order_sha256": self.order_sha256,
                "records": [[r.seq, r.kind, r.payload.decode()] for r in self.records],
                "blobs": [list(blob) for blob in self.blobs],
                "refusal": self.refusal,
            }
        )


def _whole(value: object, name: str) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError(f"{name} is not an integer from 0 to 2^63 - 1")
    return value


def parse_results(data: bytes) -> ResultsDocument:
    """Parse a results document without checking its signature.

    Raises:
        FleetmarkError: BAD_DOCUMENT.
    """
    try:
        values = parse_json(data)
        if values["format"] != _FORMAT:
            raise ValueError(
                f"format {str(values['format'])[:40]!r} is not supported: "
                f"this version reads {_FORMAT}"
            )
        texts = [values[n] for n in ("device_id", "job_id", "boot_id", "order_sha256", "refusal")]
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("an id or reason is not a text")
        blobs = tuple((str(sha256), _whole(size, "size")) for sha256, size in values["blobs"])
        if not all(is_sha256(sha256) for sha256, _ in blobs):
            raise ValueError("the digest of a blob is not a SHA-256 digest")
        return ResultsDocument(
            texts[0],
            texts[1],
            _whole(values["epoch"], "epoch"),
            texts[2],
            texts[3],
            tuple(Record(_whole(s, "seq"), str(k), p.encode()) for s, k, p in values["records"]),
            blobs,
            texts[4],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FleetmarkError(
            ErrorKind.BAD_DOCUMENT, f"it is not a valid results document: {error}", "results"
        ) from error
