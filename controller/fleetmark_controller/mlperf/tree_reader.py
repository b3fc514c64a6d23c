"""The files of a submission's tree, read without following links."""

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
    """One tree: its files with their sizes, its folders, its links and what is neither.

    Paths are relative to the tree's root and have slashes. A checkout's `.git` is left out.
    """

    def __init__(self, root: Path) -> None:
        """Walk the tree.

        Raises:
            OSError: it cannot be read.
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
        """Note what an entry of a folder is; return it if it must be walked."""
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
        """Return whether there is a file, folder or link of that path."""
        return path in self.sizes or path in self.folders or path in self.links

    def files_in(self, folder: str) -> set[str]:
        """Return the names of the files directly in a folder; empty if there is none."""
        names = self.children.get(folder, set())
        return {name for name in names if f"{folder}/{name}" in self.sizes}

    def folders_in(self, folder: str) -> list[str]:
        """Return the names of the folders directly in a folder, in order."""
        names = self.children.get(folder, set())
        return sorted(name for name in names if f"{folder}/{name}" in self.folders)

    def missing(self, path: str) -> Iterator[SubmissionProblem]:
        """Yield a problem if there is no such file."""
        if path not in self.sizes:
            yield SubmissionProblem(path, "is missing")

    def check_list(
        self,
        folder: str,
        wanted: Set[str],
        optional: Set[str] = frozenset(),
        level: str = MLPERF,
    ) -> Iterator[SubmissionProblem]:
        """Yield the files that a folder lacks, and those that it must not have.

        As `files_diff` of the submission checkers; `level` is that of a file too many.
        """
        for name in sorted(wanted):
            yield from self.missing(f"{folder}/{name}")
        for name in sorted(self.files_in(folder) - wanted - optional - _ALWAYS_ALLOWED):
            yield SubmissionProblem(f"{folder}/{name}", "must not be in this folder", level)

    def read(self, path: str) -> bytes:
        """Return the bytes of a file, of a detail log's size at most; empty if it is missing.

        Raises:
            OSError: it cannot be read.
        """
        if path not in self.sizes:
            return b""
        with open_regular(self.root / path) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            return file.read(min(size_bytes, limits.MAX_DETAIL_BYTES))

    def text(self, path: str) -> str:
        """Return a file as text; empty if it is missing.

        Raises:
            OSError: it cannot be read.
        """
        return self.read(path).decode("utf-8", "replace")

    def json(self, path: str) -> tuple[Mapping[str, Any], list[SubmissionProblem]]:
        """Return a JSON object, or why there is none.

        Raises:
            OSError: it cannot be read.
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
