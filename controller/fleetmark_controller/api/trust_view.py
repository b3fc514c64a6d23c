"""The keys that devices trust, as shown to operators."""

from __future__ import annotations

from fleetmark_controller.engine.engine import Engine
from fleetmark_controller.store.security import releases
from fleetmark_core.digest import sha256_hex
from fleetmark_protos.v1 import catalog_pb2


async def trust_message(engine: Engine, ca_sha256: str) -> catalog_pb2.Trust:
    """Return the catalog key that devices trust, the release, and what waits for a release."""
    keeper = engine.release_manager.known()
    waiting = await engine.reader.run(releases.unsigned)
    trust = catalog_pb2.Trust(
        catalog_key=keeper.public,
        catalog_sha256=keeper.fingerprint,
        has_private_key=keeper.key() is not None,
        ca_sha256=ca_sha256,
        rotations=len(keeper.rotations),
        unsigned=list(dict.fromkeys(waiting.values())),
    )
    release, envelope = keeper.release, keeper.envelope
    if release is not None and envelope is not None:
        trust.serial = release.version
        trust.release_sha256 = sha256_hex(envelope.canonical())
        trust.made_unix_s = release.made_unix_s
        trust.expires_unix_s = release.expires_unix_s
        trust.components = len(release.components)
    return trust
