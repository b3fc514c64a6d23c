"""The controller's CA: creates, signs and parses certificates. Files are handled in `ca`.

All keys are ECDSA on P-256: BoringSSL, gRPC's TLS library, accepts no Ed25519 certificates unless
it is configured to, and gRPC has no option for that.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fleetmark_controller.identity.model import IdentityKind
from fleetmark_core.clock import NS_PER_S
from fleetmark_core.device_keys import crypto_errors, make_key, pem_sha256
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.signing import ORDERS_URI
from fleetmark_protos.channel import SERVER_NAME

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
"""Start of validity of the CA and the server certificate: devices without a clock start here."""
_CA_YEARS = 30
_SERVER_LIFE = timedelta(days=825)
_BACKDATED = timedelta(days=2)
_MAX_CSR_BYTES = 4096
_URI = "fleetmark:"


@dataclass(frozen=True)
class Pair:
    """A private key and its certificate, both PEM."""

    key: bytes
    certificate: bytes


@dataclass(frozen=True)
class SigningRequest:
    """A signing request with a valid signature: its public key and the key's fingerprint."""

    public_key: ec.EllipticCurvePublicKey
    key_sha256: str


@dataclass(frozen=True)
class Peer:
    """The identity that a client certificate of this controller names."""

    kind: IdentityKind
    identity_id: str
    key_sha256: str
    expires_ns: int


def make_ca(now_ns: int) -> Pair:
    """Create a CA."""
    key = make_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Fleetmark controller CA")])
    private = _private(key)
    builder = (
        _builder(name, name, private.public_key(), _EPOCH, _later(now_ns, _CA_YEARS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False
        )
    )
    return Pair(key, _pem(builder.sign(private, hashes.SHA256())))


def make_server(ca: Pair, now_ns: int) -> Pair:
    """Create a key and a certificate for the controller's ports."""
    key = make_key()
    authority = x509.load_pem_x509_certificate(ca.certificate)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, SERVER_NAME)])
    until = min(_time(now_ns) + _SERVER_LIFE, authority.not_valid_after_utc)
    builder = _leaf(
        _builder(name, authority.subject, _private(key).public_key(), _EPOCH, until),
        authority,
        x509.SubjectAlternativeName([x509.DNSName(SERVER_NAME)]),
        ExtendedKeyUsageOID.SERVER_AUTH,
    )
    return Pair(key, _pem(builder.sign(_private(ca.key), hashes.SHA256())))


def read_request(der: bytes) -> SigningRequest:
    """Parse and verify a signing request.

    Raises:
        FleetmarkError: BAD_MESSAGE: it is not a signing request, or its signature is wrong.
    """
    try:
        if len(der) > _MAX_CSR_BYTES:
            raise ValueError("it is too long")
        request = x509.load_der_x509_csr(der)
        key = request.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
            raise ValueError("its key is not an ECDSA key on P-256")
        if not request.is_signature_valid:
            raise ValueError("its signature is wrong")
    except (
        ValueError,
        TypeError,
        x509.InvalidVersion,
        UnsupportedAlgorithm,
        InvalidSignature,
    ) as error:
        raise FleetmarkError(ErrorKind.BAD_MESSAGE, f"bad signing request: {error}") from error
    return SigningRequest(key, _fingerprint(key))


def check_document(data: bytes, csr: bytes, signature: str) -> SigningRequest:
    """Verify a document that a device wrote into a file; return the key that signed it.

    Args:
        data: the signed bytes.
        csr: a signing request, which proves that the device has the key.
        signature: the signature of `data`, in hexadecimal.

    Raises:
        FleetmarkError: BAD_MESSAGE or BAD_SIGNATURE.
    """
    request = read_request(csr)
    try:
        request.public_key.verify(bytes.fromhex(signature), data, ec.ECDSA(hashes.SHA256()))
    except (ValueError, InvalidSignature) as error:
        raise FleetmarkError(
            ErrorKind.BAD_SIGNATURE,
            "the document was changed after the device signed it",
        ) from error
    return request


