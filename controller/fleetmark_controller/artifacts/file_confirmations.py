"""Confirmations of files of which the publisher states only an MD5.

An MD5 is a hint: other bytes can have the same one. The controller computes SHA-256 and size of the
bytes that it obtained, and an admin confirms them. Only then are they part of the catalog, and so
of the next release. `file-confirmations.json` in the controller's home lists the checked files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fleetmark_catalog.load import Artifact, Catalog, Component
from fleetmark_core.atomic_file import write_atomic
from fleetmark_core.digest import is_sha256
from fleetmark_core.document_parser import parse_json
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.regular_file import read_regular

CONFIRMATIONS_FILE = "file-confirmations.json"
_MAX_BYTES = 4 << 20


@dataclass(frozen=True)
class CheckedFile:
    """A file whose MD5 is the one that its component declares.

    Attributes:
        component: id of the component, as `kind/name`.
        name: name of the artifact.
        md5: the MD5 that the component declares.
        sha256: SHA-256 that the controller computed.
        size_bytes: size that the controller computed.
        obtained_from: where the controller obtained the bytes.
        confirmed_by: operator who confirmed the file; empty if it is not confirmed.
        confirmed_unix_s: time of the confirmation, in seconds since 1970; 0 without one.
    """

    component: str
    name: str
    md5: str
    sha256: str
    size_bytes: int
    obtained_from: str = ""
    confirmed_by: str = ""
    confirmed_unix_s: int = 0

    @property
    def key(self) -> tuple[str, str, str]:
        """The artifact to which it belongs; another MD5 is another artifact."""
        return self.component, self.name, self.md5


class FileConfirmations:
    """The checked and confirmed files of one home. Not safe for concurrent use."""

    def __init__(self, home: Path) -> None:
        """Use the list in `home`."""
        self._list = home / CONFIRMATIONS_FILE

    def load(self) -> dict[tuple[str, str, str], CheckedFile]:
        """Return the checked files by component, artifact and MD5.

        Raises:
            FleetmarkError: INVALID_COMPONENT: the list is damaged.
        """
        try:
            entries = parse_json(read_regular(self._list, _MAX_BYTES))
            return {one.key: one for one in map(_checked_file, entries)}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            why = error.strerror if isinstance(error, OSError) else None
            raise FleetmarkError(
                ErrorKind.INVALID_COMPONENT,
                f"is not a valid list of confirmed files: {why or error}",
                str(self._list),
                "Restore it from a backup, or remove it and confirm the files again",
            ) from error

    def put(self, files: Iterable[CheckedFile]) -> None:
        """Record files; each replaces the record of the same artifact.

        Raises:
            FleetmarkError: INVALID_COMPONENT: the list is damaged.
            OSError: the home cannot be written.
        """
        known = {**self.load(), **{file.key: file for file in files}}
        text = json.dumps([asdict(known[key]) for key in sorted(known)], indent=1)
        write_atomic(self._list, text.encode())

    def apply(self, catalog: Catalog) -> Catalog:
        """Return the catalog with SHA-256 and size of the confirmed files.

        Raises:
            FleetmarkError: INVALID_COMPONENT: the list is damaged.
        """
        known = self.load()
        changed = [
            component
            for component in catalog.all()
            if any(artifact.md5 for artifact in component.artifacts)
        ]
        return catalog.replacing([_with_files(component, known) for component in changed])


def files_to_confirm(component: Component) -> Iterator[Artifact]:
    """Yield the artifacts of a component of which the publisher states only an MD5."""
    return (artifact for artifact in component.artifacts if artifact.md5)


def _with_files(component: Component, known: dict[tuple[str, str, str], CheckedFile]) -> Component:
    artifacts = []
    for artifact in component.artifacts:
        file = known.get((component.id, artifact.name, artifact.md5)) if artifact.md5 else None
        is_confirmed = file is not None and bool(file.confirmed_by)
        artifacts.append(
            replace(
                artifact,
                sha256=file.sha256 if file is not None and is_confirmed else "",
                size_bytes=file.size_bytes if file is not None and is_confirmed else 0,
            )
            if artifact.md5
            else artifact
        )
    return replace(component, artifacts=tuple(artifacts))


def _checked_file(entry: dict[str, object]) -> CheckedFile:
    numbers = ("size_bytes", "confirmed_unix_s")
    for key, value in entry.items():
        if not isinstance(value, int if key in numbers else str) or isinstance(value, bool):
            raise ValueError(f"{key} is {value!r}")
    file = CheckedFile(**entry)  # type: ignore[arg-type]
    if not is_sha256(file.sha256):
        raise ValueError(f"sha256 of {file.name} is {file.sha256!r}")
    return file
