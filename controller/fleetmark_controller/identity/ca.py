"""The controller's keys in its home: created once, readable only by their owner."""

from __future__ import annotations

from pathlib import Path

from fleetmark_controller.home.credential_files import CA, FOLDER
from fleetmark_controller.identity import certificates
from fleetmark_controller.identity.certificates import Pair
from fleetmark_core.atomic_file import write_atomic
from fleetmark_core.device_keys import pem_sha256
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.regular_file import read_regular

_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_MAX_PEM_BYTES = 1 << 20


class Authority:
    """The CA and the server certificate of one controller."""

    def __init__(self, home: Path, now_ns: int) -> None:
        """Read the CA, or create it.

        Raises:
            FleetmarkError: CONFIGURATION: the file of the CA is damaged. It is not replaced,
                because every device trusts only this CA.
            OSError: the home cannot be read or written.
        """
        folder = home / FOLDER
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.ca = _read(folder / CA) or _make(folder / CA, now_ns)
        # Not stored, but created at each start: it is never older than the process.
        self.server = certificates.make_server(self.ca, now_ns)
        self.ca_sha256 = pem_sha256(self.ca.certificate)

    @property
    def chain(self) -> bytes:
        """The certificates that the server presents: its own, then the CA's.

        Devices compare the CA certificate with the fingerprint in their token.
        """
        return self.server.certificate + self.ca.certificate


def _read(path: Path) -> Pair | None:
    try:
        key, mark, certificate = read_regular(path, _MAX_PEM_BYTES).partition(_CERTIFICATE)
        pair = Pair(key, mark + certificate)
        certificates.check_pair(pair)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise FleetmarkError(
            ErrorKind.CONFIGURATION,
            "the controller's own key is damaged",
            str(path),
            "Restore it from a backup; without it every device must be enrolled again",
        ) from error
    return pair


def _make(path: Path, now_ns: int) -> Pair:
    pair = certificates.make_ca(now_ns)
    write_atomic(path, pair.key + pair.certificate, private=True)
    return pair
