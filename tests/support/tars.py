"""Small archives for tests, good and bad."""

from __future__ import annotations

import gzip
import io
import tarfile

REG = tarfile.REGTYPE


def archive_of(*entries: tuple[str, bytes, bytes]) -> bytes:
    """Make an archive of (name, type, content); files are executable."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind, content in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.size, entry.linkname = kind, len(content), "/etc/passwd"
            entry.mode = 0o755
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


BAD: dict[str, tuple[bytes, int, str]] = {
    "leads out": (archive_of(("../a", REG, b"x")), 0, "leads out of the folder"),
    "absolute": (archive_of(("/etc/a", REG, b"x")), 0, "not a relative path"),
    "symbolic link": (archive_of(("a", tarfile.SYMTYPE, b"")), 0, "a symbolic link"),
    "hard link": (archive_of(("a", tarfile.LNKTYPE, b"")), 0, "a hard link"),
    "device node": (archive_of(("a", tarfile.BLKTYPE, b"")), 0, "a device node"),
    "twice": (archive_of(("a", REG, b"x"), ("a", REG, b"x")), 0, "occurs twice"),
    "case": (archive_of(("a", REG, b"x"), ("A", REG, b"x")), 0, "collides with 'a'"),
    "control": (archive_of(("a\x1b[2J", REG, b"x")), 0, "control characters"),
    "bomb": (gzip.compress(archive_of(("a", REG, bytes(3_000_000)))), 1_000_000, "larger than"),
    "entries": (
        gzip.compress(archive_of(*((f"f{n}", REG, b"") for n in range(10_001)))),
        100_000_000,
        "more than 10000 entries",
    ),
    "truncated": (archive_of(("a", REG, bytes(50_000)))[:20_000], 100_000, "truncated|unexpected"),
    "no archive": (b"hello" * 1000, 0, "cannot be read"),
}
"""Archives that must not be unpacked: bytes, the size limit, and the error."""
