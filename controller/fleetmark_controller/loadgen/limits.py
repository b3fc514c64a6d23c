"""Bounds on LoadGen's logs: hostile files must not cost memory or give absurd figures."""

from __future__ import annotations

# A detail log lists the loaded sample indices: 7 bytes for each of a million samples.
MAX_DETAIL_BYTES = 64 << 20
MAX_LINE_BYTES = 16 << 20
# An accuracy log takes about 58 bytes a sample: a million of them fit.
MAX_ACCURACY_BYTES = 64 << 20
MAX_SUMMARY_BYTES = 1 << 20
MAX_LABELS = 10_000_000
MAX_LATENCY_NS = 7 * 24 * 3600 * 10**9
MAX_COUNT = 10**12
MAX_PER_SECOND = 1e12
MAX_TEXTS = 20
MAX_TEXT = 500
