"""Ordered, atomic migrations. A migration that has been released is never edited."""

from __future__ import annotations

from sqlite_utils.migrations import Migrations

from fleetmark_controller.store.migrations import m0001_first, m0002_fleet

MIGRATIONS = Migrations("fleetmark")
MIGRATIONS(name="0001_first")(m0001_first.apply)
MIGRATIONS(name="0002_fleet")(m0002_fleet.apply)
