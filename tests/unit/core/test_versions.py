from __future__ import annotations

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

from fleetmark_core.versions import GENERAL, PYTHON, compare, in_range, is_range, is_version

RISING = [
    ["1.0-dev", "1.0-alpha", "1.0-beta", "1.0-rc1", "1.0-rc2", "1.0", "1.0-1", "1.0.2", "1.10"],
    ["r32.7.4", "r35.3.1", "r35.4.1", "r36"],
    ["8.6.1", "8.6.1-1+cuda11.4", "8.6.1-1+cuda11.8", "8.6.1-1+cuda12.0", "8.6.2"],
    ["2023b", "2024a", "2024b", "2024.1"],
    ["v1.2.3", "1.2.3-ubuntu1", "1.2.3-1", "1.2.4"],
]


@pytest.mark.parametrize("texts", RISING)
def test_the_general_scheme_orders_what_operators_write(texts: list[str]) -> None:
    for low in range(len(texts)):
        for high in range(low + 1, len(texts)):
            assert compare(texts[low], texts[high], GENERAL) == -1, (texts[low], texts[high])


@pytest.mark.parametrize(
    ("one", "other"), [("1.2", "1.2.0"), ("v1.2", "1.2"), ("1.2.RC1", "1.2-rc1"), ("1_2", "1.2")]
)
def test_signs_case_and_zeros_mean_nothing(one: str, other: str) -> None:
    assert compare(one, other, GENERAL) == 0


@pytest.mark.parametrize(
    ("version", "wanted", "expected"),
    [
        ("r35.4.1", ">=r35,<r36", True),
        ("r36.2", ">=r35,<r36", False),
        ("12.2.1", "==12.2.*", True),
        ("12.20", "==12.2.*", False),
        ("12.3", "!=12.2.*", True),
        ("1.0-rc1", ">=1.0", False),
        ("anything9", "", True),
    ],
)
def test_general_ranges(version: str, wanted: str, expected: bool) -> None:
    assert in_range(version, wanted, GENERAL) is expected


@pytest.mark.parametrize("scheme", [PYTHON, GENERAL])
@pytest.mark.parametrize("text", [">", "1.0", ">=1 <2", "=>1", "<*", "; rm"])
def test_what_is_no_range_is_refused(scheme: str, text: str) -> None:
    assert not is_range(text, scheme)
    with pytest.raises(ValueError, match="not a version range"):
        in_range("1.0", text, scheme)


def test_what_is_no_version_lies_in_no_range() -> None:
    assert not is_version("r35.4.1", PYTHON)
    assert not in_range("r35.4.1", ">=1", PYTHON)
    assert in_range("r35.4.1", "", PYTHON)


TEXT = st.from_regex(
    r"v?[0-9]{1,3}([.+~-]?([0-9]{1,3}|rc|beta|a|ubuntu|cuda)){0,5}", fullmatch=True
)


@given(a=TEXT, b=TEXT, c=TEXT)
def test_the_general_order_is_one(a: str, b: str, c: str) -> None:
    assert compare(a, a, GENERAL) == 0
    assert compare(a, b, GENERAL) == -compare(b, a, GENERAL)
    low, middle, high = sorted(
        (a, b, c), key=functools.cmp_to_key(lambda x, y: compare(x, y, GENERAL))
    )
    assert compare(low, middle, GENERAL) <= 0
    assert compare(middle, high, GENERAL) <= 0
    assert compare(low, high, GENERAL) <= 0


@given(a=TEXT, b=TEXT)
def test_ranges_follow_the_order(a: str, b: str) -> None:
    order = compare(a, b, GENERAL)
    assert in_range(a, f"=={b}", GENERAL) is (order == 0)
    assert in_range(a, f">={b}", GENERAL) is (order >= 0)
    assert in_range(a, f"<{b}", GENERAL) is (order < 0)
    assert in_range(a, f"<={b},>={b}", GENERAL) is (order == 0)


NUMBERS = st.lists(st.integers(0, 30), min_size=1, max_size=4).map(lambda p: ".".join(map(str, p)))


@given(a=NUMBERS, b=NUMBERS)
def test_plain_numbers_mean_the_same_in_both_schemes(a: str, b: str) -> None:
    assert compare(a, b, GENERAL) == compare(a, b, PYTHON)
    for sign in ("==", "!=", ">=", "<=", ">", "<"):
        assert in_range(a, sign + b, GENERAL) is in_range(a, sign + b, PYTHON)
        assert in_range(a, sign + b, PYTHON) is SpecifierSet(sign + b).contains(a)
