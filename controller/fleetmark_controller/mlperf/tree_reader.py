"""Reader of a submission's files that does not follow links."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

from fleetmark_controller.loadgen import limits
from fleetmark_controller.mlperf.problems import MLPERF, SubmissionProblem
from fleetmark_core.document_parser import parse_json
from fleetmark_core.regular_file import open_regular

_NOT_READ = (".git",)
_ALWAYS_ALLOWED = frozenset({"mlperf_log_trace.json", "results.json", ".gitkeep"})


class TreeReader:
    """A tree: its files with sizes, its folders, its links and other entries.

    Paths are relative to the tree's root and have slashes. A checkout's `.git` is ignored.
    """

    def __init__(self, root: Path) -> None:
        """Walk the tree.

        Raises:
            OSError: the tree cannot be read.
        """
        self.root = root
        self.sizes: dict[str, int] = {}
        self.folders: set[str] = set()
        self.links: set[str] = set()
        self.strange: set[str] = set()
        self.children: dict[str, set[str]] = {}
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    if folder or entry.name not in _NOT_READ:
                        waiting += self._add(folder, entry)

    def _add(self, folder: str, entry: os.DirEntry[str]) -> list[str]:
        """Record the type of a folder's entry; return the paths to walk next."""
        name = f"{folder}/{entry.name}" if folder else entry.name
        self.children.setdefault(folder, set()).add(entry.name)
        if entry.is_symlink():
            self.links.add(name)
        elif entry.is_dir():
            self.folders.add(name)
            return [name]
        elif entry.is_file():
            self.sizes[name] = entry.stat().st_size
        else:
            self.strange.add(name)
        return []

    def exists(self, path: str) -> bool:
        """Return whether there is a file, folder or link at the path."""
        return path in self.sizes or path in self.folders or path in self.links

    def files_in(self, folder: str) -> set[str]:
        """Return the names of the files directly in a folder; empty without such a folder."""
        names = self.children.get(folder, set())
        return {name for name in names if f"{folder}/{name}" in self.sizes}

    def folders_in(self, folder: str) -> list[str]:
        """Return the sorted names of the folders directly in a folder."""
        names = self.children.get(folder, set())
        return sorted(name for name in names if f"{folder}/{name}" in self.folders)

    def missing(self, path: str) -> Iterator[SubmissionProblem]:
        """Yield a problem if the file is missing."""
        if path not in self.sizes:
            yield SubmissionProblem(path, "is missing")

    def check_list(
        self,
        folder: str,
        wanted: Set[str],
        optional: Set[str] = frozenset(),
        level: str = MLPERF,
    ) -> Iterator[SubmissionProblem]:
        """Yield the files that a folder lacks, and those that it must not contain.

        This equals `files_diff` of the submission checkers; `level` is that of an unexpected file.
        """
        for name in sorted(wanted):
            yield from self.missing(f"{folder}/{name}")
        for name in sorted(self.files_in(folder) - wanted - optional - _ALWAYS_ALLOWED):
            yield SubmissionProblem(f"{folder}/{name}", "must not be in this folder", level)

    def read(self, path: str) -> bytes:
        """Return the bytes of a file, at most the size of a detail log; empty if it is missing.

        Raises:
            OSError: the file cannot be read.
        """
        if path not in self.sizes:
            return b""
        with open_regular(self.root / path) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            return file.read(min(size_bytes, limits.MAX_DETAIL_BYTES))

    def text(self, path: str) -> str:
        """Return a file as text; empty if it is missing.

        Raises:
            OSError: the file cannot be read.
        """
        return self.read(path).decode("utf-8", "replace")

    def json(self, path: str) -> tuple[Mapping[str, Any], list[SubmissionProblem]]:
        """Return a JSON object, or problems that say why there is none.

        Raises:
            OSError: the file cannot be read.
        """
        missing = list(self.missing(path))
        if missing:
            return {}, missing
        try:
            values = parse_json(self.read(path))
            if not isinstance(values, dict):
                raise ValueError("no object")
        except ValueError as error:
            return {}, [SubmissionProblem(path, f"is no JSON: {error}")]
        return values, []
