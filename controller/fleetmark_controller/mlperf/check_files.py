"""Checks of the files and folders that a submission may contain, by MLPerf's rules.

Source: the folder checks of `check_results_dir` in the submission checkers v5.0 and v5.1. The
checker of v6.1 dropped them; their reason, that results are published in a git repository, still
applies.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from fleetmark_controller.mlperf.problems import SubmissionProblem
from fleetmark_controller.mlperf.rules import CHECKED_DIVISIONS, LARGEST_FILE_BYTES
from fleetmark_controller.mlperf.tree_reader import TreeReader

_BESIDE_DIVISIONS = (".github", "assets")
_TEXTS_AT_THE_TOP = (".md", ".pdf")


def check_files(tree: TreeReader) -> Iterator[SubmissionProblem]:
    """Yield files and folders that a tree must not contain."""
    for name in sorted(tree.children.get("", ())):
        if name in tree.folders and name not in (*CHECKED_DIVISIONS, *_BESIDE_DIVISIONS):
            yield SubmissionProblem(name, f"is no division: {', '.join(CHECKED_DIVISIONS)}")
        elif name in tree.sizes and not name.endswith(_TEXTS_AT_THE_TOP):
            yield SubmissionProblem(
                name, "stands outside of the divisions, where only .md and .pdf may"
            )
    for division in CHECKED_DIVISIONS:
        for name in sorted(tree.files_in(division)):
            yield SubmissionProblem(f"{division}/{name}", "stands outside of a submitter's folder")
    for name in sorted((*tree.sizes, *tree.folders, *tree.links, *tree.strange)):
        yield from _check_name(tree, name)


def _check_name(tree: TreeReader, name: str) -> Iterator[SubmissionProblem]:
    last = name.rpartition("/")[2]
    below_division = name.partition("/")[0] in CHECKED_DIVISIONS
    if name in tree.strange:
        yield SubmissionProblem(name, "is neither a file nor a folder")
    elif name in tree.links:
        yield from _check_link(tree, name)
    if not below_division:
        return
    if " " in last or last.startswith(".") or last == "__pycache__":
        yield SubmissionProblem(name, "has a name that must not be submitted")
    if name in tree.folders and not tree.children.get(name):
        yield SubmissionProblem(name, "is an empty folder")
    if tree.sizes.get(name, 0) > LARGEST_FILE_BYTES:
        yield SubmissionProblem(name, f"has more than {LARGEST_FILE_BYTES >> 20} MiB")


def _check_link(tree: TreeReader, name: str) -> Iterator[SubmissionProblem]:
    """Yield a problem unless the link leads to a folder of the tree."""
    try:
        target = (tree.root / name).resolve()
        inside = target.is_dir() and target.is_relative_to(tree.root.resolve())
    except (OSError, RuntimeError):  # a loop
        inside = False
    if not inside:
        where = PurePosixPath(name).name
        yield SubmissionProblem(
            name, f"is a link; {where} must be a file, or lead to a folder of the tree"
        )
