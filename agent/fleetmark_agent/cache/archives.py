"""Unpacked archives of jobs, cached by content next to the environments."""

from __future__ import annotations

from pathlib import Path

from fleetmark_agent.cache.blob_cache import Cache
from fleetmark_agent.cache.environments import ensure_unpacked
from fleetmark_agent.errors import Refusal
from fleetmark_core.lockfile import Environment, PackageArchive


def archive_folder(package: PackageArchive) -> str:
    """Return the name of the folder, next to the environments, for the unpacked archive."""
    return f"archive-{package.archive.sha256}"


async def ensure_archives(environment: Environment, cache: Cache) -> None:
    """Unpack archives that are not unpacked yet. Their blobs must be in the cache.

    Raises:
        Refusal: an archive is not as declared, lacks a folder, or does not fit on the disk; no part
            of it remains. Or the path of the agent's home contains `:` or `;`, which PATH cannot
            hold.
    """
    if any(search_paths(environment, cache)) and any(sign in str(cache.root) for sign in ":;"):
        raise Refusal(
            f"jobs cannot find programs below {cache.root}, because PATH cannot contain ':' "
            "or ';': move the home",
            retryable=False,
        )
    for package in environment.archives:
        await ensure_unpacked(
            package.archive,
            archive_folder(package),
            package.unpacked_bytes,
            {"folders": list(package.folders())},
            cache,
            f"package {package.name} of the job",
        )


def packages(environment: Environment, cache: Cache) -> dict[str, str]:
    """Return the folder of each archive, by package name."""
    return {
        package.name: str(cache.environments / archive_folder(package))
        for package in environment.archives
    }


def module_folders(environment: Environment, cache: Cache) -> list[str]:
    """Return the folders that the archives add to sys.path."""
    return [
        str(_inside(cache, package, folder))
        for package in environment.archives
        for folder in package.python
    ]


def search_paths(environment: Environment, cache: Cache) -> tuple[str, str]:
    """Return the values that the archives add to PATH and LD_LIBRARY_PATH; each may be empty."""
    programs, libraries = (
        [
            str(_inside(cache, package, folder))
            for package in environment.archives
            for folder in (package.bin if kind == "bin" else package.lib)
        ]
        for kind in ("bin", "lib")
    )
    return ":".join(programs), ":".join(libraries)


def _inside(cache: Cache, package: PackageArchive, folder: str) -> Path:
    return cache.environments / archive_folder(package) / folder
