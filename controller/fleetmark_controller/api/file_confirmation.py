"""Confirmation of files of which the publisher states only an MD5, for the service Catalog."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from fleetmark_catalog.load import KINDS, Catalog, Component
from fleetmark_controller.artifacts.catalog_registry import Catalogs
from fleetmark_controller.artifacts.check_files import verify_confirmation
from fleetmark_controller.artifacts.file_confirmations import CheckedFile, files_to_confirm
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.clock import NS_PER_S, now_unix_ns
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_protos.v1 import catalog_pb2


def component_to_confirm(catalog: Catalog, name: str) -> Component:
    """Return the component that a user names; of several kinds, the one with files to confirm.

    Raises:
        FleetmarkError: NOT_FOUND; UNKNOWN_WORD if several components fit.
    """
    if "/" not in name:
        parts = [catalog.find(kind, name) for kind in KINDS]
        fitting = [part for part in parts if part is not None and any(files_to_confirm(part))]
        if len(fitting) == 1:
            return fitting[0]
    return catalog.named(name)


def confirm_files(
    catalogs: Catalogs,
    component: Component,
    request: catalog_pb2.ConfirmFilesRequest,
    blobs: BlobFolder,
    who: str,
) -> list[CheckedFile]:
    """Return the records of the files that an admin confirms, or whose confirmation is withdrawn.

    Nothing is stored. All files are verified, or none is confirmed.

    Raises:
        FleetmarkError: see `verify_confirmation`; NOT_FOUND: a file to withdraw is not confirmed;
            USAGE: the request names no file.
        OSError: a blob cannot be read.
    """
    if not request.files:
        raise FleetmarkError(ErrorKind.USAGE, "the request names no file")
    known = {file.key: file for file in catalogs.checked_files(component.id)}
    declared = {artifact.name: artifact for artifact in files_to_confirm(component)}
    found = []
    for file in request.files:
        artifact = declared.get(file.name)
        earlier = known.get((component.id, file.name, artifact.md5 if artifact else ""))
        if request.withdraw:
            if earlier is None or not earlier.confirmed_by:
                raise FleetmarkError(
                    ErrorKind.NOT_FOUND, f"{component.id}: {file.name[:120]!r} is not confirmed"
                )
            found.append(replace(earlier, confirmed_by="", confirmed_unix_s=0))
            continue
        artifact = verify_confirmation(component, file.name, file.sha256, file.size_bytes, blobs)
        place = earlier.obtained_from if earlier and earlier.sha256 == file.sha256 else ""
        found.append(
            CheckedFile(
                component.id,
                artifact.name,
                artifact.md5,
                file.sha256,
                file.size_bytes,
                place,
                who,
                now_unix_ns() // NS_PER_S,
            )
        )
    return found


def checked_message(
    component: Component, files: Iterable[CheckedFile]
) -> catalog_pb2.CheckFilesResult:
    """Return the result of a check as a message."""
    return catalog_pb2.CheckFilesResult(
        component=component.id, files=[file_message(file) for file in files]
    )


def file_message(file: CheckedFile) -> catalog_pb2.CheckedFile:
    """Return a checked file as a message."""
    return catalog_pb2.CheckedFile(
        name=file.name,
        md5=file.md5,
        obtained_from=file.obtained_from,
        sha256=file.sha256,
        size_bytes=file.size_bytes,
        confirmed_by=file.confirmed_by,
    )
