"""Ed25519 keys, and signatures of documents of a named kind.

The signed bytes are always the kind's name, a zero byte and the document's exact bytes, so that a
signature of one kind is not valid for another kind. `cryptography` is imported by the functions
that need it.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING

from fleetmark_core.errors import ErrorKind, FleetmarkError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

RELEASE, ROTATION, ORDER, RESULTS = (
    "fleetmark release 1",
    "fleetmark key rotation 1",
    "fleetmark order 1",
    "fleetmark results 1",
)
"""Kinds of signed documents."""
_KEY_BYTES = 32
_SIGNATURE_BYTES = 64
ORDERS_URI = "fleetmark:orders"
"""Name in the certificate that a controller's CA issues for the key that signs orders."""


def make_signing_key() -> bytes:
    """Return a new private key in PEM."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def public_key(key_pem: bytes) -> str:
    """Return the public part of a private key: its 32 bytes, hexadecimal.

    Raises:
        ValueError: `key_pem` is not an Ed25519 private key.
    """
    from cryptography.hazmat.primitives import serialization

    public = _private(key_pem).public_key()
    raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return raw.hex()


@lru_cache(maxsize=64)
def fingerprint(public: str) -> str:
    """Return the SHA-256 of a public key's bytes, which devices pin and operators compare.

    Raises:
        FleetmarkError: BAD_DOCUMENT: `public` is not a public key.
    """
    return hashlib.sha256(_bytes(public, _KEY_BYTES)).hexdigest()


def sign(kind: str, data: bytes, key_pem: bytes) -> str:
    """Return the signature of a document, hexadecimal. It is deterministic.

    Raises:
        ValueError: `key_pem` is not an Ed25519 private key.
    """
    return _private(key_pem).sign(signed_bytes(kind, data)).hex()


def verify(kind: str, data: bytes, signature: str, public: str) -> bool:
    """Return whether `signature` is the key's signature of exactly this document.

    Raises:
        FleetmarkError: BAD_DOCUMENT: key or signature are malformed.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    key = Ed25519PublicKey.from_public_bytes(_bytes(public, _KEY_BYTES))
    try:
        key.verify(_bytes(signature, _SIGNATURE_BYTES), signed_bytes(kind, data))
    except InvalidSignature:
        return False
    return True


def signed_bytes(kind: str, data: bytes) -> bytes:
    """Return the bytes that a signature covers."""
    return kind.encode() + b"\0" + data


def _private(key_pem: bytes) -> Ed25519PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError("it is not a private key") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("it is not an Ed25519 key")
    return key


def _bytes(text: str, length: int) -> bytes:
    try:
        found = bytes.fromhex(text)
    except (ValueError, TypeError) as error:
        raise FleetmarkError(
            ErrorKind.BAD_DOCUMENT, "a key or signature is not hexadecimal"
        ) from error
    if len(found) != length:
        what = f"a key or signature has {len(found)} bytes, expected {length}"
        raise FleetmarkError(ErrorKind.BAD_DOCUMENT, what)
    return found


def certified_key(certificate_pem: str, ca_pem: bytes) -> str:
    """Return the public key that a CA certified for signing orders.

    Other certificates of the same CA are not accepted. The validity period is not checked: devices
    may have no clock, and an order is valid as long as its release is.

    Raises:
        FleetmarkError: FOREIGN_KEY: the certificate is from another CA, or for another purpose.
    """
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        found = x509.load_pem_x509_certificate(certificate_pem.encode())
        found.verify_directly_issued_by(x509.load_pem_x509_certificate(ca_pem))
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        key = found.public_key()
        if uris != [ORDERS_URI] or not isinstance(key, Ed25519PublicKey):
            raise ValueError("it is not a certificate for orders")
    except (
        *(ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm),
        x509.ExtensionNotFound,
    ) as error:
        raise FleetmarkError(
            ErrorKind.FOREIGN_KEY,
            "the order is signed with a key that this device's controller has not certified",
        ) from error
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return raw.hex()
