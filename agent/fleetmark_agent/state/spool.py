"""The spool: the agent's durable outbox of records that the controller has not acknowledged.

Each attempt has one append-only file of frames. A frame is the length and CRC-32 of a body, then
the body. A body is a record (`R`, seq, kind, payload) or an acknowledgement (`A`, through_seq). A
crash can leave a torn frame only at the end; it is truncated when the spool is opened. A record is
durable before `append` returns. An acknowledgement is not: if it is lost, records are sent again,
which is harmless because the controller stores each (job, epoch, seq) once.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from fleetmark_agent.state.attempt_key import LocalAttemptKey
from fleetmark_agent.state.files import Files
from fleetmark_agent.state.ledger import SPOOL_FOLDER
from fleetmark_core.log import get_logger
from fleetmark_core.records import KINDS, MAX_PAYLOAD_BYTES, Record
from fleetmark_core.shared_repr import SharedRepr

log = get_logger(__name__)

_FRAME = struct.Struct("<II")
_RECORD = struct.Struct("<cQB")
_ACKNOWLEDGED = struct.Struct("<cQ")
_MAX_BODY = MAX_PAYLOAD_BYTES + _RECORD.size
_SUFFIX = ".spool"


class SpoolFull(Exception):
    """Raised when the quota does not allow another attempt; both figures are in bytes."""

    def __init__(self, used_bytes: int, quota_bytes: int) -> None:
        super().__init__(
            f"{used_bytes} bytes of results wait for upload, the limit is {quota_bytes}"
        )
        self.used_bytes = used_bytes
        self.quota_bytes = quota_bytes


@dataclass(repr=False)
class _AttemptLog(SharedRepr):
    """State of one attempt's file; `places` holds (offset, length) of each record's frame."""

    size_bytes: int = 0
    acknowledged: int = 0
    places: list[tuple[int, int]] = field(default_factory=list)
    sealed: bool = False


class Spool:
    """The outbox of all attempts, in one folder of a `Files`."""

    def __init__(self, files: Files, quota_bytes: int, folder: str = SPOOL_FOLDER) -> None:
        """Read the existing files and truncate torn tails.

        Raises:
            OSError: the folder cannot be read, or a torn tail cannot be truncated.
        """
        self._files = files
        self._folder = folder
        self.quota_bytes = quota_bytes
        self._boxes: dict[LocalAttemptKey, _AttemptLog] = {}
        for name in files.list(folder):
            key = LocalAttemptKey.from_name(name.removesuffix(_SUFFIX))
            if name.endswith(_SUFFIX) and key is not None:
                self._boxes[key] = self._open(key)

    def attempts(self) -> list[LocalAttemptKey]:
        """Return the attempts that have a file, ordered by epoch."""
        return sorted(self._boxes, key=lambda key: key.epoch)

    def used_bytes(self) -> int:
        """Return the size of all files in bytes."""
        return sum(box.size_bytes for box in self._boxes.values())

    def admit(self, other_bytes: int = 0) -> None:
        """Check that the quota allows another attempt.

        The quota applies only when an attempt begins. The results of a started attempt are kept
        whatever their size, because data is never dropped.

        Args:
            other_bytes: bytes outside the spool that also wait for the controller.

        Raises:
            SpoolFull: the quota is used up.
        """
        used = self.used_bytes() + other_bytes
        if used >= self.quota_bytes:
            raise SpoolFull(used, self.quota_bytes)

    def append(self, attempt: LocalAttemptKey, kind: str, payload: bytes) -> Record:
        """Append one record; it is durable on return. See `extend`."""
        return self.extend(attempt, [(kind, payload)])[0]

    def extend(
        self, attempt: LocalAttemptKey, entries: Sequence[tuple[str, bytes]]
    ) -> list[Record]:
        """Append records with consecutive numbers and one sync; they are durable on return.

        Raises:
            SpoolFull: the attempt is new and the quota is used up.
            OSError: the write failed, for example on a full file system; none of `entries` is kept.
            ValueError: a payload is too large, its kind is unknown, or the final record was already
                appended.
        """
        box = self._boxes.get(attempt)
        if box is None:
            self.admit()
            box = _AttemptLog()
        records: list[Record] = []
        places: list[tuple[int, int]] = []
        data = bytearray()
        sealed = box.sealed
        for kind, payload in entries:
            if kind not in KINDS or len(payload) > MAX_PAYLOAD_BYTES or sealed:
                raise ValueError(
                    f"record of kind {kind!r} with {len(payload)} bytes cannot be appended"
                )
            record = Record(len(box.places) + len(records) + 1, kind, payload)
            frame = _frame(_RECORD.pack(b"R", record.seq, KINDS.index(kind)) + payload)
            places.append((box.size_bytes + len(data), len(frame)))
            data += frame
            records.append(record)
            sealed = kind == "final"
        try:
            self._files.append_sync(self._name(attempt), bytes(data))
        except OSError:
            self._repair(attempt, box.size_bytes)
            raise
        box.places += places
        box.size_bytes += len(data)
        box.sealed = sealed
        self._boxes[attempt] = box
        return records

    def last_seq(self, attempt: LocalAttemptKey) -> int:
        """Return the seq of the attempt's last record; 0 if it has no record."""
        box = self._boxes.get(attempt)
        return len(box.places) if box else 0

    def is_sealed(self, attempt: LocalAttemptKey) -> bool:
        """Return whether the attempt's final record is stored."""
        box = self._boxes.get(attempt)
        return box is not None and box.sealed

    def acknowledged(self, attempt: LocalAttemptKey) -> int:
        """Return the highest seq known to be acknowledged by the controller; 0 if none is."""
        box = self._boxes.get(attempt)
        return box.acknowledged if box else 0

    def read(self, attempt: LocalAttemptKey, after_seq: int, max_bytes: int) -> list[Record]:
        """Return records after `after_seq`, in order, up to `max_bytes` but at least one.

        Returns an empty list if `max_bytes` is 0 or no such record exists.

        Raises:
            OSError: the file cannot be read, or a record is damaged.
        """
        box = self._boxes.get(attempt)
        if box is None or max_bytes <= 0 or after_seq >= len(box.places):
            return []
        data = self._files.read(self._name(attempt)) or b""
        found: list[Record] = []
        total = 0
        for offset, length in box.places[after_seq:]:
            if found and total + length > max_bytes:
                break
            body = _body(data, offset)
            if body is None:
                raise OSError(f"{self._name(attempt)}: a record on the disk is damaged")
            found.append(_record(body))
            total += length
        return found

    def pending(self, attempt: LocalAttemptKey, max_bytes: int) -> list[Record]:
        """Return the records that are not acknowledged, in order; see `read`."""
        return self.read(attempt, self.acknowledged(attempt), max_bytes)

    def acknowledge(self, attempt: LocalAttemptKey, through_seq: int) -> None:
        """Record that the controller has all records up to `through_seq`. A crash may lose this."""
        box = self._boxes.get(attempt)
        if box is None or not box.acknowledged < through_seq <= len(box.places):
            return
        box.acknowledged = through_seq
        frame = _frame(_ACKNOWLEDGED.pack(b"A", through_seq))
        try:
            self._files.append_lazy(self._name(attempt), frame)
            box.size_bytes += len(frame)
        except OSError:
            # Ignored: a lost acknowledgement only means that the records are sent again.
            self._repair(attempt, box.size_bytes)

    def forget(self, attempt: LocalAttemptKey) -> None:
        """Delete the attempt's file. Call only when the controller has all records or wants none.

        Raises:
            OSError: the file cannot be removed.
        """
        self._files.remove(self._name(attempt))
        self._boxes.pop(attempt, None)

    def _name(self, attempt: LocalAttemptKey) -> str:
        return f"{self._folder}/{attempt.name}{_SUFFIX}"

    def _repair(self, attempt: LocalAttemptKey, size_bytes: int) -> None:
        # Bytes left by a failed append must not precede the next frame.
        if self._files.size(self._name(attempt)) > size_bytes:
            self._files.truncate(self._name(attempt), size_bytes)

    def _open(self, attempt: LocalAttemptKey) -> _AttemptLog:
        data = self._files.read(self._name(attempt)) or b""
        box = _AttemptLog()
        while (body := _body(data, box.size_bytes)) is not None:
            length = _FRAME.size + len(body)
            if body[:1] == b"R":
                record = _record(body)
                if record.seq != len(box.places) + 1:
                    break
                box.places.append((box.size_bytes, length))
                box.sealed = record.kind == "final"
            else:
                through = _ACKNOWLEDGED.unpack(body)[1]
                box.acknowledged = min(max(box.acknowledged, through), len(box.places))
            box.size_bytes += length
        if box.size_bytes < len(data):
            torn = len(data) - box.size_bytes
            log.warning(
                "spool truncated",
                job=attempt.job_id,
                epoch=attempt.epoch,
                path=self._name(attempt),
                removed_bytes=torn,
                reason="a crash interrupted the last write",
            )
            self._files.truncate(self._name(attempt), box.size_bytes)
        return box


def _frame(body: bytes) -> bytes:
    return _FRAME.pack(len(body), zlib.crc32(body)) + body


def _body(data: bytes, offset: int) -> bytes | None:
    """Return the body of the frame at `offset`; None if the frame is incomplete or damaged."""
    start = offset + _FRAME.size
    if start > len(data):
        return None
    length, checksum = _FRAME.unpack_from(data, offset)
    body = data[start : start + length]
    if length > _MAX_BODY or len(body) < length or zlib.crc32(body) != checksum:
        return None
    if body[:1] == b"R" and length >= _RECORD.size and body[_RECORD.size - 1] < len(KINDS):
        return body
    return body if body[:1] == b"A" and length == _ACKNOWLEDGED.size else None


def _record(body: bytes) -> Record:
    _, seq, kind = _RECORD.unpack_from(body)
    return Record(seq, KINDS[kind], body[_RECORD.size :])
