"""The per-operator profile of a run: the Chrome trace of its program, checked and summed up.

The trace comes from a device. It is bounded in size, number of events and number of operator types,
and anything that the harness would not write is refused with a reason.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from fleetmark_controller.loadgen.errors import IngestError, excerpt
from fleetmark_controller.loadgen.mllog import clean_text

PARAMETER = "profile_ops"
"""The parameter by which a job is asked for a profile."""
ROLE = "operator_profile"
MAX_TRACE_BYTES = 5 << 20
"""More than the harness writes (`MAX_TRACE_BYTES` of fleetmark_harness.operators)."""
MAX_EVENTS = 200_000
MAX_OPERATORS = 500
"""Maximum number of operator types."""
MAX_CALLS = 100_000
_MAX_NAME = 200
_MAX_US = 1e12
_MAX_REASON = 300


def read_profile(data: bytes) -> dict[str, Any]:
    """Return the sums by operator type, the longest first.

    The result has `calls`, the number of calls of the model in the trace; `total_ms`; and
    `operators`, a list of tables with `operator`, `count`, `total_ms`, `share` (from 0 to 1; None
    if no operator took measurable time) and `providers`.

    Raises:
        IngestError: the trace is too large, or is not what the harness writes.
    """
    if len(data) > MAX_TRACE_BYTES:
        raise IngestError(f"has {len(data)} bytes, the limit is {MAX_TRACE_BYTES}")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise IngestError("is not JSON") from error
    events = document.get("traceEvents") if isinstance(document, Mapping) else None
    about = document.get("otherData") if isinstance(document, Mapping) else None
    calls = about.get("calls") if isinstance(about, Mapping) else None
    if not isinstance(events, list) or not 0 < len(events) <= MAX_EVENTS:
        raise IngestError(f"has no list of 1 to {MAX_EVENTS} events")
    if isinstance(calls, bool) or not isinstance(calls, int) or not 0 < calls <= MAX_CALLS:
        raise IngestError(f"has no number of calls: {excerpt(calls)}")
    sums: dict[str, _Sum] = {}
    seen: set[int] = set()
    for event in events:
        operator, duration_us, call, provider = _checked(event, calls)
        seen.add(call)
        found = sums.setdefault(operator, _Sum())
        found.add(duration_us, provider)
        if len(sums) > MAX_OPERATORS:
            raise IngestError(f"has more than {MAX_OPERATORS} operator types")
    if len(seen) != calls:
        raise IngestError(f"has events of {len(seen)} calls, and says {calls}")
    total_us = sum(found.total_us for found in sums.values())
    order = sorted(sums.items(), key=lambda item: (-item[1].total_us, item[0]))
    return {
        "calls": calls,
        "total_ms": total_us / 1e3,
        "operators": [
            {
                "operator": name,
                "count": found.count,
                "total_ms": found.total_us / 1e3,
                "share": found.total_us / total_us if total_us else None,
                "providers": sorted(found.providers),
            }
            for name, found in order
        ],
    }


def unavailable(reason: object) -> dict[str, Any]:
    """Return the value that is stored if there is no profile; the reason may be any value."""
    text = clean_text(reason)[:_MAX_REASON] if isinstance(reason, str) else ""
    return {"unavailable": text or "the job reported no profile"}


class _Sum:
    def __init__(self) -> None:
        self.count = 0
        self.total_us = 0.0
        self.providers: set[str] = set()

    def add(self, duration_us: float, provider: str) -> None:
        self.count += 1
        self.total_us += duration_us
        if provider and len(self.providers) < MAX_OPERATORS:
            self.providers.add(provider)


def _checked(event: object, calls: int) -> tuple[str, float, int, str]:
    args = event.get("args") if isinstance(event, Mapping) else None
    if not isinstance(event, Mapping) or not isinstance(args, Mapping) or event.get("ph") != "X":
        raise IngestError(f"has an entry that is not a complete event: {excerpt(event)}")
    duration, call = event.get("dur"), args.get("call")
    if isinstance(duration, bool) or not isinstance(duration, (int, float)):
        raise IngestError(f"has an event without a duration: {excerpt(duration)}")
    if not 0 <= duration <= _MAX_US or not math.isfinite(duration):
        raise IngestError(f"has an impossible duration: {excerpt(duration)}")
    if isinstance(call, bool) or not isinstance(call, int) or not 0 <= call < calls:
        raise IngestError(f"has an event of call {excerpt(call)}, and {calls} calls")
    operator = _name(args.get("op_name"))
    if not operator:
        raise IngestError(f"has an event without an operator type: {excerpt(args.get('op_name'))}")
    return operator, float(duration), call, _name(args.get("provider"))


def _name(value: object) -> str:
    """Return a printable name, or an empty string for any other value."""
    if not isinstance(value, str) or len(value) > _MAX_NAME or not value.isprintable():
        return ""
    return value.strip()
