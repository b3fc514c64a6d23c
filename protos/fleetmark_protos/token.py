"""Enrollment tokens, which a controller issues and a device presents, as one line of text.

A token contains more than its secret: the fingerprint of the controller's CA, so that the device
can authenticate the controller before it sends anything; the fingerprint of the catalog key; and
the port of the services that accept the token. Format 1 is `fleetmark1.` and the base64url text of

    id (8 bytes), secret (20), sha256 of the CA certificate (32), sha256 of the catalog key
    (32, zeros: none yet), port (2, big-endian), first 4 bytes of the sha256 of all before
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from dataclasses import dataclass

PREFIX = "fleetmark1."
ID_BYTES = 8
SECRET_BYTES = 20
_FORMAT = struct.Struct(f">{ID_BYTES}s{SECRET_BYTES}s32s32sH")
_CHECK_BYTES = 4
_MAX_TEXT = 400
_NO_KEY = bytes(32)


class TokenError(ValueError):
    """Raised for a text that is not an enrollment token; the message never contains it."""


@dataclass(frozen=True)
class EnrollmentToken:
    """The parts of a token. `catalog_sha256` is empty if the controller had no catalog key."""

    token_id: str
    secret: bytes
    ca_sha256: str
    catalog_sha256: str
    entry_port: int

    def __repr__(self) -> str:
        """Return a text without the secret, so that a logged token cannot be used."""
        return f"JoinToken({self.token_id})"

    def text(self) -> str:
        """Return the token as the line that operators paste."""
        packed = _FORMAT.pack(
            bytes.fromhex(self.token_id),
            self.secret,
            bytes.fromhex(self.ca_sha256),
            bytes.fromhex(self.catalog_sha256) or _NO_KEY,
            self.entry_port,
        )
        whole = packed + hashlib.sha256(packed).digest()[:_CHECK_BYTES]
        return PREFIX + base64.urlsafe_b64encode(whole).decode().rstrip("=")


def parse_token(text: str) -> EnrollmentToken:
    """Parse the text of a token.

    Raises:
        BadToken: not a token, truncated, mistyped, or of a newer format.
    """
    text = text.strip()
    if not text.startswith(PREFIX):
        if text.startswith("fleetmark"):
            raise TokenError("the enrollment token has a newer format: update this program")
        raise TokenError(f"the text is not an enrollment token, which begins with {PREFIX!r}")
    body = text[len(PREFIX) :]
    if len(text) > _MAX_TEXT or not body.isascii():
        raise TokenError(
            "the enrollment token is mistyped: it is too long or contains invalid characters"
        )
    try:
        whole = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise TokenError("the enrollment token is mistyped") from error
    if len(whole) != _FORMAT.size + _CHECK_BYTES:
        raise TokenError("the enrollment token is truncated or too long")
    packed, check = whole[: _FORMAT.size], whole[_FORMAT.size :]
    if hashlib.sha256(packed).digest()[:_CHECK_BYTES] != check:
        raise TokenError("the enrollment token is mistyped")
    token_id, secret, ca, catalog, port = _FORMAT.unpack(packed)
    return EnrollmentToken(
        token_id.hex(), secret, ca.hex(), "" if catalog == _NO_KEY else catalog.hex(), port
    )
