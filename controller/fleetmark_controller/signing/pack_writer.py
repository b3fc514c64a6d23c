"""Write a pack: all inputs and results of a campaign, so that others can verify and repeat it."""

from __future__ import annotations

import asyncio
import json
import shlex
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetmark_catalog.load import Catalog
from fleetmark_controller import __version__
from fleetmark_controller.store.db.reader import Reader
from fleetmark_controller.store.jobs import attempts, campaigns, lockfiles
from fleetmark_controller.store.results import public_views, runs
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.bundle_file import write_files
from fleetmark_core.digest import canonical_json, sha256_file, sha256_hex
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.lockfile import Lockfile, parse_lockfile
from fleetmark_core.order import parse_order
from fleetmark_core.received_files import check_distinct, received_path

PACK_FORMAT = 1
_MAX_FILE_BYTES = 64 * 1024 * 1024
_SKIPPED = ("__pycache__",)


@dataclass(frozen=True)
class _Found:
    """The stored data of a campaign that goes into its pack."""

    request: dict[str, Any]
    locks: dict[str, bytes]
    releases: tuple[str, ...]
    views: dict[str, tuple[list[str], list[tuple[Any, ...]]]]
    run_files: dict[str, list[runs.RunFile]]


@dataclass(frozen=True)
class _About:
    """The campaign, and the catalog and key that it belongs to."""

    campaign_id: str
    catalog: Catalog
    catalog_sha256: str


async def write_pack(
    campaign_id: str,
    path: Path,
    *,
    reader: Reader,
    blobs: BlobFolder,
    catalog: Catalog,
    catalog_sha256: str,
) -> None:
    """Write the pack of a campaign; the same campaign in the same state gives the same bytes.

    Args:
        campaign_id: The campaign.
        path: File to write.
        reader: Reader of the store.
        blobs: Blobs that the pack includes.
        catalog: Catalog from which the component files are copied.
        catalog_sha256: Fingerprint of the catalog key to which the signatures of its releases lead.

    Raises:
        FleetmarkError: NOT_FOUND: the campaign has no finished run; BLOB_MISSING.
        OSError: the file cannot be written.
    """
    found = await reader.run(lambda c: _read(c, campaign_id))
    about = _About(campaign_id, catalog, catalog_sha256)
    await asyncio.to_thread(_write, about, found, blobs, path)


def _read(connection: sqlite3.Connection, campaign_id: str) -> _Found:
    named = [parse_order(order) for order in attempts.orders_with_runs(connection, campaign_id)]
    locks: dict[str, bytes] = {}
    for lock in sorted({order.lock_sha256 for order in named}):
        content = lockfiles.content(connection, lock)
        if content is None:
            raise RuntimeError(f"lockfile {lock} of campaign {campaign_id} is not stored")
        locks[lock] = content
    shown = {}
    for view in ("runs", "results", "attempts"):
        columns, rows = public_views.select(connection, view, campaign_id=campaign_id)
        shown[view] = (columns, list(rows))
    place = shown["runs"][0].index("run_id")
    ids = [str(row[place]) for row in shown["runs"][1]]
    files = {run_id: runs.files(connection, run_id) for run_id in ids}
    releases = tuple(sorted({order.release_sha256 for order in named if order.release_sha256}))
    return _Found(campaigns.request_of(connection, campaign_id), locks, releases, shown, files)


