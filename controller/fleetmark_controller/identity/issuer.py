"""Issue certificates signed by the CA, and tokens that carry its fingerprint."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fleetmark_controller.home.credential_files import (
    Credentials,
    admin_file,
    read_credentials,
    write_credentials,
)
from fleetmark_controller.identity import certificates
from fleetmark_controller.identity.ca import Authority
from fleetmark_controller.identity.certificates import SigningRequest
from fleetmark_controller.identity.model import IdentityKind
from fleetmark_core.device_keys import key_fingerprint, make_key, signing_request
from fleetmark_core.errors import FleetmarkError
from fleetmark_protos.token import ID_BYTES, SECRET_BYTES, EnrollmentToken


@dataclass(frozen=True)
class IssuedCertificate:
    """A certificate (PEM) with its times."""

    certificate: bytes
    issued_ns: int
    expires_ns: int


class Issuer:
    """Issuer of certificates and tokens for one CA and one pair of ports."""

    def __init__(self, authority: Authority, device_life_ns: int) -> None:
        """Create an issuer whose ports are not known yet.

        Args:
            authority: the CA.
            device_life_ns: lifetime of device certificates.
        """
        self.authority = authority
        self.catalog_sha256: Callable[[], str] = str
        """Function that returns the fingerprint of the catalog key; empty if there is no key."""
        self.entry_port = 0
        self.session_port = 0
        self._device_life_ns = device_life_ns

    def device(self, request: SigningRequest, device_id: str, now_ns: int) -> IssuedCertificate:
        """Issue a certificate for a device."""
        return self._issue(request, IdentityKind.DEVICE, device_id, now_ns, self._device_life_ns)

    def issue_for_operator(
        self, request: SigningRequest, operator_id: str, now_ns: int, life_ns: int
    ) -> IssuedCertificate:
        """Issue a certificate for an operator."""
        return self._issue(request, IdentityKind.OPERATOR, operator_id, now_ns, life_ns)

    def new_token(self) -> EnrollmentToken:
        """Create a token with a fresh secret. It is valid once it is stored."""
        return EnrollmentToken(
            os.urandom(ID_BYTES).hex(),
            os.urandom(SECRET_BYTES),
            self.authority.ca_sha256,
            self.catalog_sha256(),
            self.entry_port,
        )

    def _issue(
        self,
        request: SigningRequest,
        kind: IdentityKind,
        identity_id: str,
        now_ns: int,
        life_ns: int,
    ) -> IssuedCertificate:
        certificate, expires_ns = certificates.sign(
            self.authority.ca, request, kind, identity_id, now_ns, life_ns
        )
        return IssuedCertificate(certificate, now_ns, expires_ns)


def local_key(home: Path) -> tuple[str, str]:
    """Return the key (PEM) of the credentials in the controller's own home, and its fingerprint.

    The key stays the same over restarts, so that waiting commands survive a restart.
    """
    try:
        key = read_credentials(admin_file(home)).key
        return key, key_fingerprint(key.encode())
    except (FleetmarkError, ValueError, TypeError):
        made = make_key()
        return made.decode(), key_fingerprint(made)


def write_local(
    home: Path, issuer: Issuer, key: str, operator_id: str, address: str, now_ns: int, life_ns: int
) -> None:
    """Write the credentials that give commands on this host the administrator's role.

    Raises:
        OSError: the file cannot be written.
    """
    request = certificates.read_request(signing_request(key.encode()))
    issued = issuer.issue_for_operator(request, operator_id, now_ns, life_ns)
    credentials = Credentials(
        address,
        issuer.authority.ca.certificate.decode(),
        issued.certificate.decode(),
        key,
        "local",
        "admin",
    )
    write_credentials(admin_file(home), credentials)
