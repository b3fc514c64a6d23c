"""`controller restore`."""

from __future__ import annotations

import click

from fleetmark_cli.output import echo


@click.command(name="restore")
@click.argument("backup", metavar="DIR")
@click.option("--home", metavar="DIR", help="The new home of the controller.")
def command(backup: str, home: str | None) -> None:
    """Restore the backup DIR as a new home, after checking every file.

    The home must be empty or absent. Devices reconnect by themselves if the controller has the
    same address as before, or if they find it by mDNS. Stop the old controller first: two
    controllers with one identity send conflicting orders.
    """
    from pathlib import Path

    from fleetmark_cli import paths
    from fleetmark_controller.backup.restore import restore_backup

    target = paths.home_folder("controller", home)
    restored = restore_backup(Path(backup), target)
    manifest = restored.manifest
    echo(
        f"Restored the backup of {manifest.made_at} to {target}: {len(manifest.files)} files and"
        f" {restored.blobs} blobs"
    )
    for line in manifest.outside:
        echo(f"Not in the backup: {line}", err=True)
    if left_out := len(restored.damaged_blobs) + restored.lost_blobs:
        echo(
            f"Warning: {left_out} blobs of the backup are missing or damaged, and were left out",
            err=True,
        )
    if restored.needed_blobs:
        echo(
            f"Warning: results or jobs need {len(restored.needed_blobs)} blobs that are missing,"
            f" for example {restored.needed_blobs[0]}",
            err=True,
        )
    echo(f"Start it with: controller serve --home {target}")
