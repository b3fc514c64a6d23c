"""RECORD, the list of a wheel's files (PEP 427), written by PyPA's `installer` library."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import cast

from installer.records import Hash, RecordEntry
from installer.utils import Scheme, construct_record_file


def record_file(files: Mapping[str, bytes], path: str) -> bytes:
    """Return RECORD for `files` (content by name); `path` is its own name in the wheel."""
    entries = [
        RecordEntry(name, Hash("sha256", _digest(data)), len(data)) for name, data in files.items()
    ]
    written, scheme = b"", cast(Scheme, "purelib")
    # RECORD itself comes last, without a digest.
    for group in (entries, [RecordEntry(path, None, None)]):
        with construct_record_file((scheme, entry) for entry in group) as stream:
            written += stream.read()
    return written


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
