"""Recipes: files that the controller generates once from files that it fetches.

A component names a recipe and its options (`locations = [{ recipe = "…", options = {…} }]`). The
only recipes are the modules of this package: a component cannot bring code. Their results are
verified by the artifact's SHA-256 like any download, so a recipe must generate the same bytes
everywhere.
"""

from __future__ import annotations

import gzip
import importlib
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from fleetmark_core.errors import ErrorKind, FleetmarkError

NAMES = {
    "array-pictures": "array_pictures",
    "file-starts": "file_starts",
    "idx-selection": "idx_selection",
    "labelled-pictures": "labelled_pictures",
    "python-archive": "python_archive",
    "wav-clips": "wav_clips",
}


RAISED = (
    KeyError,
    TypeError,
    ValueError,
    OverflowError,
    EOFError,
    struct.error,
    zlib.error,
    gzip.BadGzipFile,
    zipfile.BadZipFile,
)
"""Errors that a recipe may raise if its options or sources are not as expected."""


class Recipe(Protocol):
    """The interface of a module of this package."""

    def make(self, options: Mapping[str, Any], folder: Path, limit_bytes: int) -> Path:
        """Generate the file that `options` describe in `folder`, fetching at most `limit_bytes`.

        Returns:
            The path of the file.

        Raises:
            FleetmarkError: ARTIFACT_UNAVAILABLE: its sources are not available. One of `RAISED`:
                the options or the sources are not as expected.
            OSError: `folder` cannot be written.
        """
        ...


def make(name: str, options: Mapping[str, Any], folder: Path, limit_bytes: int) -> Path:
    """Run a recipe and return the path of the file that it generates.

    Raises:
        FleetmarkError: ARTIFACT_UNAVAILABLE: no such recipe, or it failed.
        OSError: `folder` cannot be written.
    """
    if name not in NAMES:
        raise FleetmarkError(
            ErrorKind.ARTIFACT_UNAVAILABLE,
            f"unknown recipe {name!r}",
            "",
            f"Recipes: {', '.join(NAMES)}",
        )
    recipe: Recipe = importlib.import_module(f"{__name__}.{NAMES[name]}")
    try:
        return recipe.make(options, folder, limit_bytes)
    except KeyError as error:
        raise _recipe_error(name, f"missing {error}") from error
    except RAISED as error:
        raise _recipe_error(name, str(error)) from error


def _recipe_error(name: str, what: str) -> FleetmarkError:
    return FleetmarkError(ErrorKind.ARTIFACT_UNAVAILABLE, f"recipe {name}: {what}")
