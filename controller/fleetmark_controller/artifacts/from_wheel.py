"""Files inside wheels: models and pictures that are published in registry packages."""

from __future__ import annotations

import lzma
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from fleetmark_core.digest import sha256_file
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.zip_reader import open_zip

TIME_LIMIT_S = 600
_CHUNK = 1 << 18
_MAX_MEMBERS = 100_000
DAMAGED: tuple[type[Exception], ...] = (
    zipfile.BadZipFile,
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    NotImplementedError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
)
"""Errors from reading a zip file that is damaged, encrypted or packed in an unsupported way."""


def fetch_member(
    wheel: str, wheel_sha256: str, member: str, folder: Path, limit_bytes: int
) -> Path:
    """Extract the file `member` of the exact wheel `wheel` into `folder`, and return its path.

    Raises:
        FleetmarkError: ARTIFACT_UNAVAILABLE: no such wheel, another digest, no such member, or too
            large.
    """
    archive = download_wheel(wheel, wheel_sha256, folder)
    target = folder / "member"
    with _opened(archive) as files, target.open("wb") as file:
        for chunk in _content(files, member, limit_bytes):
            file.write(chunk)
    return target


def read_members(archive: Path, members: list[str], limit_bytes: int) -> list[bytes]:
    """Return the content of each of `members`, together at most `limit_bytes`.

    Raises:
        FleetmarkError: ARTIFACT_UNAVAILABLE.
    """
    found = []
    with _opened(archive) as files:
        for member in members:
            found.append(b"".join(_content(files, member, limit_bytes)))
            limit_bytes -= len(found[-1])
    return found


def download_wheel(wheel: str, wheel_sha256: str, folder: Path) -> Path:
    """Download the exact wheel with pip, from the index that this machine is configured for.

    Raises:
        FleetmarkError: ARTIFACT_UNAVAILABLE, with pip's errors.
    """
    try:
        name, version, _, tags = parse_wheel_filename(wheel)
    except InvalidWheelFilename as error:
        raise _unavailable_error(f"{wheel} is not a valid wheel file name") from error
    listing = folder / "wanted.txt"
    listing.write_text(f"{name}=={version} --hash=sha256:{wheel_sha256}\n")
    interpreters = sorted({tag.interpreter for tag in tags})
    abis = sorted({tag.abi for tag in tags})
    platforms = sorted({tag.platform for tag in tags})
    # Only tags such as cp311 name a Python version for pip; py3 does not.
    exact = [text[2:] for text in interpreters if text.startswith("cp")]
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"),
        *("--only-binary=:all:", "--require-hashes", "--disable-pip-version-check"),
        *(f"--platform={platform}" for platform in platforms),
        *(f"--abi={abi}" for abi in abis),
        *(f"--python-version={version[0]}.{version[1:]}" for version in exact[:1]),
        *(f"--implementation={'cp' if exact else 'py'}",),
        *("--dest", str(folder), "--requirement", str(listing)),
    ]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_S,
            check=False,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
    except subprocess.TimeoutExpired as error:
        raise _unavailable_error(
            f"pip exceeded its time limit of {TIME_LIMIT_S} s while fetching {wheel}"
        ) from error
    archive = folder / wheel
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        output = " ".join(errors[-2:]) or done.stderr.strip()[-300:]
        raise _unavailable_error(f"pip could not fetch {wheel}: {output}")
    if not archive.is_file() or sha256_file(archive) != wheel_sha256:
        raise _unavailable_error(f"the file that pip fetched does not match {wheel}")
    return archive


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    with ExitStack() as stack:
        try:
            files = stack.enter_context(open_zip(archive))
        except DAMAGED as error:
            raise _unavailable_error(f"{archive.name} is not a valid wheel: {error}") from error
        if len(files.filelist) > _MAX_MEMBERS:
            raise _unavailable_error(
                f"{archive.name} holds {len(files.filelist)} files, too many for a wheel"
            )
        yield files


def _content(files: zipfile.ZipFile, member: str, limit_bytes: int) -> Iterator[bytes]:
    try:
        with files.open(member) as content:
            while chunk := content.read(_CHUNK):
                limit_bytes -= len(chunk)
                if limit_bytes < 0:
                    raise _unavailable_error(f"{member} is larger than its declared size")
                yield chunk
    except KeyError as error:
        raise _unavailable_error(f"the wheel holds no file {member}") from error
    except DAMAGED as error:
        raise _unavailable_error(f"{member} cannot be unpacked: {error}") from error


def _unavailable_error(what: str) -> FleetmarkError:
    return FleetmarkError(ErrorKind.ARTIFACT_UNAVAILABLE, what)
