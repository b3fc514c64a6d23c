"""Recipes: files that the controller makes once from files that it fetches.

A component names a recipe and its options (`locations = [{ recipe = "…", options = {…} }]`). The
recipes are these modules and no others: a component brings no code. What they make is verified by
the artefact's sha256 like any download, so they must make the same bytes everywhere.
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
"""What the options or the sources may make a recipe raise, where they are not as they must be."""


class Recipe(Protocol):
    """A module of this package."""

    def make(self, options: Mapping[str, Any], folder: Path, limit_bytes: int) -> Path:
        """The file that `options` describe, somewhere in `folder`; fetches at most `limit_bytes`.

        Raises:
            FleetmarkError: ARTIFACT_UNAVAILABLE: its sources cannot be had.
            One of `RAISED`: the options or the sources are not as they must be.
            OSError: `folder` cannot be written.
        """
        ...


def make(name: str, options: Mapping[str, Any], folder: Path, limit_bytes: int) -> Path:
    """Follow a recipe.

    Raises:
        FleetmarkError: ARTIFACT_UNAVAILABLE: no such recipe, or it did not work.
        OSError: `folder` cannot be written.
    """
    if name not in NAMES:
        raise FleetmarkError(
            ErrorKind.ARTIFACT_UNAVAILABLE,
            f"there is no recipe {name!r}",
            "",
            f"Known: {', '.join(NAMES)}",
        )
    recipe: Recipe = importlib.import_module(f"{__name__}.{NAMES[name]}")
    try:
        return recipe.make(options, folder, limit_bytes)
    except KeyError as error:
        raise _failed(name, f"found no {error}") from error
    except RAISED as error:
        raise _failed(name, str(error)) from error


def _failed(name: str, what: str) -> FleetmarkError:
    return FleetmarkError(ErrorKind.ARTIFACT_UNAVAILABLE, f"recipe {name}: {what}")
