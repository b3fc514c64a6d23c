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

    INTERNAL = _Entry(1, "INTERNAL", 4, "a fault of the program itself")
    UNREACHABLE = _Entry(2, "UNAVAILABLE", 5, "no controller answers at the address")
    USAGE = _Entry(3, "INVALID_ARGUMENT", 2, "a word or value that is not allowed")
    UNKNOWN_WORD = _Entry(4, "INVALID_ARGUMENT", 2, "a selector names what no device has")
    NOT_FOUND = _Entry(5, "NOT_FOUND", 3, "nothing has this name or id")
    NO_MATCH = _Entry(6, "NOT_FOUND", 3, "the selector matches no device")
    NOTHING_FITS = _Entry(7, "FAILED_PRECONDITION", 3, "no matching device can run it")
    INVALID_COMPONENT = _Entry(8, "FAILED_PRECONDITION", 4, "a component's file is not valid")
    DIGEST_MISMATCH = _Entry(9, "DATA_LOSS", 4, "bytes are not those that were named")
    ARTIFACT_UNAVAILABLE = _Entry(10, "FAILED_PRECONDITION", 4, "an artefact cannot be obtained")
    ADDRESS_REFUSED = _Entry(11, "FAILED_PRECONDITION", 4, "the address may not be listened on")
    HOME_IN_USE = _Entry(12, "FAILED_PRECONDITION", 4, "another process holds this home")
    STORE_UNUSABLE = _Entry(13, "FAILED_PRECONDITION", 4, "the results store cannot be opened")
    DISK_FULL = _Entry(14, "RESOURCE_EXHAUSTED", 4, "no room on the file system")
    FENCED = _Entry(15, "ABORTED", 4, "a message of an attempt that the controller does not know")
    ILLEGAL_TRANSITION = _Entry(16, "FAILED_PRECONDITION", 4, "a state cannot follow another")
    PROTOCOL = _Entry(17, "FAILED_PRECONDITION", 4, "the two sides' versions do not work together")
    BAD_MESSAGE = _Entry(18, "INVALID_ARGUMENT", 4, "a message breaks the protocol's limits")
    BAD_DOCUMENT = _Entry(18, "INVALID_ARGUMENT", 4, "a document is not what it should be")
    BACK_PRESSURE = _Entry(19, "RESOURCE_EXHAUSTED", 4, "the controller takes no more just now")
    BLOB_MISSING = _Entry(20, "NOT_FOUND", 3, "no blob has this digest")
    CONFIGURATION = _Entry(21, "FAILED_PRECONDITION", 2, "a configuration file is not valid")
    JOB_FAILED = _Entry(22, "ABORTED", 1, "a job failed or was invalid")
    INSTALL_MISSING = _Entry(23, "FAILED_PRECONDITION", 4, "a part of Fleetmark is not installed")
    RESERVED = _Entry(24, "FAILED_PRECONDITION", 4, "somebody else has reserved the device")
    NO_LOGS = _Entry(26, "NOT_FOUND", 3, "the job has written nothing that could be shown")
    UNAUTHENTICATED = _Entry(30, "UNAUTHENTICATED", 4, "the caller has no credential that counts")
    FORBIDDEN = _Entry(31, "PERMISSION_DENIED", 4, "the caller's role does not allow it")
    NOT_ENROLLED = _Entry(32, "FAILED_PRECONDITION", 4, "this board has no identity yet")
    BAD_TOKEN = _Entry(33, "PERMISSION_DENIED", 4, "a join token that does not count")
    UNTRUSTED = _Entry(34, "FAILED_PRECONDITION", 4, "the other side is not whom it should be")
    CLOCK_SKEW = _Entry(35, "FAILED_PRECONDITION", 4, "the clocks of the two sides differ too much")
    REVOKED = _Entry(36, "PERMISSION_DENIED", 4, "the caller's credential was revoked")
    PENDING = _Entry(37, "FAILED_PRECONDITION", 4, "the device waits for approval")
    TOO_MANY_ATTEMPTS = _Entry(38, "RESOURCE_EXHAUSTED", 4, "too many refused attempts")
    IDENTITY_IN_USE = _Entry(39, "FAILED_PRECONDITION", 4, "another agent has the same identity")
    BAD_SIGNATURE = _Entry(40, "FAILED_PRECONDITION", 4, "it is not signed by the key that counts")
    UNSIGNED = _Entry(40, "FAILED_PRECONDITION", 4, "it carries no signature")
    FOREIGN_KEY = _Entry(40, "FAILED_PRECONDITION", 4, "it is signed by a key that does not count")
    ROLLED_BACK = _Entry(41, "FAILED_PRECONDITION", 4, "a release older than one seen before")
    EXPIRED = _Entry(42, "FAILED_PRECONDITION", 4, "a release whose time is over")
    NOT_RELEASED = _Entry(43, "FAILED_PRECONDITION", 4, "no release names it")
    MIXED = _Entry(43, "FAILED_PRECONDITION", 4, "order and release do not belong together")
    NOT_ALLOWED = _Entry(44, "FAILED_PRECONDITION", 4, "it does not follow from its components")
    NO_CATALOG_KEY = _Entry(45, "FAILED_PRECONDITION", 4, "the catalog key is not at hand")
    BAD_ARCHIVE = _Entry(46, "FAILED_PRECONDITION", 4, "a bundle, pack or results file is damaged")
    SUBMISSION_INVALID = _Entry(65, "FAILED_PRECONDITION", 4, "a submission breaks MLPerf's rules")
    BAD_POWER_LOG = _Entry(70, "FAILED_PRECONDITION", 4, "a log of power does not fit the run")

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
