"""Keeps a running controller's release in step with its catalog, and says what none names yet."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Mapping

from fleetmark_catalog.load import Catalog
from fleetmark_controller.artifacts.harness import pack_harness
from fleetmark_controller.engine.transactions import Transactions
from fleetmark_controller.operations.effects import Effects
from fleetmark_controller.signing.release_store import Keeper
from fleetmark_controller.store.db.reader import Reader
from fleetmark_controller.store.security import audit, releases
from fleetmark_controller.store.security.releases import UNSIGNED, Standing
from fleetmark_controller.wheelbuild import Builder
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.clock import NS_PER_S, now_unix_ns
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.release import Release

log = logging.getLogger("fleetmark.controller")
_OWN = "controller"
_WARN_S = 14 * 86_400


class Desk:
    """The one that signs, or waits for somebody who does. A controller without keys has none."""

    def __init__(
        self,
        keeper: Keeper | None,
        catalog: Callable[[], Catalog],
        reader: Reader,
        transactions: Transactions,
        blobs: BlobFolder,
        builder: Builder,
    ) -> None:
        """`keeper` holds the keys and the release of the controller's home."""
        self.keeper = keeper
        self._catalog = catalog
        self._reader = reader
        self._transactions = transactions
        self._blobs = blobs
        self._builder = builder
        self._turn = asyncio.Lock()

    def standing(self) -> Standing:
        """What orders can be given under now."""
        return UNSIGNED if self.keeper is None else self.keeper.standing(_now_s())

    def known(self) -> Keeper:
        """The keeper.

        Raises:
            FleetmarkError: NO_CATALOG_KEY: this controller signs nothing.
        """
        if self.keeper is None:
            raise FleetmarkError(ErrorKind.NO_CATALOG_KEY, "this controller signs nothing")
        return self.keeper

    async def look(self) -> None:
        """Renew the release where it lacks something or has grown old, and the key is at hand."""
        if self.keeper is None:
            return
        async with self._turn:
            keeper = self.keeper
            proposal = await self._proposal(keeper, {})
            if keeper.is_due(proposal, _now_s()):
                if keeper.key() is not None:
                    await self._signed(keeper, proposal, _OWN)
                else:
                    self._warn(keeper)
            if keeper.release is not None:
                await self._noted(keeper, _OWN)
            await self._recheck(keeper)

    async def cover(self, locks: Mapping[str, bytes], say: Callable[[str], None]) -> dict[str, str]:
        """Of each lock (by digest), what no release names: nothing, where the key is at hand."""
        keeper = self.keeper
        if keeper is None:
            return {}
        async with self._turn:
            missing = keeper.known_lacks(locks)
            if missing is None:
                missing = await asyncio.to_thread(_missing, keeper, locks)
            if any(missing.values()) and keeper.key() is not None:
                proposal = await self._proposal(keeper, locks)
                release = await self._signed(keeper, proposal, _OWN)
                say(f"signed release {release.serial}")
                await self._recheck(keeper)
                missing = await asyncio.to_thread(_missing, keeper, locks)
            for reason in dict.fromkeys(filter(None, missing.values())):
                say(f"unsigned: {reason}. It waits for `controller catalog release`")
            return missing

    async def propose(self) -> Release:
        """What the next release should hold, for a key that is elsewhere."""
        keeper = self.known()
        async with self._turn:
            return await self._proposal(keeper, {})

    async def release(self, who: str) -> Release:
        """A new release by the key at hand, whether it is due or not.

        Raises:
            FleetmarkError: NO_CATALOG_KEY.
        """
        keeper = self.known()
        async with self._turn:
            release = await self._signed(keeper, await self._proposal(keeper, {}), who)
            await self._recheck(keeper)
            return release

    async def install(self, data: bytes, who: str) -> Release:
        """Take a release that was signed elsewhere.

        Raises:
            FleetmarkError: see `Keeper.install`.
        """
        keeper = self.known()
        async with self._turn:
            release = await asyncio.to_thread(keeper.install, data)
            await self._noted(keeper, who)
            await self._recheck(keeper)
            return release

    async def rotate(self, who: str) -> Release:
        """Hand over from the key at hand to a new one, with a release that it signs.

        Raises:
            FleetmarkError: NO_CATALOG_KEY.
        """
        keeper = self.known()
        async with self._turn:
            key = await asyncio.to_thread(keeper.rotate)

            def note(c: sqlite3.Connection, effects: Effects, now: int) -> None:
                audit.add(c, now, who, "catalog.key.rotate", key.fingerprint)

            await self._transactions.perform(note)
            release = await self._signed(keeper, await self._proposal(keeper, {}), who)
            await self._recheck(keeper)
            return release

    # --- the parts ---

    async def _proposal(self, keeper: Keeper, locks: Mapping[str, bytes]) -> Release:
        needed = {**await self._reader.run(releases.waiting_locks), **locks}

        def make() -> Release:
            harness, wheel = pack_harness()
            self._blobs.put_bytes(wheel)
            built = self._builder.known()
            return keeper.proposal(self._catalog(), harness, built, needed.values(), _now_s())

        return await asyncio.to_thread(make)

    async def _signed(self, keeper: Keeper, proposal: Release, who: str) -> Release:
        release = await asyncio.to_thread(keeper.sign, proposal)
        await self._noted(keeper, who)
        return release

    async def _noted(self, keeper: Keeper, who: str) -> None:
        release, reference, envelope = keeper.release, keeper.reference, keeper.envelope
        assert release is not None and reference is not None and envelope is not None

        def note(c: sqlite3.Connection, effects: Effects, now: int) -> None:
            new = releases.add(
                c,
                now,
                serial=release.serial,
                sha256=reference.sha256,
                size_bytes=reference.size_bytes,
                key_sha256=keeper.fingerprint,
                made_unix_s=release.made_unix_s,
                expires_unix_s=release.expires_unix_s,
            )
            if new:
                audit.add(
                    c,
                    now,
                    who,
                    "catalog.release",
                    str(release.serial),
                    sha256=reference.sha256,
                    key=keeper.fingerprint,
                )
            effects.schedule = True

        await self._transactions.perform(note)

    async def _recheck(self, keeper: Keeper) -> None:
        """Locks of waiting jobs: which of them the release does not name."""
        locks = await self._reader.run(releases.waiting_locks)
        earlier = await self._reader.run(releases.unsigned)
        missing = await asyncio.to_thread(_missing, keeper, locks)
        missing.update(dict.fromkeys(earlier.keys() - missing.keys(), ""))

        def store(c: sqlite3.Connection, effects: Effects, now: int) -> None:
            releases.set_unsigned(c, missing)
            effects.schedule = True

        await self._transactions.perform(store)

    def _warn(self, keeper: Keeper) -> None:
        release, advice = keeper.release, "run `controller catalog release --key FILE` where it is"
        if release is None:
            log.warning("there is no release, and the catalog key is not here: %s", advice)
        elif release.expires_unix_s - _now_s() < _WARN_S:
            days = (release.expires_unix_s - _now_s()) / 86_400
            log.warning(
                "release %d expires in %.1f days, and the catalog key is not here: %s",
                *(release.serial, days, advice),
            )


def _missing(keeper: Keeper, locks: Mapping[str, bytes]) -> dict[str, str]:
    return {sha256: keeper.lacks(data) for sha256, data in locks.items()}


def _now_s() -> int:
    return now_unix_ns() // NS_PER_S
