"""Files that people carry: bundles to boards on no network, and their results back.

Both are zip files whose entries are stored as they are, in sorted order and without times, so that
equal content has equal bytes. Nothing of such a file is believed: it may hold a few documents of
known names and blobs named by their sha256, and nothing else, each once and within its size.
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
"""The document that says what the file is."""
MAX_DOCUMENT_BYTES = 256 * 1024 * 1024
_MAX_ENTRIES = 100_000
_BLOBS = "blobs/"
_CHUNK = 1 << 20
_FORMAT = 1
_TIME = (1980, 1, 1, 0, 0, 0)
_DAMAGED = (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, struct.error)


def write_files(path: Path, texts: Mapping[str, bytes], places: Mapping[str, Path]) -> None:
    """Write a zip of `texts` and of the files at `places`, by the names that they have in it.

    Raises:
        OSError: it cannot be written, or a file not read.
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
    """What a blob is called in a carried file."""
    return f"{_BLOBS}{sha256}"


class Carried:
    """A file that came from somewhere, opened and looked through."""

    def __init__(self, archive: zipfile.ZipFile, path: Path, known: frozenset[str]) -> None:
        self._archive = archive
        self._path = path
        self.documents: dict[str, zipfile.ZipInfo] = {}
        self.blobs: dict[str, zipfile.ZipInfo] = {}
        entries = archive.infolist()
        if len(entries) > _MAX_ENTRIES:
            raise self.bad(f"it holds {len(entries)} entries")
        size = path.stat().st_size
        for entry in entries:
            self._sort_in(entry, known)
        if sum(entry.file_size for entry in entries) > size:
            raise self.bad("its entries are larger than the file")

    def _sort_in(self, entry: zipfile.ZipInfo, known: frozenset[str]) -> None:
        name = entry.filename
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise self.bad(f"{name[:80]!r} is compressed or encrypted")
        if kind not in (0, stat.S_IFREG) or entry.file_size != entry.compress_size:
            raise self.bad(f"{name[:80]!r} is no regular file")
        sha256 = name.removeprefix(_BLOBS)
        if name in known:
            found, key = self.documents, name
        elif name != sha256 and is_sha256(sha256):
            found, key = self.blobs, sha256
        else:
            raise self.bad(f"{name[:80]!r} does not belong into it")
        if key in found:
            raise self.bad(f"{name[:80]!r} is there twice")
        found[key] = entry

    def document(self, name: str, limit_bytes: int = MAX_DOCUMENT_BYTES) -> bytes:
        """The bytes of a document.

        Raises:
            FleetmarkError: BAD_DOCUMENT: it is not there, too large, or damaged.
        """
        entry = self.documents.get(name)
        if entry is None:
            raise self.bad(f"{name} is missing")
        return self._read(entry, limit_bytes)

    def table(self, name: str) -> dict[str, Any]:
        """The document as a table, of a format that this version reads.

        Raises:
            FleetmarkError: BAD_DOCUMENT.
        """
        try:
            values = parse_json(self.document(name))
        except ValueError as error:
            raise self.bad(f"{name} is no JSON") from error
        if not isinstance(values, dict) or values.get("format") != _FORMAT:
            raise self.bad(f"{name} is of no format that this version reads")
        return values

    def blob(self, sha256: str, limit_bytes: int) -> bytes:
        """The bytes of a small blob; their digest is not checked.

        Raises:
            FleetmarkError: BAD_DOCUMENT.
        """
        entry = self.blobs.get(sha256)
        if entry is None:
            raise self.bad(f"blob {sha256[:12]}… is missing")
        return self._read(entry, limit_bytes)

    def chunks(self, sha256: str, offset: int = 0) -> Iterator[bytes]:
        """The bytes of a blob from an offset, piece by piece; their digest is not checked.

        Raises:
            FleetmarkError: BAD_DOCUMENT.
        """
        entry = self.blobs.get(sha256)
        if entry is None:
            raise self.bad(f"blob {sha256[:12]}… is missing")
        try:
            with self._archive.open(entry) as source:
                source.seek(offset)
                while data := source.read(_CHUNK):
                    yield data
        except (zipfile.BadZipFile, EOFError, ValueError) as error:
            raise self.bad(f"{entry.filename} cannot be read: {error}") from error

    def store(self, sha256: str, size_bytes: int, blobs: BlobFolder) -> None:
        """Put a blob into a folder, if it is what its name says; else nothing is left of it.

        Raises:
            FleetmarkError: BAD_DOCUMENT, DIGEST_MISMATCH.
            OSError: it cannot be written.
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

    def bad(self, what: str) -> FleetmarkError:
        """An error about this file."""
        return FleetmarkError(
            ErrorKind.BAD_DOCUMENT, what, str(self._path), "Get the file once more"
        )

    def _read(self, entry: zipfile.ZipInfo, limit_bytes: int) -> bytes:
        if entry.file_size > limit_bytes:
            raise self.bad(f"{entry.filename} has {entry.file_size} bytes")
        try:
            return self._archive.read(entry)
        except (zipfile.BadZipFile, EOFError, ValueError) as error:
            raise self.bad(f"{entry.filename} cannot be read: {error}") from error


@contextmanager
def opened(path: Path, *known: str) -> Iterator[Carried]:
    """A carried file with documents of these names at most.

    Raises:
        FleetmarkError: BAD_DOCUMENT: it is none, or holds what does not belong into it.
        OSError: it cannot be read.
    """
    with ExitStack() as stack:
        try:
            archive = stack.enter_context(open_zip(path))
        except _DAMAGED as error:
            what = f"it is not a Fleetmark file, or cut short: {error}"
            raise FleetmarkError(
                ErrorKind.BAD_DOCUMENT, what, str(path), "Get the file once more"
            ) from error
        # A file that is cut within a wheel that it carries ends with that wheel's own directory.
        if min((entry.header_offset for entry in archive.infolist()), default=0):
            what = "it is cut short, or something stands before it"
            raise FleetmarkError(ErrorKind.BAD_DOCUMENT, what, str(path), "Get the file once more")
        yield Carried(archive, path, frozenset(known))


@dataclass(frozen=True)
class BoardSigned:
    """A document that a board wrote, with its signature; `csr` proves the board's key."""

    signed: bytes
    csr: bytes
    signature: str

    def canonical(self) -> bytes:
        """The bytes that are carried."""
        return canonical_json(
            {
                "format": _FORMAT,
                "signed": self.signed.decode(),
                "csr": self.csr.hex(),
                "signature": self.signature,
            }
        )


