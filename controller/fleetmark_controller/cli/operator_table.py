"""The table of a run's operators. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

HEADINGS = ("operator", "count", "total ms", "share", "computed by")
_NOT_ASKED = (
    "not profiled: only performance runs of `controller schedule … --profile-ops` have a profile"
)


def parse(value: object) -> dict[str, Any] | None:
    """Return the profile in column `operators` of a run; None if the run has none."""
    if not isinstance(value, str):
        return None
    found = json.loads(value)
    return found if isinstance(found, dict) else None


def rows(profile: Mapping[str, Any] | None) -> list[tuple[object, ...]]:
    """Return a row per operator type, the longest first; empty if there is no profile."""
    return [
        (
            found["operator"],
            found["count"],
            f"{found['total_ms']:.3f}",
            None if found["share"] is None else f"{100 * found['share']:.1f} %",
            ", ".join(found["providers"]) or None,
        )
        for found in (profile or {}).get("operators", ())
    ]


def summary(profile: Mapping[str, Any] | None) -> str:
    """Return one line: what the profile covers, or why it is unavailable."""
    if profile is None:
        return _NOT_ASKED
    if "unavailable" in profile:
        return f"unavailable: {profile['unavailable']}"
    calls, kinds = profile["calls"], len(profile["operators"])
    return (
        f"{kinds} {'type' if kinds == 1 else 'types'}, {profile['total_ms']:.3f} ms in"
        f" {calls} {'call' if calls == 1 else 'calls'} of the model, profiled after the run"
    )