def sign(
    ca: Pair,
    request: SigningRequest,
    kind: IdentityKind,
    identity_id: str,
    now_ns: int,
    life_ns: int,
) -> tuple[bytes, int]:
    """Return a client certificate (PEM) for a key, and its end of validity (unix ns)."""
    authority = x509.load_pem_x509_certificate(ca.certificate)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{kind.value} {identity_id}"[:64])])
    start = _time(now_ns)
    until = min(start + timedelta(microseconds=life_ns // 1000), authority.not_valid_after_utc)
    uri = x509.UniformResourceIdentifier(f"{_URI}{kind.value}:{identity_id}")
    builder = _leaf(
        _builder(name, authority.subject, request.public_key, start - _BACKDATED, until),
        authority,
        x509.SubjectAlternativeName([uri]),
        ExtendedKeyUsageOID.CLIENT_AUTH,
    )
    certificate = _pem(builder.sign(_private(ca.key), hashes.SHA256()))
    # Fill the cache: the client presents its certificate soon, perhaps with a thousand others.
    read_peer(certificate)
    return certificate, int(until.timestamp()) * NS_PER_S


def certify_orders(ca: Pair, key_pem: bytes, now_ns: int) -> bytes:
    """Return a certificate (PEM) that names an Ed25519 key as the key that signs orders."""
    authority = x509.load_pem_x509_certificate(ca.certificate)
    key = serialization.load_pem_private_key(key_pem, password=None)
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Fleetmark orders")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_EPOCH)
        .not_valid_after(min(_later(now_ns, _CA_YEARS), authority.not_valid_after_utc))
    )
    uri = x509.UniformResourceIdentifier(ORDERS_URI)
    builder = _leaf(
        builder, authority, x509.SubjectAlternativeName([uri]), ExtendedKeyUsageOID.CODE_SIGNING
    )
    return _pem(builder.sign(_private(ca.key), hashes.SHA256()))


@lru_cache(maxsize=20_000)
def read_peer(certificate: bytes) -> Peer:
    """Return the identity in a client certificate whose chain TLS has verified.

    Raises:
        FleetmarkError: UNAUTHENTICATED: it is not a client certificate of this controller.
    """
    try:
        found = x509.load_pem_x509_certificate(certificate)
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
        prefix, kind, identity_id = uri.split(":", 2)
        if f"{prefix}:" != _URI or not identity_id:
            raise ValueError(uri)
        key = found.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise ValueError("the key is not an elliptic curve key")
        expires = found.not_valid_after_utc
        return Peer(
            IdentityKind(kind), identity_id, _fingerprint(key), int(expires.timestamp()) * NS_PER_S
        )
    except crypto_errors() as error:
        raise FleetmarkError(
            ErrorKind.UNAUTHENTICATED,
            "the certificate does not name a Fleetmark device or operator",
        ) from error


def expires_ns(certificate: bytes) -> int:
    """Return the end of validity of a certificate (PEM), in unix ns."""
    found = x509.load_pem_x509_certificate(certificate)
    return int(found.not_valid_after_utc.timestamp()) * NS_PER_S


def check_pair(pair: Pair) -> None:
    """Check that a key and a certificate are usable and belong together.

    Raises:
        ValueError: they are damaged, of another kind, or do not belong together.
    """
    try:
        key = _private(pair.key)
        found = x509.load_pem_x509_certificate(pair.certificate)
        if key.public_key() != found.public_key():
            raise ValueError("key and certificate do not belong together")
        pem_sha256(pair.certificate)
        # These fields are needed when a certificate is signed. Fail now instead.
        _ = (found.subject, found.not_valid_after_utc)
    except crypto_errors() as error:
        raise ValueError(str(error)) from error


def _fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(der).hexdigest()


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    start: datetime,
    until: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(until)
    )


def _leaf(
    builder: x509.CertificateBuilder,
    authority: x509.Certificate,
    names: x509.SubjectAlternativeName,
    purpose: x509.ObjectIdentifier,
) -> x509.CertificateBuilder:
    key = authority.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=True)
        .add_extension(names, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key), critical=False)
    )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _private(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the key is not an elliptic curve key")
    return key


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _time(unix_ns: int) -> datetime:
    return datetime.fromtimestamp(unix_ns / NS_PER_S, timezone.utc)


def _later(now_ns: int, years: int) -> datetime:
    return _time(now_ns) + timedelta(days=365 * years)
