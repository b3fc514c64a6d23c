"""Records: what an attempt reports, in order, exactly once.

A record is (seq, kind, payload). `seq` counts from 1 per (job, epoch). The payload is canonical
JSON of at most 256 KiB. The last record is of kind `final` and seals the others: it holds their
count and the digest of their digests.

Payloads by kind:

- event: `{"at_unix_ns", "phase", "detail"}`
- telemetry: `{"columns": ["elapsed_ms", …], "rows": [[…], …]}`; a reading that is not there is null
- file: `{"name", "role", "sha256", "size_bytes"}`; the blob was uploaded before
- final: see `Final`
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from fleetmark_core.digest import canonical_json, sha256_hex
from fleetmark_core.serde import parse_document, to_plain

MAX_PAYLOAD_BYTES = 256 * 1024
KINDS = ("event", "telemetry", "file", "final")
AGENT_FILES = {"stdout": "stdout.txt", "stderr": "stderr.txt", "board_power": "power.jsonl"}
"""Role and name of the files that an agent adds to a program's declared outputs."""


@dataclass(frozen=True)
class Record:
    """One record, ready to be stored or sent."""

    seq: int
    kind: str
    payload: bytes

    @property
    def sha256(self) -> str:
        """Digest over seq, kind and payload."""
        return record_digest(self.seq, self.kind, self.payload)


@dataclass(frozen=True)
class Final:
    """Payload of the last record.

    `count` is this record's seq; `digest` is `seal` of the records before it. `outcome` is
    completed, failed, timeout or stopped. `provenance` is everything that a reader of the number
    must know.
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
        """The record's bytes."""
        return canonical_json(to_plain(self))


def parse_final(payload: bytes) -> Final:
    """Read a final record's payload.

    Raises:
        FleetmarkError: BAD_DOCUMENT.
    """
    return parse_document(Final, payload, "final record")


def record_digest(seq: int, kind: str, payload: bytes) -> str:
    """sha256 of `<seq> <kind> <payload>`."""
    return sha256_hex(b"%d %s " % (seq, kind.encode()) + payload)


def seal(digests: Iterable[str]) -> str:
    """Digest of records' digests, in order of seq."""
    import hashlib

    total = hashlib.sha256()
    for digest in digests:
        total.update(bytes.fromhex(digest))
    return total.hexdigest()
