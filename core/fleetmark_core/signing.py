"""Ed25519 keys and signatures over named kinds of documents.

What is signed is always the kind's name, a zero byte and the document's exact bytes, so that a
signature of one kind never counts for another. `cryptography` is imported when a function needs it.
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
"""Kinds of documents that are signed."""
_KEY_BYTES = 32
_SIGNATURE_BYTES = 64


def make_signing_key() -> bytes:
    """A new private key, PEM."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def public_key(key_pem: bytes) -> str:
    """The public part of a private key: its 32 bytes, hexadecimal.

    Raises:
        ValueError: it is no Ed25519 key.
    """
    from cryptography.hazmat.primitives import serialization

    public = _private(key_pem).public_key()
    raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return raw.hex()


@lru_cache(maxsize=64)
def fingerprint(public: str) -> str:
    """sha256 of a public key's bytes: what boards pin, and people compare.

    Raises:
        FleetmarkError: BAD_DOCUMENT: it is no public key.
    """
    return hashlib.sha256(_bytes(public, _KEY_BYTES)).hexdigest()


def sign(kind: str, data: bytes, key_pem: bytes) -> str:
    """The signature of a document, hexadecimal. The same key and bytes have the same one.

    Raises:
        ValueError: it is no Ed25519 key.
    """
    return _private(key_pem).sign(signed_bytes(kind, data)).hex()


def verify(kind: str, data: bytes, signature: str, public: str) -> bool:
    """Whether the signature is that of the key's owner under exactly this document.

    Raises:
        FleetmarkError: BAD_DOCUMENT: key or signature are none.
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
    """What a signature covers."""
    return kind.encode() + b"\0" + data


def _private(key_pem: bytes) -> Ed25519PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError("it is no private key") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("it is no Ed25519 key")
    return key


def _bytes(text: str, length: int) -> bytes:
    try:
        found = bytes.fromhex(text)
    except (ValueError, TypeError) as error:
        raise FleetmarkError(
            ErrorKind.BAD_DOCUMENT, "a key or signature is not hexadecimal"
        ) from error
    if len(found) != length:
        raise FleetmarkError(ErrorKind.BAD_DOCUMENT, f"a key or signature has {len(found)} bytes")
    return found


ORDERS_URI = "fleetmark:orders"
"""What a controller's CA calls the key that signs its orders."""


def certified_key(certificate_pem: str, ca_pem: bytes) -> str:
    """The public key that a CA certifies for orders; nothing else that it signed counts.

    How long the certificate lives is not looked at: boards may have no clock, and an order is good
    as long as its release is.

    Raises:
        FleetmarkError: FOREIGN_KEY: another CA signed it, or for another purpose.
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
            raise ValueError("it is not for orders")
    except (
        *(ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm),
        x509.ExtensionNotFound,
    ) as error:
        raise FleetmarkError(
            ErrorKind.FOREIGN_KEY,
            "the order is signed with a key that this board's controller has not certified",
        ) from error
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return raw.hex()
