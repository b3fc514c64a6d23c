"""`controller backup`."""

from __future__ import annotations

import click

from fleetmark_cli.output import echo


@click.command(name="backup")
@click.option("--home", metavar="DIR", help="Home folder of the controller.")
@click.option("--out", metavar="DIR", required=True, help="Folder to create for the backup.")
def command(home: str | None, out: str) -> None:
    """Back up everything that a controller needs to continue on another host.

    The backup contains the store, blobs, keys, release, configuration, and all imported, added and
    configured catalogs. The controller may keep running. Restore with `controller restore`.

    The backup contains the controller's private keys: protect it like the home folder. Catalogs
    that are given only with `controller serve --catalog` are not included.
    """
    import time
    from pathlib import Path

    from fleetmark_cli import paths
    from fleetmark_controller.backup.create import create_backup

    backup = create_backup(paths.home_folder("controller", home), Path(out), time.time_ns())
    manifest = backup.manifest
    size = f"{backup.blob_bytes / (1 << 20):,.1f} MiB"
    echo(
        f"Backed up to {out}: {len(manifest.files)} files and {manifest.blob_count} blobs ({size})"
    )
    for location in backup.catalogs:
        echo(f"Copied the catalog {location}")
    for line in manifest.outside:
        echo(f"Not in the backup: {line}", err=True)
    if backup.damaged_blobs:
        echo(
            f"Warning: {len(backup.damaged_blobs)} blobs of the home are damaged or cannot be read,"
            f" and were left out, for example {backup.damaged_blobs[0]}",
            err=True,
        )
    if manifest.missing_blobs:
        echo(
            f"Warning: the home lacks {len(manifest.missing_blobs)} blobs that results or jobs"
            f" need, for example {manifest.missing_blobs[0]}",
            err=True,
        )
