"""Catalog, the part about trust: the catalog key, releases, and packs."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from fleetmark_controller.api import auth, error_handling
from fleetmark_controller.engine.engine import Engine
from fleetmark_controller.identity.issuer import Issuer
from fleetmark_controller.signing import release_builder
from fleetmark_controller.signing.pack_writer import write_pack
from fleetmark_controller.store.security import releases
from fleetmark_core.digest import sha256_hex
from fleetmark_protos.channel import CHUNK_BYTES
from fleetmark_protos.v1 import catalog_pb2


class TrustCalls:
    """A part of the Catalog service; `services.catalog` has the rest."""

    _engine: Engine
    _issuer: Issuer

    @error_handling.unary
    async def GetTrust(
        self, request: catalog_pb2.GetTrustRequest, context: error_handling.Context
    ) -> catalog_pb2.Trust:
        """Which key boards are told to trust, and the release."""
        return await self._trust()

    @error_handling.unary
    async def ProposeRelease(
        self, request: catalog_pb2.ProposeReleaseRequest, context: error_handling.Context
    ) -> catalog_pb2.ReleaseProposal:
        """What the next release should hold."""
        desk = self._engine.desk
        proposal = await desk.propose()
        keeper = desk.known()
        return catalog_pb2.ReleaseProposal(
            release=proposal.canonical(),
            catalog_key=keeper.public,
            added=release_builder.new_in(proposal, keeper.release),
        )

    @error_handling.unary
    async def InstallRelease(
        self, request: catalog_pb2.InstallReleaseRequest, context: error_handling.Context
    ) -> catalog_pb2.Trust:
        """Take a release that was signed elsewhere."""
        await self._engine.desk.install(request.envelope, auth.who())
        return await self._trust()

    @error_handling.unary
    async def MakeRelease(
        self, request: catalog_pb2.MakeReleaseRequest, context: error_handling.Context
    ) -> catalog_pb2.Trust:
        """Sign a release with the key at hand, or with one that follows it."""
        desk = self._engine.desk
        await (desk.rotate if request.rotate else desk.release)(auth.who())
        return await self._trust()

    @error_handling.streaming
    async def Pack(
        self, request: catalog_pb2.PackRequest, context: error_handling.Context
    ) -> AsyncIterator[catalog_pb2.PackPart]:
        """One archive of all that a campaign ran and gave."""
        campaign = await self._engine.find("campaign", request.campaign_id)
        with tempfile.TemporaryDirectory(prefix="fleetmark-pack-") as scratch:
            path = Path(scratch) / "pack.zip"
            await write_pack(self._engine, campaign, path)
            with path.open("rb") as file:
                while data := await asyncio.to_thread(file.read, CHUNK_BYTES):
                    yield catalog_pb2.PackPart(data=data)

    async def _trust(self) -> catalog_pb2.Trust:
        keeper = self._engine.desk.known()
        waiting = await self._engine.reader.run(releases.unsigned)
        told = catalog_pb2.Trust(
            catalog_key=keeper.public,
            catalog_sha256=keeper.fingerprint,
            key_at_hand=keeper.key() is not None,
            ca_sha256=self._issuer.authority.ca_sha256,
            rotations=len(keeper.rotations),
            unsigned=list(dict.fromkeys(waiting.values())),
        )
        release, envelope = keeper.release, keeper.envelope
        if release is not None and envelope is not None:
            told.serial = release.serial
            told.release_sha256 = sha256_hex(envelope.canonical())
            told.made_unix_s = release.made_unix_s
            told.expires_unix_s = release.expires_unix_s
            told.components = len(release.components)
        return told
