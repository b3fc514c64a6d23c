"""Sign orders with the controller's order key, which its CA certifies for this purpose only."""

from __future__ import annotations

from pathlib import Path

from fleetmark_controller.home.credential_files import FOLDER
from fleetmark_controller.identity import certificates
from fleetmark_controller.identity.certificates import Pair
from fleetmark_core import signing
from fleetmark_core.atomic_file import write_atomic
from fleetmark_core.errors import FleetmarkError
from fleetmark_core.order import SignedOrder, parse_signed
from fleetmark_core.regular_file import read_regular

_FILE = "orders.pem"
_MAX_PEM_BYTES = 1 << 20
_MARK = b"-----BEGIN CERTIFICATE-----"


class OrderSigner:
    """Signer of orders with the key and certificate in the home's `identity/`."""

    def __init__(self, home: Path, ca: Pair, now_ns: int) -> None:
        """Read the key and its certificate; create them if they are missing or damaged.

        Creating new ones is safe, because devices trust the CA and not this certificate.

        Raises:
            OSError: the home cannot be read or written.
        """
        self.ca = ca.certificate
        path = home / FOLDER / _FILE
        found = _read(path, ca.certificate)
        if found is None:
            key = signing.make_signing_key()
            found = Pair(key, certificates.certify_orders(ca, key, now_ns))
            write_atomic(path, found.key + found.certificate, private=True)
        self._pair = found

    def signed(self, order: bytes) -> bytes:
        """Return the signed envelope of an order, which is canonical JSON.

        Equal orders get equal envelopes.
        """
        signature = signing.sign(signing.ORDER, order, self._pair.key)
        certificate = self._pair.certificate.decode()
        return SignedOrder(1, order.decode(), signature, certificate).canonical()

    def verify_own(self, envelope: bytes) -> bytes | None:
        """Return the order in an envelope if this controller signed it, otherwise None."""
        try:
            found = parse_signed(envelope)
            order = found.signed.encode()
            key = signing.certified_key(found.certificate, self.ca)
            return order if signing.verify(signing.ORDER, order, found.signature, key) else None
        except (FleetmarkError, UnicodeError):
            return None


def _read(path: Path, ca: bytes) -> Pair | None:
    try:
        key, mark, rest = read_regular(path, _MAX_PEM_BYTES).partition(_MARK)
        pair = Pair(key, mark + rest)
        if signing.certified_key(pair.certificate.decode(), ca) != signing.public_key(key):
            return None
    except (FileNotFoundError, ValueError, FleetmarkError):
        # A lost or damaged key can be replaced at no cost, because devices check only the CA.
        return None
    return pair
