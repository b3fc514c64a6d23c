"""Adds detected software, and the tags that follow from it, to the capabilities."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from fleetmark_agent.fingerprint import tags
from fleetmark_agent.software.models import Finding, found_only
from fleetmark_core.capabilities import Capabilities, Software


def software_of(findings: Sequence[Finding]) -> tuple[Software, ...]:
    """Return the software that was verified, sorted by name; equal names keep their rule order."""
    found = [
        Software(finding.software, finding.version, finding.path, dict(finding.details))
        for finding in found_only(findings)
    ]
    return tuple(sorted(found, key=lambda software: software.name))


def with_findings(measured: Capabilities, findings: Sequence[Finding]) -> Capabilities:
    """Return `measured` with the found software and its tags; other verdicts do not count."""
    facts = dataclasses.replace(measured, software=software_of(findings))
    given = {tag for finding in found_only(findings) for tag in finding.tags}
    return dataclasses.replace(facts, tags=tuple(sorted({*tags.derive(facts), *given})))