def parse_signed_by_board(data: bytes) -> BoardSigned:
    """A board's document in its envelope; no signature is checked.

    Raises:
        FleetmarkError: BAD_DOCUMENT.
    """
    try:
        values = parse_json(data)
        if values["format"] != _FORMAT:
            raise ValueError(f"format {values['format']!r}")
        return BoardSigned(
            values["signed"].encode(), bytes.fromhex(values["csr"]), str(values["signature"])
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"it is no document of a board: {error}"
        raise FleetmarkError(ErrorKind.BAD_DOCUMENT, what, "", "Get the file once more") from error


@dataclass(frozen=True)
class BoardDocument:
    """How a board on no network introduces itself."""

    format: int
    device_id: str
    name: str
    agent_version: str
    capabilities: Capabilities


def parse_board(data: bytes) -> BoardDocument:
    """A board's introduction.

    Raises:
        FleetmarkError: BAD_DOCUMENT.
    """
    return parse_document(BoardDocument, data, "board")


@dataclass(frozen=True)
class ResultsDocument:
    """What a board on no network has to say of one attempt."""

    device_id: str
    job_id: str
    epoch: int
    boot_id: str
    order_sha256: str
    records: tuple[Record, ...]
    blobs: tuple[tuple[str, int], ...]
    refusal: str = ""
    """Why the board did not follow the order; then there are no records."""

    def canonical(self) -> bytes:
        """The bytes that are signed."""
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
        raise ValueError(f"{name} is not a whole number from 0 to 2^63")
    return value


def parse_results(data: bytes) -> ResultsDocument:
    """A results document from its bytes; no signature is checked.

    Raises:
        FleetmarkError: BAD_DOCUMENT.
    """
    try:
        values = parse_json(data)
        if values["format"] != _FORMAT:
            raise ValueError(f"format {values['format']!r}")
        texts = [values[n] for n in ("device_id", "job_id", "boot_id", "order_sha256", "refusal")]
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("a name is no text")
        blobs = tuple((str(sha256), _whole(size, "size")) for sha256, size in values["blobs"])
        if not all(is_sha256(sha256) for sha256, _ in blobs):
            raise ValueError("bad digest of a blob")
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
            ErrorKind.BAD_DOCUMENT, f"it is no document of results: {error}", "results"
        ) from error
