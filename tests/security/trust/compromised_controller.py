"""A controller under an attacker's control: the real one, with its keys and changed orders.

It has its CA's key and the key of its orders; the catalog key is not on its host. Which attack the
next offers carry stands in `attack` of its home; what he made stands in `loot`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from fleetmark_controller.api import blobs, serde, session
from fleetmark_controller.engine import release_manager
from fleetmark_controller.identity import certificates
from fleetmark_controller.operations.effects import OfferEffect
from fleetmark_controller.signing.order_signer import OrderSigner
from fleetmark_core import signing
from fleetmark_core.clock import now_unix_ns
from fleetmark_core.digest import sha256_hex
from fleetmark_core.lockfile import parse_lockfile
from fleetmark_core.order import SignedOrder
from fleetmark_core.release import Envelope, Rotation, parse_envelope, parse_release, seal_release
from fleetmark_protos.v1 import session_pb2

HOME = Path(sys.argv[sys.argv.index("--home") + 1])
MINE = signing.make_signing_key()
EVIL = b"from pathlib import Path\nPath(%r).touch()\n"


class Attacker:
    """Changes an order before it is sent."""

    def __init__(self, order: dict[str, Any], signer: OrderSigner) -> None:
        self.order = order
        self.signer = signer
        self.folder = HOME / "blobs"

    def put(self, data: bytes) -> tuple[str, int]:
        from fleetmark_core.blob_store import BlobFolder

        return BlobFolder(self.folder).put_bytes(data), len(data)

    def blob(self, sha256: str) -> bytes:
        return (self.folder / "sha256" / sha256[:2] / sha256).read_bytes()

    def signed(self) -> bytes:
        return self.signer.signed(_canonical(self.order))

    def with_release(self, data: bytes, serial: int | None = None) -> bytes:
        sha256, size = self.put(data)
        self.order |= {"release_sha256": sha256, "release_bytes": size}
        if serial is not None:
            self.order["release_serial"] = serial
        return self.signed()

    def with_lock(self, lock: dict[str, Any]) -> bytes:
        data = _canonical(lock)
        sha256, size = self.put(data)
        self.order |= {"lock_sha256": sha256, "lock_bytes": size}
        return self.signed()

    def lock(self) -> dict[str, Any]:
        return parse_lockfile(self.blob(self.order["lock_sha256"])).plain()

    def release(self) -> Envelope:
        return parse_envelope(self.blob(self.order["release_sha256"]))

    def harmful_file(self) -> dict[str, Any]:
        sha256, size = self.put(EVIL % str(HOME.parent / "marks" / "evil"))
        return {"name": "main.py", "sha256": sha256, "size_bytes": size}

    # --- the attacks ---

    def unsigned_order(self) -> bytes:
        return _canonical(self.order)

    def foreign_controller(self) -> bytes:
        ca = certificates.make_ca(now_unix_ns())
        key = signing.make_signing_key()
        shown = certificates.certify_orders(ca, key, now_unix_ns()).decode()
        text = _canonical(self.order)
        return SignedOrder(
            1, text.decode(), signing.sign(signing.ORDER, text, key), shown
        ).canonical()

    def changed_order(self) -> bytes:
        values = json.loads(self.signed())
        values["signed"] = values["signed"].replace('"timeout_s":', '"timeout_s":1')
        return _canonical(values)

    def order_without_release(self) -> bytes:
        self.order |= {"release_sha256": "", "release_serial": 0, "release_bytes": 0}
        for name in ("release_sha256", "release_serial", "release_bytes"):
            del self.order[name]
        return self.signed()

    def unsigned_release(self) -> bytes:
        return self.with_release(self.release().signed)

    def foreign_catalog_key(self) -> bytes:
        return self.with_release(
            seal_release(parse_release(self.release().signed), MINE).canonical()
        )

    def forged_rotation(self) -> bytes:
        found = self.release()
        output = Rotation.statement(found.key, signing.public_key(MINE))
        mine = signing.sign(signing.ROTATION, output, MINE)
        link = Rotation(found.key, signing.public_key(MINE), mine, mine)
        release = parse_release(found.signed)
        return self.with_release(seal_release(release, MINE, (link,)).canonical())

    def changed_release(self) -> bytes:
        found = self.release()
        text = found.signed.replace(b'"expires_unix_s":', b'"expires_unix_s":9')
        return self.with_release(Envelope(text, found.key, found.signature).canonical())

    def older_release(self) -> bytes:
        return self._stolen_release("older")

    def expired_release(self) -> bytes:
        return self._stolen_release("expired")

    def other_release(self) -> bytes:
        """Send an order of one release that names files of another."""
        return self.with_release((HOME / "loot" / "other").read_bytes())

    def release_without_it(self) -> bytes:
        return self._stolen_release("other")

    def parameter_out_of_range(self) -> bytes:
        self.order["parameters"] |= {"busy": 1000}
        return self.signed()

    def unknown_parameter(self) -> bytes:
        self.order["parameters"] |= {"evil": "$(id)"}
        return self.signed()

    def other_command(self) -> bytes:
        lock = self.lock()
        mark = HOME.parent / "marks" / "evil"
        lock["program"]["command"] = ["/bin/sh", "-c", f"touch {mark}"]
        return self.with_lock(lock)

    def new_code(self) -> bytes:
        lock = self.lock()
        files = lock["program"]["files"]
        lock["program"]["files"] = [
            self.harmful_file() if file["name"] == "main.py" else file for file in files
        ]
        return self.with_lock(lock)

    def new_wheel(self) -> bytes:
        lock = self.lock()
        made = {**self.harmful_file(), "name": "evil-1.0-py3-none-any.whl"}
        lock["environment"]["wheels"] = [*lock["environment"]["wheels"], made]
        return self.with_lock(lock)

    def new_archive(self) -> bytes:
        lock = self.lock()
        package = {
            "name": "evil",
            "archive": {**self.harmful_file(), "name": "evil.tar"},
            "unpacked_bytes": 100,
            "bin": ["."],
            "lib": [],
            "python": ["."],
        }
        lock["environment"]["archives"] = [package]
        return self.with_lock(lock)

    def new_variable(self) -> bytes:
        lock = self.lock()
        lock["program"]["environment"] = {"LD_PRELOAD": "/tmp/evil.so"}
        return self.with_lock(lock)

    def swapped_file(self) -> bytes:
        """Serve other bytes under the digest of the program."""
        return self.signed()

    def other_device(self) -> bytes:
        self.order["device_id"] = "0" * 8
        return self.signed()

    def _stolen_release(self, name: str) -> bytes:
        data = (HOME / "loot" / name).read_bytes()
        return self.with_release(data, parse_release(parse_envelope(data).signed).version)


def _canonical(values: dict[str, Any]) -> bytes:
    from fleetmark_core.digest import canonical_json

    return canonical_json(values)


def attack() -> str:
    try:
        return (HOME / "attack").read_text()
    except FileNotFoundError:
        return ""


def take_over() -> None:
    honest_out, honest_read = session._out, blobs._read
    program = b'job = json.loads(Path(os.environ["FLEETMARK_JOB"])'

    def out(message: Any, signer: Any) -> session_pb2.ControllerMessage:
        name = attack()
        if not name or not isinstance(message, OfferEffect) or signer is None:
            return honest_out(message, signer)
        made = getattr(Attacker(json.loads(message.order), signer), name)()
        offer = session_pb2.Offer(attempt=serde.key_to(message.key), signed_order=made)
        if name == "unsigned_order":
            offer = session_pb2.Offer(attempt=serde.key_to(message.key), order=made)
        return session_pb2.ControllerMessage(offer=offer)

    def read(path: Path, offset: int) -> bytes:
        data = honest_read(path, offset)
        return data.replace(program, b"x" * len(program)) if attack() == "swapped_file" else data

    async def allow(self: Any, device_id: str, sha256: str) -> None:
        return None

    async def cover(self: Any, locks: Any, say: Any) -> dict[str, str]:
        return {}

    session._out = out
    blobs._read = read
    blobs.BlobsService._need_order = allow  # type: ignore[method-assign]
    release_manager.ReleaseManager.cover = cover  # type: ignore[method-assign]
    assert sha256_hex


if __name__ == "__main__":
    take_over()
    from fleetmark_controller.cli import run

    run()
