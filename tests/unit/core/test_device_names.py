"""One rule for names of devices, in Python and in the store's SQL."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_controller.store.devices import devices
from fleetmark_core.device_names import is_device_name, skeleton

LETTERS = st.sampled_from("abilmnorvwIOLZ0123._-")
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True)


@pytest.mark.parametrize(
    "name",
    [
        "",
        " a",
        "a ",
        "-a",
        ".a",
        "_a",
        "a" * 64,
        "a b",
        "a\n",
        "а",
        "ⅰ",
        "a\u200b",
        "a/b",
        "..",
        "é",
    ],
)
def test_what_is_no_name(name: str) -> None:
    assert not is_device_name(name)


@given(NAMES)
def test_what_is_a_name(name: str) -> None:
    assert is_device_name(name)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("bench-1", "bench-l"),
        ("Bench-1", "BENCH-I"),
        ("pi0", "piO"),
        ("arm", "arrn"),
        ("a_b", "a-b"),
    ],
)
def test_names_that_look_alike(one: str, other: str) -> None:
    assert skeleton(one) == skeleton(other)


@pytest.mark.parametrize(
    ("one", "other"), [("device-1", "device-11"), ("pi-2", "pi-3"), ("a", "b")]
)
def test_names_that_do_not(one: str, other: str) -> None:
    assert skeleton(one) != skeleton(other)


@given(st.text(LETTERS, max_size=20))
def test_the_store_sees_the_same(name: str) -> None:
    sql = f"SELECT {devices.LOOK.format('?1')}"
    assert sqlite3.connect(":memory:").execute(sql, (name,)).fetchone() == (skeleton(name),)
