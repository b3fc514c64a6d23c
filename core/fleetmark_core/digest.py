"""Canonical bytes and sha256 digests: the names of everything that travels.

`hashlib` brings OpenSSL with it, so it is loaded by the first digest: an idle agent makes none.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from fleetmark_core.regular_file import open_regular

_HEX = re.compile(r"[0-9a-f]{64}")


def canonical_json(value: object) -> bytes:
    """The one byte string of a JSON value: sorted keys, no spaces, UTF-8, no NaN.

    Raises:
        ValueError: the value holds NaN or an infinity, which JSON does not have.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def sha256_hex(data: bytes) -> str:
    """Lower-case hexadecimal sha256."""
    import hashlib

    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the lower-case hexadecimal sha256 of a regular file's bytes.

    Raises:
        OSError: it cannot be read, or is not a regular file.
    """
    import hashlib

    digest = hashlib.sha256()
    with open_regular(path) as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def is_sha256(text: str) -> bool:
    """Whether `text` is a digest as we write them; anything else never becomes a path."""
    return _HEX.fullmatch(text) is not None


def blob_path(folder: Path, sha256: str) -> Path:
    """Where a blob lies below `folder`: `sha256/ab/<hex>`.

    Raises:
        ValueError: `sha256` is no digest.
    """
    if not is_sha256(sha256):
        raise ValueError(f"not a sha256 digest: {sha256[:80]!r}")
    return folder / "sha256" / sha256[:2] / sha256
