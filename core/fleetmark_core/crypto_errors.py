"""What reading others' certificates, signing requests and keys may raise.

`cryptography` has no common base for it, and looks at parts only when they are asked for. Loads
`cryptography`: not for an idle agent.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

UNREADABLE: tuple[type[Exception], ...] = (
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
