"""Release management: the release follows the catalog, and missing entries are recorded."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping

from fleetmark_catalog.load import Catalog
from fleetmark_controller.artifacts.harness import pack_harness
from fleetmark_controller.engine.transactions import Transactions
from fleetmark_controller.operations.effects import Effects
from fleetmark_controller.signing.release_store import ReleaseStore
from fleetmark_controller.store.db.reader import Reader
from fleetmark_controller.store.security import audit, releases
from fleetmark_controller.store.security.releases import UNSIGNED, SigningStatus
from fleetmark_controller.wheelbuild import Builder
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.clock import NS_PER_S, now_unix_ns
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.log import get_logger
from fleetmark_core.release import Release

log = get_logger("fleetmark.controller")
_OWN = "controller"
_WARN_S = 14 * 86_400


class ReleaseManager:
    """Manager of the release: signs one if the catalog key is here, else waits for a signed one.

    A controller without keys has no keeper and no release.
    """

    def __init__(
        self,
        keeper: ReleaseStore | None,
        catalog: Callable[[], Catalog],
        reader: Reader,
        transactions: Transactions,
        blobs: BlobFolder,
        builder: Builder,
    ) -> None:
        """Create a manager.

        Args:
            keeper: the keys and the release in the controller's home; None: nothing is signed.
            catalog: returns the current catalog.
            reader: reads the store.
            transactions: record releases and unsigned lockfiles.
            blobs: receives the packed harness.
            builder: knows the built wheels.
        """
        self.keeper = keeper
        self._catalog = catalog
        self._reader = reader
        self._transactions = transactions
        self._blobs = blobs
        self._builder = builder
        self._turn = asyncio.Lock()

    def signing_status(self) -> SigningStatus:
        """Return the release under which orders can be signed now, or why there is none."""
        return UNSIGNED if self.keeper is None else self.keeper.signing_status(_now_s())

    def known(self) -> ReleaseStore:
        """Return the keeper.

        Raises:
            FleetmarkError: NO_CATALOG_KEY: this controller signs nothing.
        """
        if self.keeper is None:
            raise FleetmarkError(
                ErrorKind.NO_CATALOG_KEY,
                "this controller has no catalog release: it does not sign orders",
            )
        return self.keeper

    async def renew_if_due(self) -> None:
        """Renew the release if it is incomplete or old, provided that the key is here."""
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

    async def cover(
        self, locks: Mapping[str, bytes], report_progress: Callable[[str], None]
    ) -> dict[str, str]:
        """Return, by digest, what the release lacks for each lockfile; empty texts if nothing.

        If the key is here, a release that lacks something is first replaced by a complete one.

        Args:
            locks: lockfiles by digest.
            report_progress: receives messages for the operator.
        """
        keeper = self.keeper
        if keeper is None:
            return {}
        async with self._turn:
            missing = keeper.cached_missing(locks)
            if missing is None:
                missing = await asyncio.to_thread(_missing, keeper, locks)
            if any(missing.values()) and keeper.key() is not None:
                proposal = await self._proposal(keeper, locks)
                release = await self._signed(keeper, proposal, _OWN)
                report_progress(f"signed release {release.version}")
                await self._recheck(keeper)
                missing = await asyncio.to_thread(_missing, keeper, locks)
            for reason in dict.fromkeys(filter(None, missing.values())):
                report_progress(
                    f"unsigned: {reason}. The job waits for `controller catalog release sign`"
                )
            return missing

    async def propose(self) -> Release:
        """Return the contents of the next release, to be signed with a key kept elsewhere."""
        keeper = self.known()
        async with self._turn:
            return await self._proposal(keeper, {})

    async def release(self, who: str) -> Release:
        """Sign a new release with the key that is here, even if none is due.

        Raises:
            FleetmarkError: NO_CATALOG_KEY.
        """
        keeper = self.known()
        async with self._turn:
            release = await self._signed(keeper, await self._proposal(keeper, {}), who)
            await self._recheck(keeper)
            return release

    async def install(self, data: bytes, who: str) -> Release:
        """Install a release that was signed elsewhere.

        Raises:
            FleetmarkError: see `ReleaseStore.install`.
        """
        keeper = self.known()
        async with self._turn:
            release = await asyncio.to_thread(keeper.install, data)
            await self._noted(keeper, who)
            await self._recheck(keeper)
            return release

    async def rotate(self, who: str) -> Release:
        """Replace the key that is here by a new one, and sign a release with the new key.

        Raises:
            FleetmarkError: NO_CATALOG_KEY.
        """
        keeper = self.known()
        async with self._turn:
            key = await asyncio.to_thread(keeper.rotate)

            def note(c: sqlite3.Connection, effects: Effects, now: int) -> None:
                audit.add(c, now, who, "catalog.key.rotate", key.fingerprint)

            await self._transactions.run_operation(note)
            release = await self._signed(keeper, await self._proposal(keeper, {}), who)
            await self._recheck(keeper)
            return release

    # --- the parts ---

    async def _proposal(self, keeper: ReleaseStore, locks: Mapping[str, bytes]) -> Release:
        needed = {**await self._reader.run(releases.waiting_locks), **locks}

        def make() -> Release:
            harness, wheel = pack_harness()
            self._blobs.put_bytes(wheel)
            built = self._builder.known()
            return keeper.proposal(self._catalog(), harness, built, needed.values(), _now_s())

        return await asyncio.to_thread(make)

    async def _signed(self, keeper: ReleaseStore, proposal: Release, who: str) -> Release:
        release = await asyncio.to_thread(keeper.sign, proposal)
        await self._noted(keeper, who)
        return release

    async def _noted(self, keeper: ReleaseStore, who: str) -> None:
        release, reference, envelope = keeper.release, keeper.reference, keeper.envelope
        assert release is not None and reference is not None and envelope is not None

        def note(c: sqlite3.Connection, effects: Effects, now: int) -> None:
            new = releases.add(
                c,
                now,
                serial=release.version,
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
                    str(release.version),
                    sha256=reference.sha256,
                    key=keeper.fingerprint,
                )
            effects.schedule = True

        await self._transactions.run_operation(note)

    async def _recheck(self, keeper: ReleaseStore) -> None:
        """Record which lockfiles of waiting jobs the release does not contain."""
        locks = await self._reader.run(releases.waiting_locks)
        earlier = await self._reader.run(releases.unsigned)
        missing = await asyncio.to_thread(_missing, keeper, locks)
        missing.update(dict.fromkeys(earlier.keys() - missing.keys(), ""))

        def store(c: sqlite3.Connection, effects: Effects, now: int) -> None:
            releases.set_unsigned(c, missing)
            effects.schedule = True

        await self._transactions.run_operation(store)

    def _warn(self, keeper: ReleaseStore) -> None:
        release = keeper.release
        hint = (
            "This host has no catalog key. Run `controller catalog release sign --key FILE` on the"
            " host that has the key"
        )
        if release is None:
            log.warning("signed release not found", hint=hint)
        elif release.expires_unix_s - _now_s() < _WARN_S:
            days = (release.expires_unix_s - _now_s()) / 86_400
            log.warning(
                "release renewal required", serial=release.version, days=round(days, 1), hint=hint
            )


def _missing(keeper: ReleaseStore, locks: Mapping[str, bytes]) -> dict[str, str]:
    return {sha256: keeper.missing_from(data) for sha256, data in locks.items()}


def _now_s() -> int:
    return now_unix_ns() // NS_PER_S
