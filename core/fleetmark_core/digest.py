"""Canonical bytes and SHA-256 digests, by which all transferred content is named.

`hashlib` loads OpenSSL, so it is imported by the first digest: an idle agent computes none.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from fleetmark_core.regular_file import open_regular

_HEX = re.compile(r"[0-9a-f]{64}")


def canonical_json(value: object) -> bytes:
    """Return the canonical bytes of a JSON value: sorted keys, no spaces, UTF-8, no NaN.

    Raises:
        ValueError: the value contains NaN or an infinity, which JSON does not have.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def sha256_hex(data: bytes) -> str:
    """Return the lower-case hexadecimal SHA-256 of `data`."""
    import hashlib

    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the lower-case hexadecimal SHA-256 of a regular file's bytes.

    Raises:
        OSError: the file cannot be read, or is not a regular file.
    """
    import hashlib

    digest = hashlib.sha256()
    with open_regular(path) as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def file_digests(path: Path) -> tuple[str, str, int]:
    """Return MD5, SHA-256 and size in bytes of a regular file, read once.

    An MD5 identifies a file that its publisher names by nothing else. It protects from nothing.

    Raises:
        OSError: the file cannot be read, or is not a regular file.
    """
    import hashlib

    md5, sha256, size_bytes = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
    with open_regular(path) as file:
        while chunk := file.read(1 << 20):
            md5.update(chunk)
            sha256.update(chunk)
            size_bytes += len(chunk)
    return md5.hexdigest(), sha256.hexdigest(), size_bytes


def is_sha256(text: str) -> bool:
    """Return whether `text` is a lower-case hexadecimal SHA-256. Nothing else may become a path."""
    return _HEX.fullmatch(text) is not None


def blob_path(folder: Path, sha256: str) -> Path:
    """Return the path of a blob below `folder`: `sha256/ab/<hex>`.

    Raises:
        ValueError: `sha256` is not a SHA-256 digest.
    """
    if not is_sha256(sha256):
        raise ValueError(f"{sha256[:80]!r} is not a SHA-256 digest")
    return folder / "sha256" / sha256[:2] / sha256
