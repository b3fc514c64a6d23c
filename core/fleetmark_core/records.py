"""Records: what an attempt reports, in order, exactly once.

A record is (seq, kind, payload). `seq` counts from 1 per (job, epoch). The payload is canonical
JSON of at most 256 KiB. The last record has the kind `final` and seals the others: it contains
their count and the digest of their digests.

Payloads by kind:

- event: `{"at_unix_ns", "phase", "detail"}`
- telemetry: `{"columns": ["elapsed_ms", …], "rows": [[…], …]}`; a reading that is unavailable is
  null
- file: `{"name", "role", "sha256", "size_bytes"}`; the blob was uploaded before
- final: see `Final`
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from fleetmark_core.digest import canonical_json, sha256_hex
from fleetmark_core.serde import parse_document, to_plain
from fleetmark_core.shared_repr import SharedRepr

MAX_PAYLOAD_BYTES = 256 * 1024
KINDS = ("event", "telemetry", "file", "final")
AGENT_FILES = {"stdout": "stdout.txt", "stderr": "stderr.txt", "board_power": "power.jsonl"}
"""Role and name of the files that an agent adds to the outputs that a program declares."""


@dataclass(frozen=True, repr=False)
class Record(SharedRepr):
    """One record, ready to be stored or sent."""

    seq: int
    kind: str
    payload: bytes

    @property
    def sha256(self) -> str:
        """The digest of seq, kind and payload."""
        return record_digest(self.seq, self.kind, self.payload)


@dataclass(frozen=True, repr=False)
class Final(SharedRepr):
    """The payload of the last record.

    `count` is this record's seq. `digest` is the `seal` of the records before it. `outcome` is
    completed, failed, timeout or stopped. `provenance` is everything that a reader needs to
    interpret the result.
    """

    count: int
    digest: str
    outcome: str
    reason: str
    exit_code: int | None
    retryable: bool
    started_unix_ns: int
    duration_ns: int
    provenance: dict[str, Any] = field(default_factory=dict)

    def payload(self) -> bytes:
        """Return the payload as canonical bytes."""
        return canonical_json(to_plain(self))


def parse_final(payload: bytes) -> Final:
    """Parse the payload of a final record.

    Raises:
        FleetmarkError: BAD_DOCUMENT.
    """
    return parse_document(Final, payload, "final record")


def record_digest(seq: int, kind: str, payload: bytes) -> str:
    """Return the SHA-256 of `<seq> <kind> <payload>`."""
    return sha256_hex(b"%d %s " % (seq, kind.encode()) + payload)


def seal(digests: Iterable[str]) -> str:
    """Return the digest of the records' digests, in order of seq."""
    import hashlib

    total = hashlib.sha256()
    for digest in digests:
        total.update(bytes.fromhex(digest))
    return total.hexdigest()
