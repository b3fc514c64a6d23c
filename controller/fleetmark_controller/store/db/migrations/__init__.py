"""Ordered, atomic migrations. A released migration is never edited."""

from __future__ import annotations

from sqlite_utils.migrations import Migrations

from fleetmark_controller.store.db.migrations import (
    m0001_first,
    m0002_needs,
    m0003_identity,
    m0004_fleet,
    m0005_trust,
    m0006_sandbox,
    m0007_roster,
    m0008_descriptions,
    m0009_condition,
    m0010_search,
    m0011_lookups,
    m0012_telemetry,
    m0013_hello,
    m0014_cpu_quota,
    m0015_names,
    m0016_failure_cause,
    m0017_estimate,
    m0018_phases,
    m0019_memory_peaks,
    m0020_sustained,
    m0021_power_meter,
    m0022_views_by_campaign,
)

MIGRATIONS = Migrations("fleetmark")
MIGRATIONS(name="0001_first")(m0001_first.apply)
MIGRATIONS(name="0002_needs")(m0002_needs.apply)
MIGRATIONS(name="0003_identity")(m0003_identity.apply)
MIGRATIONS(name="0004_fleet")(m0004_fleet.apply)
MIGRATIONS(name="0005_trust")(m0005_trust.apply)
MIGRATIONS(name="0006_sandbox")(m0006_sandbox.apply)
MIGRATIONS(name="0007_roster")(m0007_roster.apply)
MIGRATIONS(name="0008_descriptions")(m0008_descriptions.apply)
MIGRATIONS(name="0009_condition")(m0009_condition.apply)
MIGRATIONS(name="0010_search")(m0010_search.apply)
MIGRATIONS(name="0011_lookups")(m0011_lookups.apply)
MIGRATIONS(name="0012_telemetry")(m0012_telemetry.apply)
MIGRATIONS(name="0013_hello")(m0013_hello.apply)
MIGRATIONS(name="0014_cpu_quota")(m0014_cpu_quota.apply)
MIGRATIONS(name="0015_names")(m0015_names.apply)
MIGRATIONS(name="0016_failure_cause")(m0016_failure_cause.apply)
MIGRATIONS(name="0017_estimate")(m0017_estimate.apply)
MIGRATIONS(name="0018_phases")(m0018_phases.apply)
MIGRATIONS(name="0019_memory_peaks")(m0019_memory_peaks.apply)
MIGRATIONS(name="0020_sustained")(m0020_sustained.apply)
MIGRATIONS(name="0021_power_meter")(m0021_power_meter.apply)
MIGRATIONS(name="0022_views_by_campaign")(m0022_views_by_campaign.apply)