def _write(about: _About, found: _Found, blobs: BlobFolder, path: Path) -> None:
    if not found.locks:
        raise FleetmarkError(
            ErrorKind.NOT_FOUND,
            "the campaign has no finished run",
            about.campaign_id,
            "See `controller jobs list`",
        )
    locks = {sha256: parse_lockfile(data) for sha256, data in found.locks.items()}
    texts: dict[str, bytes] = {}
    places: dict[str, Path] = {}
    for sha256, data in found.locks.items():
        texts[f"locks/{sha256}.json"] = data
    for sha256 in found.releases:
        places[f"releases/{sha256}.json"] = _blob(blobs, sha256)
    places.update(_component_files(about.catalog, locks.values()))
    for lock in locks.values():
        for blob in lock.blobs():
            places[f"mirror/{blob.sha256}"] = _blob(blobs, blob.sha256)
    for run_id, files in found.run_files.items():
        check_distinct(file.name for file in files)
        for file in files:
            received_path(Path(), file.name)
            places[f"results/{run_id}/{file.name}"] = _blob(blobs, file.sha256)
    for view, (columns, rows) in found.views.items():
        lines = [canonical_json(dict(zip(columns, row, strict=True))) for row in rows]
        texts[f"results/{view}.jsonl"] = b"".join(line + b"\n" for line in lines)
    document = {
        "format": PACK_FORMAT,
        "campaign_id": about.campaign_id,
        "request": found.request,
        "fleetmark": __version__,
        "locks": sorted(found.locks),
        "releases": list(found.releases),
        "catalog_sha256": about.catalog_sha256,
    }
    texts["pack.json"] = json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"
    texts["README.md"] = _readme(document, locks.values()).encode()
    sums = {name: sha256_hex(data) for name, data in texts.items()}
    sums.update({name: sha256_file(place) for name, place in places.items()})
    texts["CHECKSUMS"] = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)).encode()
    write_files(path, texts, places)


def _component_files(catalog: Catalog, locks: Iterable[Lockfile]) -> Iterator[tuple[str, Path]]:
    """Yield the name in the pack and the path of each file of the lockfiles' components."""
    wanted = {(part.kind, part.name) for lock in locks for part in lock.components}
    for kind, name in sorted(wanted):
        component = catalog.find(kind, name)
        if component is None:
            continue  # removed from the catalog since; the release still contains its definition
        for folder in (component.folder, *component.folders):
            for file in sorted(folder.rglob("*")):
                plain = file.is_file() and not file.is_symlink()
                if not plain or set(_SKIPPED) & set(file.parts):
                    continue
                if file.stat().st_size > _MAX_FILE_BYTES:
                    continue  # an artifact, which is in the mirror folder
                yield f"components/{kind}/{folder.name}/{file.relative_to(folder)}", file


def _blob(blobs: BlobFolder, sha256: str) -> Path:
    if not blobs.has(sha256):
        raise FleetmarkError(ErrorKind.BLOB_MISSING, f"no blob {sha256}")
    return blobs.path(sha256)


def command_of(request: dict[str, Any]) -> str:
    """Return the `controller schedule` command that repeats a campaign on all matching devices."""
    words = ["controller", "schedule", request["benchmark"]]
    for option, key in (
        ("--scenario", "scenarios"),
        ("--mode", "modes"),
        ("--variation", "variations"),
    ):
        for value in request.get(key) or ():
            words += [option, value]
    for name, values in sorted((request.get("parameters") or {}).items()):
        words += ["--param", f"{name}={','.join(values)}"]
    words += ["--profile", request.get("profile") or "quick"]
    if (request.get("repetitions") or 1) > 1:
        words += ["--repeat", str(request["repetitions"])]
    return shlex.join([*words, "--wait"])


def _readme(about: dict[str, Any], locks: Iterable[Lockfile]) -> str:
    names = sorted({f"{p.kind}/{p.name} {p.version}" for lock in locks for p in lock.components})
    listed = "\n".join(f"- {name}" for name in names)
    return f"""# A Fleetmark campaign, to verify and to repeat

Campaign `{about["campaign_id"]}`, packed with Fleetmark {about["fleetmark"]}.

| folder | content |
|---|---|
| `releases/` | the signed releases that the campaign used |
| `locks/` | lockfiles: the exact components, variations and artifacts of each configuration |
| `components/` | the components' own files |
| `mirror/` | every file that devices received, named by its sha256 |
| `results/` | rows of the public views, and the raw files of each run |
| `CHECKSUMS` | sha256 of every file in the pack: `sha256sum -c CHECKSUMS` |

## Verify

`controller pack verify FILE DIR --trust {about["catalog_sha256"]}` checks every digest, the
signature of each release, and that each lockfile follows from its release. It lists the components
that your installation has with the same content, and writes the missing ones to `DIR/added`.

## Repeat

On a machine with Fleetmark {about["fleetmark"]}, in the unpacked folder (no network is needed):

```sh
controller serve --home home --mirror mirror --catalog added &
controller token create --approve      # prints the command that starts an agent
{command_of(about["request"])}
controller results list
```

## Components

{listed}
"""
