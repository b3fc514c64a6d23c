"""Archives of a job: unpacked once per content beside the environments, shared by all jobs."""

from __future__ import annotations

from pathlib import Path

from fleetmark_agent.cache.blob_cache import Cache
from fleetmark_agent.cache.environments import ensure_unpacked
from fleetmark_agent.errors import Refusal
from fleetmark_core.lockfile import Environment, PackageArchive


def archive_folder(package: PackageArchive) -> str:
    """Name of the folder, beside the environments, that holds its files."""
    return f"archive-{package.archive.sha256}"


async def ensure_archives(environment: Environment, cache: Cache) -> None:
    """Unpack what is not here. The archives must be.

    Raises:
        Refusal: one is not what was promised, lacks a folder, or there is no room; of that one
            nothing is left behind. Or the agent's home has a path that PATH cannot hold.
    """
    if any(search_paths(environment, cache)) and any(sign in str(cache.root) for sign in ":;"):
        raise Refusal(
            f"the job could not find its programs below {cache.root}, for a colon ends an entry of "
            "PATH: move the home",
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
    """By name, the folder of each archive."""
    return {
        package.name: str(cache.environments / archive_folder(package))
        for package in environment.archives
    }


def module_folders(environment: Environment, cache: Cache) -> list[str]:
    """What archives add to sys.path."""
    return [
        str(_inside(cache, package, folder))
        for package in environment.archives
        for folder in package.python
    ]


def search_paths(environment: Environment, cache: Cache) -> tuple[str, str]:
    """What archives add to PATH and to LD_LIBRARY_PATH; empty if nothing."""
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
