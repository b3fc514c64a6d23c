"""Damaged inputs: valid ones with bytes changed, cut, put in, doubled; documents with other values.

A parser that is fed noise alone refuses it at the first byte. These get past that.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

STRANGE = (
    None,
    True,
    -1,
    0,
    1 << 31,
    1 << 63,
    1 << 64,
    10**400,
    -(10**30),
    0.5,
    1e308,
    float("nan"),
    float("inf"),
    float("-inf"),
    "",
    "x" * 5000,
    "../../etc/passwd",
    "\x1b[2J",
    "=1+1",
    "\ud800",
    "\0",
    "\u0663",
    "\u00b2",
    "9" * 5000,
    [],
    {},
    [[]],
    {"": {}},
)
"""Values that a reader may not have thought of."""

ANYTHING = st.recursive(
    st.sampled_from(STRANGE) | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)

_CHANGES = st.tuples(
    st.sampled_from(["flip", "cut", "insert", "delete", "double"]),
    st.integers(0, 1 << 20),
    st.integers(1, 255),
    st.binary(max_size=12)
    | st.sampled_from([b"\xff" * 8, b"\0" * 8, b"9" * 400, b"[" * 3000, b'"', b"\n", b"\r\n\r\n"]),
)


def damaged(*valid: bytes) -> st.SearchStrategy[bytes]:
    """One of these inputs with one to four changes."""
    return st.builds(_changed, st.sampled_from(valid), st.lists(_CHANGES, min_size=1, max_size=4))


def _changed(valid: bytes, changes: list[tuple[str, int, int, bytes]]) -> bytes:
    data = bytearray(valid)
    for kind, where, number, piece in changes:
        place = where % (len(data) + 1)
        if kind == "flip" and place < len(data):
            data[place] ^= number
        elif kind == "cut":
            del data[place:]
        elif kind == "insert":
            data[place:place] = piece
        elif kind == "delete":
            del data[place : place + number]
        elif kind == "double":
            data[place:place] = data[place : place + 4 * number]
    return bytes(data)


def damaged_text(*valid: str) -> st.SearchStrategy[str]:
    """The same of texts: what is no UTF-8 any more becomes replacement letters."""
    return damaged(*(text.encode() for text in valid)).map(
        lambda data: data.decode(errors="replace")
    )


@st.composite
def other_values(draw: st.DrawFn, *valid: Any) -> Any:
    """A document in which one to three values were replaced by any others, or left out."""
    document = copy.deepcopy(draw(st.sampled_from(valid)))
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(document))
        if not places:
            return draw(ANYTHING)
        holder, key = draw(st.sampled_from(places))
        if draw(st.integers(0, 5)) == 0:
            del holder[key]
        else:
            holder[key] = copy.deepcopy(draw(ANYTHING))
    return document


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield value, key
            yield from _places(item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield value, index
            yield from _places(item)


def documents(*valid: bytes) -> st.SearchStrategy[bytes]:
    """JSON documents: damaged bytes, other values in the right form, and nothing but brackets."""
    texts = other_values(*(json.loads(data) for data in valid)).map(
        lambda value: json.dumps(value).encode()
    )
    return damaged(*valid) | texts | st.sampled_from([b"", b"[" * 3000, b'{"a":' * 3000])
