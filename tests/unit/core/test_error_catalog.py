"""The error catalog is complete, unambiguous and survives the wire."""

from __future__ import annotations

import grpc
import pytest

from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_protos.status import DETAIL_KEY, from_rpc_error
from fleetmark_protos.v1.common_pb2 import ErrorDetail

# Numbers are promises: a released one never changes its meaning.
NUMBERS = {
    "INTERNAL": 1,
    "UNREACHABLE": 2,
    "USAGE": 3,
    "UNKNOWN_WORD": 4,
    "NOT_FOUND": 5,
    "NO_MATCH": 6,
    "NOTHING_FITS": 7,
    "INVALID_COMPONENT": 8,
    "DIGEST_MISMATCH": 9,
    "ARTIFACT_UNAVAILABLE": 10,
    "ADDRESS_REFUSED": 11,
    "HOME_IN_USE": 12,
    "STORE_UNUSABLE": 13,
    "DISK_FULL": 14,
    "FENCED": 15,
    "ILLEGAL_TRANSITION": 16,
    "PROTOCOL": 17,
    "BAD_MESSAGE": 18,
    "BAD_DOCUMENT": 18,
    "BACK_PRESSURE": 19,
    "BLOB_MISSING": 20,
    "CONFIGURATION": 21,
    "JOB_FAILED": 22,
    "INSTALL_MISSING": 23,
    "RESERVED": 24,
    "NO_LOGS": 26,
    "UNAUTHENTICATED": 30,
    "FORBIDDEN": 31,
    "NOT_ENROLLED": 32,
    "BAD_TOKEN": 33,
    "UNTRUSTED": 34,
    "CLOCK_SKEW": 35,
    "REVOKED": 36,
    "PENDING": 37,
    "TOO_MANY_ATTEMPTS": 38,
    "IDENTITY_IN_USE": 39,
    "BAD_SIGNATURE": 40,
    "UNSIGNED": 40,
    "FOREIGN_KEY": 40,
    "ROLLED_BACK": 41,
    "EXPIRED": 42,
    "NOT_RELEASED": 43,
    "MIXED": 43,
    "NOT_ALLOWED": 44,
    "NO_CATALOG_KEY": 45,
    "BAD_ARCHIVE": 46,
    "SUBMISSION_INVALID": 65,
    "BAD_POWER_LOG": 70,
    "DEVICE_UNUSABLE": 80,
}
# On the wire these are the kinds that they narrow.
NARROWER = {
    "BAD_DOCUMENT": "BAD_MESSAGE",
    "UNSIGNED": "BAD_SIGNATURE",
    "FOREIGN_KEY": "BAD_SIGNATURE",
    "MIXED": "NOT_RELEASED",
}


def test_numbers_never_change() -> None:
    assert {kind.name: kind.number for kind in ErrorKind} == NUMBERS


@pytest.mark.parametrize("kind", ErrorKind)
def test_every_kind_has_a_grpc_status_a_designed_exit_code_and_a_meaning(kind: ErrorKind) -> None:
    assert hasattr(grpc.StatusCode, kind.status)
    assert kind.exit_code in {1, 2, 3, 4, 5}
    assert kind.meaning
    read = ErrorKind.from_number(kind.number)
    assert read.name == NARROWER.get(kind.name, kind.name)
    assert (read.status, read.exit_code) == (kind.status, kind.exit_code)


def test_an_unknown_number_of_a_newer_side_is_an_internal_error() -> None:
    assert ErrorKind.from_number(9999) is ErrorKind.INTERNAL


class _RpcError(grpc.RpcError):
    def __init__(self, code: grpc.StatusCode, metadata: tuple[tuple[str, bytes], ...] = ()) -> None:
        self._code, self._metadata = code, metadata

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return "details"

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        return self._metadata


@pytest.mark.parametrize("kind", ErrorKind)
def test_every_kind_survives_the_wire(kind: ErrorKind) -> None:
    detail = ErrorDetail(code=kind.number, what="w", where="x", next_step="n")
    error = from_rpc_error(
        _RpcError(grpc.StatusCode.UNKNOWN, ((DETAIL_KEY, detail.SerializeToString()),)), "a:1"
    )
    assert error.kind.name == NARROWER.get(kind.name, kind.name)
    assert (error.what, error.where, error.next_step) == ("w", "x", "n")
    assert str(error) == "x: w. n"


def test_silence_means_unreachable_and_says_what_to_do() -> None:
    error = from_rpc_error(_RpcError(grpc.StatusCode.UNAVAILABLE), "10.0.0.1:7117")
    assert error.kind is ErrorKind.UNREACHABLE
    assert "10.0.0.1:7117" in str(error)
    assert "controller serve" in str(error)


def test_garbage_in_the_metadata_is_ignored() -> None:
    error = from_rpc_error(
        _RpcError(grpc.StatusCode.UNAVAILABLE, ((DETAIL_KEY, b"\xff\xff"),)), "a:1"
    )
    assert error.kind is ErrorKind.UNREACHABLE


def test_an_error_without_place_or_advice_is_just_its_text() -> None:
    assert str(FleetmarkError(ErrorKind.USAGE, "what")) == "what"
