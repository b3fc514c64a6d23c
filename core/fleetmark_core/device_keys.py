"""Private keys of devices and operators. A key is created where it is used.

`cryptography` is imported by the functions that need it: an idle agent never loads it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey


def crypto_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that reading untrusted certificates, requests and keys may raise.

    `cryptography` has no common base class for them, and parses some parts only on access.
    """
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    return (
        ValueError,
        TypeError,
        OverflowError,
        InvalidSignature,
        UnsupportedAlgorithm,
        x509.InvalidVersion,
        x509.DuplicateExtension,
        x509.ExtensionNotFound,
        x509.UnsupportedGeneralNameType,
        x509.AttributeNotFound,
    )


def make_key() -> bytes:
    """Return a new private key in PEM (ECDSA on P-256, which every TLS library supports)."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def signing_request(key_pem: bytes) -> bytes:
    """Return a certificate signing request (PKCS #10, DER), signed by the key that it presents.

    The subject is empty: the controller decides which identity the key gets.

    Raises:
        ValueError: `key_pem` is not a PEM private key on an elliptic curve.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    key = _read(key_pem)
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    signed = request.sign(key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.DER)


def sign_document(key_pem: bytes, data: bytes) -> str:
    """Return a device's signature of a document, hexadecimal (ECDSA, SHA-256).

    Raises:
        ValueError: `key_pem` is not a PEM private key on an elliptic curve.
    """
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = serialization.load_pem_private_key(key_pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the private key is not on an elliptic curve")
    return key.sign(data, ec.ECDSA(hashes.SHA256())).hex()


def key_fingerprint(key_pem: bytes) -> str:
    """Return the SHA-256 of the key's public part, as agent and controller show it to users.

    Raises:
        ValueError: `key_pem` is not a PEM private key on an elliptic curve.
    """
    from cryptography.hazmat.primitives import serialization

    return hashlib.sha256(
        _read(key_pem)
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    ).hexdigest()


def _read(key_pem: bytes) -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
    except crypto_errors() as error:
        raise ValueError(f"it is not a private key: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the private key is not on an elliptic curve")
    return key


def pem_sha256(pem: bytes) -> str:
    """Return the SHA-256 of the certificate in a PEM text, as tokens contain it.

    Raises:
        ValueError: `pem` contains no certificate.
    """
    import ssl

    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.decode("ascii"))).hexdigest()
