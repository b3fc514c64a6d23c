"""`controller backup`."""

from __future__ import annotations

import click

from fleetmark_cli.output import echo


@click.command(name="backup")
@click.option("--home", metavar="DIR", help="The controller's home.")
@click.option("--out", metavar="DIR", required=True, help="A folder that does not exist yet.")
def command(home: str | None, out: str) -> None:
    """Copy everything that a controller needs to go on on another machine.

    The copy holds store, blobs, keys, release, configuration, and all imported, added and
    configured catalogs. A controller may run meanwhile. Restore it with `controller restore`.

    The copy holds the controller's private keys: protect it as you protect the home. Catalogs that
    are named only with `controller serve --catalog` are not in it.
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
    if manifest.missing_blobs:
        echo(
            f"Warning: the home lacks {len(manifest.missing_blobs)} blobs that results or jobs"
            f" need, for example {manifest.missing_blobs[0]}",
            err=True,
        )
