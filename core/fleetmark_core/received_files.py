"""Safe handling of files with received names: a name never leads out of its folder.

A name must be a plain file name on Linux, macOS and Windows, whichever the operator uses. Names
that differ only in letter case are the same file on macOS and Windows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from fleetmark_core.atomic_file import write_atomic
from fleetmark_core.errors import ErrorKind, FleetmarkError

MAX_NAME_BYTES = 200
_FORBIDDEN = re.compile(r'[/\\:*?"<>|]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(\..*)?", re.I)
"""Windows device names (Microsoft, "Naming Files, Paths, and Namespaces")."""


def name_fault(name: str) -> str:
    """Return why `name` is not a plain file name on every system, or an empty string."""
    if not name or name in (".", ".."):
        return "is not a file name"
    if not name.isprintable():
        return "contains characters that are not printable"
    if _FORBIDDEN.search(name):
        return "contains a path separator or wildcard"
    if name != name.strip() or name.endswith("."):
        return "begins or ends with a space, or ends with a dot"
    if _RESERVED.fullmatch(name):
        return "is a reserved device name on Windows"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "cannot be encoded as UTF-8"
    return f"is longer than {MAX_NAME_BYTES} bytes" if size > MAX_NAME_BYTES else ""


def received_path(folder: Path, name: str) -> Path:
    """Return the path in `folder` of a received file with this name.

    Raises:
        FleetmarkError: BAD_DOCUMENT: the name is unsafe.
    """
    fault = name_fault(name)
    if fault:
        raise FleetmarkError(
            ErrorKind.BAD_DOCUMENT, f"the name of a received file {fault}: {name[:80]!r}"
        )
    return folder / name


def received_tree_path(folder: Path, name: str) -> Path:
    """Return the path below `folder` of a received file; `/` separates the parts of its name.

    Raises:
        FleetmarkError: BAD_DOCUMENT: a part of the name is unsafe.
    """
    path = folder
    for part in name.split("/"):
        path = received_path(path, part)
    return path


def check_distinct(names: Iterable[str]) -> None:
    """Reject names that a case-insensitive file system treats as one file.

    Raises:
        FleetmarkError: BAD_DOCUMENT.
    """
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other is not name:
            raise FleetmarkError(
                ErrorKind.BAD_DOCUMENT, f"two received files have the same name: {name[:80]!r}"
            )


def write_received(folder: Path, contents: Mapping[str, bytes]) -> list[Path]:
    """Write received files into `folder`, which is created, after checking all names.

    A symbolic link of that name in the folder is replaced, not followed.

    Raises:
        FleetmarkError: BAD_DOCUMENT: a name is unsafe, or two names are the same file.
        OSError: the disk is full, or the folder cannot be written.
    """
    check_distinct(contents)
    places = {name: received_path(folder, name) for name in contents}
    for name, data in contents.items():
        write_atomic(places[name], data)
    return list(places.values())
