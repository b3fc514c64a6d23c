"""Translates the catalog's errors into the error catalog's; the one place for it."""

from __future__ import annotations

from fleetmark_core.errors import CatalogError, Fault
from fleetmark_protos.errors import ErrorKind, FleetmarkError

_KINDS = {
    Fault.INVALID_COMPONENT: ErrorKind.INVALID_COMPONENT,
    Fault.NOT_FOUND: ErrorKind.NOT_FOUND,
    Fault.UNKNOWN_WORD: ErrorKind.UNKNOWN_WORD,
    Fault.UNRESOLVABLE: ErrorKind.NOTHING_FITS,
    Fault.DIGEST_MISMATCH: ErrorKind.DIGEST_MISMATCH,
    Fault.UNAVAILABLE: ErrorKind.ARTIFACT_UNAVAILABLE,
    Fault.BAD_DOCUMENT: ErrorKind.BAD_MESSAGE,
    Fault.UNSIGNED: ErrorKind.BAD_SIGNATURE,
    Fault.FOREIGN_KEY: ErrorKind.BAD_SIGNATURE,
    Fault.BAD_SIGNATURE: ErrorKind.BAD_SIGNATURE,
    Fault.ROLLED_BACK: ErrorKind.ROLLED_BACK,
    Fault.EXPIRED: ErrorKind.EXPIRED,
    Fault.MIXED: ErrorKind.NOT_RELEASED,
    Fault.NOT_RELEASED: ErrorKind.NOT_RELEASED,
    Fault.NOT_ALLOWED: ErrorKind.NOT_ALLOWED,
}


def from_catalog(error: CatalogError) -> FleetmarkError:
    """The same error, with a status and an exit code."""
    return FleetmarkError(_KINDS[error.fault], error.what, error.where, error.next_step)
