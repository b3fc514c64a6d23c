"""The request of a campaign, as an operator makes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class CampaignRequest:
    """A campaign request of an operator."""

    campaign_id: str
    benchmark: str
    selector: str = ""
    scenarios: tuple[str, ...] = ()
    modes: tuple[str, ...] = ()
    variations: tuple[str, ...] = ()
    parameters: dict[str, tuple[str, ...]] = field(default_factory=dict)
    profile: str = "quick"
    repetitions: int = 1
    any_device: bool = False
    priority: int = 0
    timeout_s: float = 0.0
    deadline_s: float = 0.0
    max_attempts: int = 0
    interleave: bool = False
    max_jobs: int = 0
    submitted_by: str = ""
    cool_down_s: float = 0.0
    min_sandbox: str = ""
    stable: bool = False
    sustain_s: float = 0.0
    start_below_c: float = 0.0

    def is_stored_as(self, stored: Mapping[str, Any]) -> bool:
        """Return whether `stored` is the JSON form of this request.

        Fields that are missing on one side count as equal: an older version did not have every
        field, and a replay stores no request.
        """
        own = json.loads(json.dumps(asdict(self)))
        return all(own[name] == value for name, value in stored.items() if name in own)
