"""Releases, keys and orders: what is signed by whom, and what every change of a byte does."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_core import signing
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.release import (
    Envelope,
    Release,
    Rotation,
    parse_envelope,
    parse_release,
    rotate,
    seal_release,
)

KEYS = [signing.make_signing_key() for _ in range(4)]
PINS = [signing.fingerprint(signing.public_key(key)) for key in KEYS]
RELEASE = Release(5, 100, 200, (), (("h.whl", "a" * 64, 3),), ())
LINKS = tuple(rotate(old, new) for old, new in itertools.pairwise(KEYS))
SEALED = seal_release(RELEASE, KEYS[0])


def fault_of(data: bytes, pinned: str) -> ErrorKind:
    with pytest.raises(FleetmarkError) as caught:
        parse_envelope(data).open(pinned)
    return caught.value.kind


def test_a_release_survives_its_envelope() -> None:
    found, path = parse_envelope(SEALED.canonical()).open(PINS[0])
    assert (found, path) == (RELEASE, (PINS[0],))
    assert seal_release(RELEASE, KEYS[0]).canonical() == SEALED.canonical()


@pytest.mark.parametrize("begin", range(4))
def test_a_pin_of_an_earlier_key_follows_the_rotations(begin: int) -> None:
    sealed = parse_envelope(seal_release(RELEASE, KEYS[3], LINKS).canonical())
    found, path = sealed.open(PINS[begin])
    assert found == RELEASE
    assert path == tuple(PINS[begin:])


def test_a_key_that_was_handed_over_does_not_count_for_those_who_followed() -> None:
    assert (
        fault_of(seal_release(RELEASE, KEYS[0], LINKS).canonical(), PINS[1])
        is ErrorKind.FOREIGN_KEY
    )


@pytest.mark.parametrize("who", ["by_old", "by_new"])
def test_a_rotation_needs_both_signatures(who: str) -> None:
    output = Rotation.statement(LINKS[0].old, LINKS[0].new)
    other = signing.sign(signing.ROTATION, output, KEYS[2])
    link = replace(LINKS[0], **{who: other})
    sealed = seal_release(RELEASE, KEYS[1], (link,)).canonical()
    assert fault_of(sealed, PINS[0]) is ErrorKind.BAD_SIGNATURE


def test_a_signature_of_one_kind_counts_for_no_other() -> None:
    data = RELEASE.canonical()
    order = signing.sign(signing.ORDER, data, KEYS[0])
    key = signing.public_key(KEYS[0])
    assert fault_of(Envelope(data, key, order).canonical(), PINS[0]) is ErrorKind.BAD_SIGNATURE


def test_a_circle_of_rotations_ends() -> None:
    circle = (rotate(KEYS[0], KEYS[1]), rotate(KEYS[1], KEYS[0]))
    sealed = seal_release(RELEASE, KEYS[2], circle).canonical()
    assert fault_of(sealed, PINS[0]) is ErrorKind.FOREIGN_KEY


def test_a_release_without_envelope_is_unsigned() -> None:
    assert fault_of(RELEASE.canonical(), PINS[0]) is ErrorKind.UNSIGNED


@given(place=st.integers(0, len(SEALED.canonical()) - 1), flip=st.integers(1, 255))
def test_an_envelope_with_a_changed_byte_is_refused_or_says_the_same(place: int, flip: int) -> None:
    data = bytearray(SEALED.canonical())
    data[place] ^= flip
    try:
        found, _ = parse_envelope(bytes(data)).open(PINS[0])
    except FleetmarkError:
        return
    # An upper-case digit of a signature, say: other bytes, the same document.
    assert found == RELEASE


@pytest.mark.parametrize(
    "change",
    [{"format": 2}, {"serial": "x"}, {"components": [{}]}, {"built": [["a"]]}, {"harnesses": 3}],
)
def test_a_signed_document_that_is_no_release_is_refused(change: dict[str, object]) -> None:
    data = json.dumps({**json.loads(RELEASE.canonical()), **change}).encode()
    with pytest.raises(FleetmarkError) as caught:
        parse_release(data)
    assert caught.value.kind is ErrorKind.BAD_DOCUMENT
