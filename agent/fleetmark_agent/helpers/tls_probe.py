"""Identify the server at an address before the device sends anything to it.

Only the enrollment helper uses this module, because it loads `ssl` and `cryptography`.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
from datetime import datetime, timezone
from typing import Any

from cryptography import x509

from fleetmark_core.device_keys import crypto_errors
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.tunnel_address import connect, join_address
from fleetmark_protos.channel import SERVER_NAME
from fleetmark_protos.status import unresolved_error

_TIMEOUT_S = 10.0
_CHECK = "Check --controller and the token: another program may listen there"


def trusted_ca(
    host: str, port: int, ca_sha256: str, now: datetime | None = None, *, typed: str = ""
) -> bytes:
    """Return the CA certificate (PEM) of the controller at an address, if it is the expected one.

    Only a TLS handshake is performed: the device sends nothing about itself.

    Args:
        host: name or literal address; an IPv6 literal may be in brackets.
        port: the port to connect to.
        ca_sha256: SHA-256 of the expected controller's CA certificate.
        now: the current time; by default this device's clock.
        typed: HOST:PORT as the user gave it, for messages, if it has another port.

    Raises:
        FleetmarkError: UNREACHABLE; UNTRUSTED: it is another controller; CLOCK_SKEW: it may be the
            expected one, but the certificate is not valid at this device's time.
    """
    where = join_address(host.strip("[]"), port)
    try:
        chain = fetch_chain(host, port)
    except ssl.SSLError as error:
        raise FleetmarkError(
            ErrorKind.UNTRUSTED, f"the server does not use TLS: {error.reason}", where, _CHECK
        ) from error
    except (socket.gaierror, UnicodeError) as error:  # the latter: a name that no host can have
        raise unresolved_error(host, typed or where) from error
    except OSError as error:
        shown = where if typed in ("", where) else f"{typed}, on its port {port} for new devices"
        raise FleetmarkError(
            ErrorKind.UNREACHABLE,
            f"no controller answers at {shown}: {cause_of(error)}",
            next_step="Start one with `controller serve`, or name another with --controller",
        ) from error
    return check_chain(chain, ca_sha256, where, now or datetime.now(timezone.utc))


def cause_of(error: OSError) -> str:
    """Return why a connection failed, in the system's words."""
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    return (error.strerror or str(error)).lower()


def check_chain(chain: list[bytes], ca_sha256: str, where: str, now: datetime) -> bytes:
    """Verify a chain (DER) for digest, signature, name and time; return its CA certificate (PEM).

    Raises:
        FleetmarkError: UNTRUSTED or CLOCK_SKEW.
    """
    found = [der for der in chain[1:4] if hashlib.sha256(der).hexdigest() == ca_sha256]
    if not found:
        shown = hashlib.sha256(chain[-1]).hexdigest()[:16] if chain else "none"
        raise FleetmarkError(
            ErrorKind.UNTRUSTED,
            f"this is not the expected controller: its CA is {shown}…, not {ca_sha256[:16]}…",
            where,
            _CHECK,
        )
    try:
        leaf, ca = (
            x509.load_der_x509_certificate(chain[0]),
            x509.load_der_x509_certificate(found[0]),
        )
        leaf.verify_directly_issued_by(ca)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if SERVER_NAME not in names.get_values_for_type(x509.DNSName):
            raise ValueError("it is not issued for a controller")
        start = max(leaf.not_valid_before_utc, ca.not_valid_before_utc)
        until = min(leaf.not_valid_after_utc, ca.not_valid_after_utc)
    except crypto_errors() as error:
        raise FleetmarkError(
            ErrorKind.UNTRUSTED, f"the certificate is not the controller's: {error}", where, _CHECK
        ) from error
    if not start <= now <= until:
        raise FleetmarkError(
            ErrorKind.CLOCK_SKEW,
            f"this device's clock shows {now:%Y-%m-%d %H:%M} UTC, but the controller's certificate"
            f" is valid from {start:%Y-%m-%d} to {until:%Y-%m-%d}",
            where,
            "Correct the clock that is wrong; the enrollment token is not used up",
        )
    return ssl.DER_cert_to_PEM_cert(found[0]).encode()


def fetch_chain(host: str, port: int) -> list[bytes]:
    """Return the server's certificates as DER, its own first, without verification.

    Raises:
        OSError: no server answers, or it does not speak TLS (ssl.SSLError).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the caller compares fingerprints
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    bare = host.strip("[]")
    with (
        connect(bare, port, _TIMEOUT_S) as raw,
        context.wrap_socket(raw, server_hostname=SERVER_NAME) as secured,
    ):
        return _chain(secured)


def _chain(secured: Any) -> list[bytes]:
    public = getattr(secured, "get_unverified_chain", None)
    if public is not None:
        return [bytes(der) for der in public()]
    # Public since Python 3.13; before, the private SSL object has the same method.
    shown = secured._sslobj.get_unverified_chain() or ()
    return [ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in shown]
