"""Estimates in LoadGen's text about early stopping, in the detail log and in the summary."""

from __future__ import annotations

import re

_ESTIMATE = re.compile(r"Early stopping (\d{1,2}\.\d{1,2})th percentile estimate: (\d{1,19})(?!\d)")


def estimates_ns(text: str) -> dict[str, int]:
    """Return the estimates in LoadGen's text about early stopping, by percentile.

    The first of each counts: with token latencies, the estimate up to the first token comes first.
    """
    found: dict[str, int] = {}
    for percentile, value in _ESTIMATE.findall(text):
        found.setdefault(percentile, int(value))
    return found
