"""UUIDv7, by the layout of RFC 9562, section 5.7."""

from __future__ import annotations

import time
import uuid

from hypothesis import given
from hypothesis import strategies as st

from fleetmark_core.ids import uuid7


@given(st.integers(0, 2**48 - 1), st.integers(0, 999_999))
def test_time_version_and_variant_stand_where_they_must(ms: int, rest_ns: int) -> None:
    found = uuid.UUID(uuid7(ms * 1_000_000 + rest_ns))
    assert found.int >> 80 == ms
    assert found.version == 7 and found.variant == uuid.RFC_4122


def test_later_ids_sort_after_earlier_ones() -> None:
    moments = [0, 1_000_000, 2_000_000, 10**18, 2 * 10**18]
    made = [uuid7(moment) for moment in moments]
    assert made == sorted(made)


def test_ids_of_now_differ_and_carry_the_time() -> None:
    before_ms = time.time_ns() // 1_000_000
    made = {uuid7() for _ in range(1000)}
    after_ms = time.time_ns() // 1_000_000
    assert len(made) == 1000
    assert all(before_ms <= uuid.UUID(one).int >> 80 <= after_ms for one in made)
