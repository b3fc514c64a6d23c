"""The error catalog: every error that crosses the wire or ends a command.

Numbers are only added, never reused. Each kind has a gRPC status for the wire and an exit code for
commands: 1 a job failed, was invalid or a comparison regressed; 2 usage; 3 not found, nothing
matches or nothing fits; 4 refused; 5 controller unreachable; 130 interrupted.

A kind that refines another kind shares its number. The receiver reads the number as the first kind
that has it.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class _Entry(NamedTuple):
    number: int
    status: str
    exit_code: int
    meaning: str


class ErrorKind(Enum):
    """One kind of error: number, gRPC status name, exit code, meaning."""

    INTERNAL = _Entry(1, "INTERNAL", 4, "internal error of the program")
    UNREACHABLE = _Entry(2, "UNAVAILABLE", 5, "no controller responds at the address")
    USAGE = _Entry(3, "INVALID_ARGUMENT", 2, "a word or value is not allowed")
    UNKNOWN_WORD = _Entry(4, "INVALID_ARGUMENT", 2, "a selector contains a word that no device has")
    NOT_FOUND = _Entry(5, "NOT_FOUND", 3, "no object has this name or id")
    NO_MATCH = _Entry(6, "NOT_FOUND", 3, "the selector matches no device")
    NOTHING_FITS = _Entry(7, "FAILED_PRECONDITION", 3, "no matching device can run it")
    INVALID_COMPONENT = _Entry(8, "FAILED_PRECONDITION", 4, "a component's file is not valid")
    DIGEST_MISMATCH = _Entry(9, "DATA_LOSS", 4, "the bytes do not match their digest")
    ARTIFACT_UNAVAILABLE = _Entry(10, "FAILED_PRECONDITION", 4, "an artifact is not available")
    ADDRESS_REFUSED = _Entry(
        11, "FAILED_PRECONDITION", 4, "the program may not listen on the address"
    )
    HOME_IN_USE = _Entry(12, "FAILED_PRECONDITION", 4, "another process uses this home")
    STORE_UNUSABLE = _Entry(13, "FAILED_PRECONDITION", 4, "the results store cannot be opened")
    DISK_FULL = _Entry(14, "RESOURCE_EXHAUSTED", 4, "the file system is full")
    FENCED = _Entry(15, "ABORTED", 4, "a message belongs to an unknown or ended attempt")
    ILLEGAL_TRANSITION = _Entry(16, "FAILED_PRECONDITION", 4, "the state transition is not allowed")
    PROTOCOL = _Entry(17, "FAILED_PRECONDITION", 4, "the versions of the peers are not compatible")
    BAD_MESSAGE = _Entry(18, "INVALID_ARGUMENT", 4, "a message exceeds a limit of the protocol")
    BAD_DOCUMENT = _Entry(18, "INVALID_ARGUMENT", 4, "a document is not valid")
    BACK_PRESSURE = _Entry(
        19, "RESOURCE_EXHAUSTED", 4, "the controller is at a limit; try again later"
    )
    BLOB_MISSING = _Entry(20, "NOT_FOUND", 3, "no blob has this digest")
    CONFIGURATION = _Entry(21, "FAILED_PRECONDITION", 2, "a configuration file is not valid")
    JOB_FAILED = _Entry(22, "ABORTED", 1, "a job failed or was invalid")
    INSTALL_MISSING = _Entry(23, "FAILED_PRECONDITION", 4, "a part of Fleetmark is not installed")
    RESERVED = _Entry(24, "FAILED_PRECONDITION", 4, "another operator has reserved the device")
    NO_LOGS = _Entry(26, "NOT_FOUND", 3, "the job has no output to show")
    UNAUTHENTICATED = _Entry(30, "UNAUTHENTICATED", 4, "the caller has no valid credential")
    FORBIDDEN = _Entry(31, "PERMISSION_DENIED", 4, "the caller's role does not allow it")
    NOT_ENROLLED = _Entry(32, "FAILED_PRECONDITION", 4, "the device is not enrolled")
    BAD_TOKEN = _Entry(33, "PERMISSION_DENIED", 4, "the enrollment token is not valid")
    UNTRUSTED = _Entry(34, "FAILED_PRECONDITION", 4, "the identity of the peer is not verified")
    CLOCK_SKEW = _Entry(35, "FAILED_PRECONDITION", 4, "the clocks of the peers differ too much")
    REVOKED = _Entry(36, "PERMISSION_DENIED", 4, "the caller's credential was revoked")
    PENDING = _Entry(37, "FAILED_PRECONDITION", 4, "the device waits for approval")
    TOO_MANY_ATTEMPTS = _Entry(38, "RESOURCE_EXHAUSTED", 4, "too many refused requests")
    IDENTITY_IN_USE = _Entry(39, "FAILED_PRECONDITION", 4, "another agent uses the same identity")
    BAD_SIGNATURE = _Entry(40, "FAILED_PRECONDITION", 4, "the signature is not valid")
    UNSIGNED = _Entry(40, "FAILED_PRECONDITION", 4, "the signature is missing")
    FOREIGN_KEY = _Entry(40, "FAILED_PRECONDITION", 4, "the signing key is not trusted")
    ROLLED_BACK = _Entry(41, "FAILED_PRECONDITION", 4, "the release is older than a known one")
    EXPIRED = _Entry(42, "FAILED_PRECONDITION", 4, "the release has expired")
    NOT_RELEASED = _Entry(43, "FAILED_PRECONDITION", 4, "the release does not contain it")
    MIXED = _Entry(43, "FAILED_PRECONDITION", 4, "order and release do not match")
    NOT_ALLOWED = _Entry(
        44, "FAILED_PRECONDITION", 4, "it does not follow from released components"
    )
    NO_CATALOG_KEY = _Entry(45, "FAILED_PRECONDITION", 4, "the catalog key is not available")
    BAD_ARCHIVE = _Entry(46, "FAILED_PRECONDITION", 4, "a bundle, pack or results file is damaged")
    SUBMISSION_INVALID = _Entry(65, "FAILED_PRECONDITION", 4, "a submission breaks MLPerf's rules")
    BAD_POWER_LOG = _Entry(70, "FAILED_PRECONDITION", 4, "a power log does not match the run")
    DEVICE_UNUSABLE = _Entry(80, "FAILED_PRECONDITION", 4, "a front cannot reach or use the device")

    @property
    def number(self) -> int:
        """The number on the wire."""
        return self.value.number

    @property
    def status(self) -> str:
        """The name of the gRPC status."""
        return self.value.status

    @property
    def exit_code(self) -> int:
        """The exit code of a command that ends with this error."""
        return self.value.exit_code

    @property
    def meaning(self) -> str:
        """One line for the documentation."""
        return self.value.meaning

    @classmethod
    def from_number(cls, number: int) -> ErrorKind:
        """Return the first kind with this number, or INTERNAL for an unknown number.

        A newer peer may send numbers that this version does not know.
        """
        return next((kind for kind in cls if kind.number == number), cls.INTERNAL)


class FleetmarkError(Exception):
    """An error for users: what is wrong, where, and what to do next."""

    def __init__(self, kind: ErrorKind, what: str, where: str = "", next_step: str = "") -> None:
        """Store the parts of the message; texts are complete and have no trailing full stop."""
        super().__init__(what)
        self.kind = kind
        self.what = what
        self.where = where
        self.next_step = next_step

    def __str__(self) -> str:
        """Return all parts as one line."""
        place = f"{self.where}: " if self.where else ""
        advice = f". {self.next_step}" if self.next_step else ""
        return f"{place}{self.what}{advice}"
