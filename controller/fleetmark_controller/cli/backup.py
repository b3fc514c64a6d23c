"""`controller backup`."""

from __future__ import annotations

import click

from fleetmark_cli.output import echo
from fleetmark_core.plural import counted


@click.command(name="backup")
@click.option("--home", metavar="DIR", help="The controller's home.")
@click.option("--out", metavar="DIR", required=True, help="A folder that does not exist yet.")
def command(home: str | None, out: str) -> None:
    """Copy store, raw files, keys and configuration, while the controller runs or not.

    Whoever can read the copy can speak for the controller: keep it as you keep the home.

    The copy is a home: `controller serve --home DIR` goes on from it. Epochs are never used again,
    whatever was assigned since, and boards hand over what they still hold.
    """
    import errno
    import shutil
    import sqlite3
    from pathlib import Path

    from fleetmark_cli import paths
    from fleetmark_controller.home.credential_files import FOLDER
    from fleetmark_controller.store.db.backup import copy_store, wanted_blobs
    from fleetmark_controller.store.db.connection import STORE_NAME
    from fleetmark_core.blob_store import BlobFolder
    from fleetmark_core.errors import ErrorKind, FleetmarkError

    source, target = paths.home_folder("controller", home), Path(out)
    if not (source / STORE_NAME).exists():
        raise FleetmarkError(
            ErrorKind.NOT_FOUND, "no store here", str(source), "Name the controller's --home"
        )
    if target.exists():
        raise FleetmarkError(
            ErrorKind.USAGE, "exists already", str(target), "Name a folder that does not"
        )
    blobs, copies = BlobFolder(source / "blobs"), BlobFolder(target / "blobs")
    try:
        target.mkdir(parents=True, mode=0o700)
        copy_store(source / STORE_NAME, target / STORE_NAME)
        found = [sha256 for sha256 in wanted_blobs(target / STORE_NAME) if blobs.has(sha256)]
        for sha256 in found:
            copies.put_file(blobs.path(sha256), sha256, blobs.size(sha256))
        if (source / FOLDER).is_dir():
            # Without its keys a restored controller would be a stranger to every board.
            shutil.copytree(source / FOLDER, target / FOLDER)
        if (source / "config.toml").exists():
            shutil.copyfile(source / "config.toml", target / "config.toml")
    except (OSError, sqlite3.Error) as error:
        shutil.rmtree(target, ignore_errors=True)
        full = (isinstance(error, OSError) and error.errno == errno.ENOSPC) or "full" in str(error)
        what = "no room" if full else str(error)
        raise FleetmarkError(
            ErrorKind.DISK_FULL, f"no backup was made: {what}", str(target)
        ) from error
    echo(f"Copied the store and {counted(len(found), 'file')} to {target}")
