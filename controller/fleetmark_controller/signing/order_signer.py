"""Signs orders with the controller's own key, which its CA certifies for that and nothing else."""

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
    """The key and its certificate, in the home's `identity/`."""

    def __init__(self, home: Path, ca: Pair, now_ns: int) -> None:
        """Read them, or make them: they vouch for nothing but what this CA vouches for.

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
        """The envelope of an order, which is canonical JSON. The same order has the same one."""
        signature = signing.sign(signing.ORDER, order, self._pair.key)
        certificate = self._pair.certificate.decode()
        return SignedOrder(1, order.decode(), signature, certificate).canonical()

    def own(self, envelope: bytes) -> bytes | None:
        """The order in an envelope that this controller once made; None if it is not its own."""
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
        # Lost or damaged: a new one costs nothing, for boards look at the CA alone.
        return None
    return pair
