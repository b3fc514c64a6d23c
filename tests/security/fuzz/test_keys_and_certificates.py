"""Whatever others show as a certificate, a signing request, a key or a credential."""

from __future__ import annotations

import json
import ssl
import tempfile
import time
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_agent.helpers.enroll import read_key
from fleetmark_agent.helpers.tls_probe import check_chain
from fleetmark_agent.state.identity import device_id, load_enrollment
from fleetmark_controller.home.credential_files import (
    Credentials,
    read_credentials,
    write_credentials,
)
from fleetmark_controller.identity import certificates
from fleetmark_controller.identity.ca import Authority
from fleetmark_controller.identity.model import IdentityKind
from fleetmark_core.device_keys import key_fingerprint, make_key, signing_request
from fleetmark_core.digest import sha256_hex
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_protos.token import EnrollmentToken, TokenError, parse_token
from tests.security.fuzz.damage import damaged, damaged_text, documents

NOW = time.time_ns()
CA = certificates.make_ca(NOW)
KEY = make_key()
REQUEST = signing_request(KEY)
SIGNED, _ = certificates.sign(
    CA, certificates.read_request(REQUEST), IdentityKind.DEVICE, "d1", NOW, 10**15
)
SERVER = certificates.make_server(CA, NOW)


def der(pem: bytes) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pem.decode())


def pem(data: bytes) -> bytes:
    return ssl.DER_cert_to_PEM_cert(data).encode()


@pytest.mark.fuzz("signing request")
@given(damaged(REQUEST))
def test_a_damaged_signing_request_is_refused(data: bytes) -> None:
    try:
        found = certificates.read_request(data)
    except FleetmarkError as error:
        assert error.kind is ErrorKind.BAD_MESSAGE
        return
    assert found.key_sha256 == key_fingerprint(KEY), "only what is not signed may differ"


@pytest.mark.fuzz("certificate of a caller")
@given(damaged(der(SIGNED)).map(pem) | damaged(SIGNED))
def test_a_damaged_certificate_names_one_identity_or_is_refused(data: bytes) -> None:
    # What TLS has verified is never damaged; a thief of the CA's key may sign anything.
    try:
        found = certificates.read_peer.__wrapped__(data)
    except FleetmarkError as error:
        assert error.kind is ErrorKind.UNAUTHENTICATED
        return
    assert found.identity_id and isinstance(found.expires_ns, int)


@pytest.mark.fuzz("certificates that a server shows to a device")
@given(damaged(der(SERVER.certificate)), damaged(der(CA.certificate)), st.integers(0, 2))
def test_a_damaged_chain_is_trusted_only_if_it_is_the_right_one(
    leaf: bytes, ca: bytes, which: int
) -> None:
    good = (der(SERVER.certificate), der(CA.certificate))
    chain = [(leaf, good[1]), (good[0], ca), (leaf, ca)][which]
    # The fingerprint in the token may be of nonsense, too: then only the rest protects.
    for fingerprint in (sha256_hex(good[1]), sha256_hex(chain[1])):
        try:
            found = check_chain(list(chain), fingerprint, "there", datetime.now(timezone.utc))
        except FleetmarkError as error:
            assert error.kind in (ErrorKind.UNTRUSTED, ErrorKind.CLOCK_SKEW)
            continue
        assert der(found) == chain[1]


@pytest.mark.fuzz("key file")
@given(damaged(KEY))
def test_a_damaged_key_is_a_key_or_a_plain_error(data: bytes) -> None:
    for read in (signing_request, key_fingerprint):
        with suppress(ValueError):
            read(data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "key.pem"
        path.write_bytes(data)
        try:
            assert signing_request(read_key(path))
        except FleetmarkError as error:
            assert error.kind is ErrorKind.CONFIGURATION and str(path) in str(error)


@pytest.mark.fuzz("the controller's CA file")
@given(damaged(CA.key + CA.certificate))
def test_a_damaged_ca_is_named_as_such(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "identity" / "ca.pem"
        path.parent.mkdir()
        path.write_bytes(data)
        try:
            Authority(Path(folder), NOW)
        except FleetmarkError as error:
            assert error.kind is ErrorKind.CONFIGURATION and str(path) in str(error)
        assert path.read_bytes() == data, "it is never replaced"


@pytest.mark.fuzz("join token")
@given(damaged_text(EnrollmentToken("01" * 8, bytes(20), "ab" * 32, "", 7118).text()))
def test_a_damaged_token_is_refused(text: str) -> None:
    good = EnrollmentToken("01" * 8, bytes(20), "ab" * 32, "", 7118)
    try:
        assert parse_token(text) == good
    except TokenError as error:
        assert len(str(error)) < 200


def credentials() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        made = Credentials(
            "h:1", CA.certificate.decode(), SIGNED.decode(), KEY.decode(), "alice", "viewer"
        )
        write_credentials(Path(folder) / "c", made)
        return (Path(folder) / "c").read_bytes()


@pytest.mark.fuzz("credentials file")
@given(documents(credentials()))
def test_a_damaged_credentials_file_is_named_as_such(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.json"
        path.write_bytes(data)
        try:
            found = read_credentials(path)
        except FleetmarkError as error:
            assert error.kind is ErrorKind.CONFIGURATION and str(path) in str(error)
            return
        assert all(isinstance(value, str) for value in vars(found).values())


ENROLLMENT = {
    "state": "active",
    "address": "h:1",
    "entry_port": 2,
    "ca_sha256": "ab" * 32,
    "catalog_sha256": "",
    "issued_ns": 1,
    "expires_ns": 10**18,
}


@pytest.mark.fuzz("the device's enrollment and id")
@given(documents(json.dumps(ENROLLMENT).encode()), documents(b'{"device_id": "%s"}' % (b"0" * 32)))
def test_a_device_names_its_damaged_files(enrollment: bytes, device: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "identity"
        place.mkdir()
        (place / "enrolment.json").write_bytes(enrollment)
        (place / "device.json").write_bytes(device)
        for read in (load_enrollment, device_id):
            try:
                found = read(Path(folder))
            except FleetmarkError as error:
                assert error.kind is ErrorKind.CONFIGURATION and str(place) in str(error)
                continue
            if read is load_enrollment:
                assert isinstance(found.renew_ns, int)  # type: ignore[union-attr]
