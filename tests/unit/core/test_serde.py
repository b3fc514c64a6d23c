"""Documents of others become checked values or one line; signed bytes have their own form."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_agent.software.models import DetectedSoftware
from fleetmark_core.bundle_file import DeviceIdentityDocument, ResultsDocument
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.digest import canonical_json
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.lockfile import Lockfile
from fleetmark_core.order import Order, SignedOrder, parse_order
from fleetmark_core.records import Final, Record
from fleetmark_core.release import Release
from fleetmark_core.serde import MAX_DOCUMENT_BYTES, from_plain, parse_document, to_plain
from tests.security.fuzz.damage import ANYTHING, documents
from tests.security.fuzz.test_device import LOCK, ORDER

PARSED = (
    *(Order, SignedOrder, Lockfile, Final, Capabilities, DeviceIdentityDocument),
    DetectedSoftware,
)
"""Every class that is read from a document."""


class Color(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Part:
    name: str
    size_bytes: int = 0


@dataclass(frozen=True)
class Whole:
    """A field of each kind."""

    text: str
    number: int
    rate: float = 1.0
    flag: bool = False
    maybe: int | None = None
    part: Part | None = None
    parts: tuple[Part, ...] = ()
    words: tuple[str, ...] = ()
    table: dict[str, Part] = field(default_factory=dict)
    color: Color = Color.RED
    any: dict[str, Any] = field(default_factory=dict)


GOOD: dict[str, Any] = {
    "text": "ä\U0001f600",
    "number": -5,
    "rate": 2,
    "flag": True,
    "maybe": None,
    "part": {"name": "a", "size_bytes": 1},
    "parts": [{"name": "b"}],
    "words": ["x", ""],
    "table": {"k": {"name": "c", "size_bytes": 3}},
    "color": "blue",
    "any": {"deep": [1, {"x": None}], "float": 1.5},
}


def refusal(data: bytes, cls: type[Any] = Whole) -> str:
    with pytest.raises(FleetmarkError) as caught:
        parse_document(cls, data, "paper")
    assert caught.value.kind is ErrorKind.BAD_DOCUMENT
    line = str(caught.value)
    assert line.startswith("paper: ") and line.isprintable() and len(line) < 600
    return line


def changed(**values: object) -> bytes:
    return json.dumps({**GOOD, **values}).encode()


def test_a_sound_document_is_a_value_of_each_kind() -> None:
    found = parse_document(Whole, json.dumps(GOOD).encode())
    assert found == Whole(
        *("ä\U0001f600", -5, 2.0, True, None, Part("a", 1), (Part("b"),), ("x", "")),
        table={"k": Part("c", 3)},
        color=Color.BLUE,
        any=GOOD["any"],
    )
    assert from_plain(Whole, to_plain(found)) == found
    assert parse_document(Whole, b'{"text": "", "number": 0}') == Whole("", 0)


UNSOUND = {
    "an unknown key": ({"zzz": 1}, "unknown key 'zzz'"),
    "one within": ({"part": {"name": "a", "zzz": 1}}, "key part: unknown key 'zzz'"),
    "one in a list": ({"parts": [{"name": "a", "z": 1}]}, "key parts: unknown key 'z'"),
    "one in a table": ({"table": {"k": {"name": "", "z": 1}}}, "key table.k: unknown key 'z'"),
    "an escaping key": ({"a\nb\x1b[2J": 1}, "unknown key 'a\\nb\\x1b[2J'"),
    "a long key": ({"a" * 1_000_000: 1}, "unknown key 'aaaa"),
    "a place that escapes": ({"table": {"a\n\x1b": 1}}, "key table.'a\\n\\x1b': 1 is not a table"),
    "a long place": ({"table": {"a" * 9999: 1}}, "key table.aaaa"),
    "a text for a number": ({"number": "1"}, "key number: '1' is not an integer"),
    "a long text": ({"number": "x\n" * 999_999}, "key number: 'x\\nx"),
    "a long list": ({"number": [1] * 999_999}, "key number: a list is not an integer"),
    "a rate for a number": ({"number": 1.0}, "key number: 1.0 is not an integer"),
    "truth for a number": ({"number": True}, "key number: true is not an integer"),
    "truth for a rate": ({"rate": False}, "key rate: false is not a number"),
    "a number for truth": ({"flag": 1}, "key flag: 1 is not true or false"),
    "null": ({"text": None}, "key text: null is not a text"),
    "a text for a maybe": ({"maybe": ""}, "key maybe: '' is not an integer or null"),
    "a text for a list": ({"words": "abc"}, "key words: 'abc' is not a list"),
    "a table for a list": ({"words": {"a": 1}}, "key words: a table is not a list"),
    "a list for a table": ({"table": []}, "key table: a list is not a table"),
    "a list for a part": ({"part": ["a", 1]}, "key part: a list is not a table"),
    "another word": ({"color": "green"}, "key color: 'green' is not one of red, blue"),
    "a list for a word": ({"color": ["red"]}, "key color: a list is not one of red, blue"),
    "a part without a name": ({"part": {}}, "key part: missing key name"),
    # Of the parser below.
    "NaN": ({"rate": float("nan")}, "NaN is not a JSON number"),
    "an infinity": ({"any": {"a": float("-inf")}}, "-Infinity is not a JSON number"),
    "400 digits": ({"number": 10**400}, "key number: an integer does not fit into 64 bits"),
    "400 digits within": ({"any": {"a": [10**400]}}, "key any.a: an integer does not fit"),
    "a lone surrogate": ({"text": "\ud800"}, "key text: a text is not valid Unicode"),
    "one deep within": ({"any": {"a": ["\udfff"]}}, "key any.a: a text is not valid Unicode"),
    "one that is a key": ({"any": {"\ud800": 1}}, "not valid Unicode"),
    "an escaping place": ({"any": {"\x1b\n": "\ud800"}}, "key 'any.\\x1b\\n': a text is not"),
}


@pytest.mark.parametrize("case", UNSOUND)
def test_an_unsound_document_is_refused_in_one_line(case: str) -> None:
    values, words = UNSOUND[case]
    assert words in refusal(changed(**values))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b'{"text": "\xed\xa0\x80", "number": 1}', "is not JSON"),
        (b"null", "null is not a table"),
        (b"[]", "a list is not a table"),
        (b'"' + b"x" * 1_000_000 + b'"', "'xxxx"),
        (b"{}", "missing key text, number"),
        (b'{"any": ' + b"[" * 100_000, "nested deeper than 64 levels"),
        (b'{"any": {"a": ' + b"[" * 65 + b"]" * 65 + b"}}", "nested deeper than 64 levels"),
        (b'{"rate": 1e999, "text": "", "number": 0}', "key rate: inf is not a finite number"),
        (b'{"number": %s}' % (b"9" * 100_000), "does not fit into 64 bits"),
        (json.dumps(GOOD).encode() + b" " * MAX_DOCUMENT_BYTES, "bytes, more than 16777216"),
    ],
    ids=lambda value: value[:20].decode("latin-1") if isinstance(value, bytes) else "",
)
def test_a_document_that_is_none_is_refused_in_one_line(data: bytes, words: str) -> None:
    assert words in refusal(data)


def test_a_large_document_is_refused_before_it_is_decoded() -> None:
    # Not even UTF-8: a decoder would say so.
    assert "bytes, more than" in refusal(b"\xff" * (MAX_DOCUMENT_BYTES + 1))


@pytest.mark.parametrize("cls", PARSED)
def test_every_class_of_documents_is_one_that_can_be_read(cls: type[Any]) -> None:
    assert "missing key" in refusal(b"{}", cls)
    assert "unknown key 'zzz'" in refusal(b'{"zzz": 1}', cls)


@pytest.mark.fuzz("documents of dataclasses")
@given(documents(json.dumps(GOOD).encode()), st.sampled_from((Whole, *PARSED)))
def test_any_document_is_a_value_or_refused_in_one_line(data: bytes, cls: type[Any]) -> None:
    try:
        found = parse_document(cls, data, "paper")
    except FleetmarkError:
        refusal(data, cls)
    else:
        assert from_plain(cls, to_plain(found)) == found


@pytest.mark.fuzz("documents of dataclasses")
@given(st.sampled_from(sorted(GOOD)), ANYTHING)
def test_no_value_is_changed_into_another(name: str, value: Any) -> None:
    values = copy.deepcopy(GOOD)
    values[name] = value
    try:
        found = from_plain(Whole, values)
    except FleetmarkError as error:
        assert str(error).isprintable() and len(str(error)) < 600
        return
    again = to_plain(found)[name]
    assert _without_defaults(again) == _without_defaults(value)


def _without_defaults(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_defaults(v) for k, v in value.items() if (k, v) != ("size_bytes", 0)}
    if isinstance(value, list):
        return [_without_defaults(item) for item in value]
    return repr(value)


def test_a_text_is_not_taken_for_a_list_of_its_characters() -> None:
    lock = copy.deepcopy(LOCK)
    lock["components"][0]["variations"] = "abc"  # type: ignore[index]
    assert "key components.variations: 'abc'" in refusal(json.dumps(lock).encode(), Lockfile)


# what is signed or hashed


ORDER_BYTES = (
    b'{"bundle_bytes":10,"campaign_id":"c","device_id":"d","environment_bytes":0,"epoch":1,'
    b'"format":1,"job_id":"j","lock_bytes":10,"lock_sha256":"'
    + b"ab"
    * 32
    + b'","memory_bytes":0,"mode":"performance","output_bytes":0,"parameters":{"a":1.5,'
    b'"\xc3\xa4":"\xf0\x9f\x98\x80"},"profile":"quick","scenario":"SingleStream","timeout_s":60.0}'
)


def test_canonical_bytes_have_one_form_whatever_was_read() -> None:
    """Sorted keys, no spaces, UTF-8: written down here, so that no library can change it."""
    values = {**ORDER, "parameters": {"ä": "\U0001f600", "a": 1.5}}
    for text in (json.dumps(values, indent=4), json.dumps(dict(reversed(values.items())))):
        assert parse_order(text.encode()).canonical() == ORDER_BYTES
    assert parse_order(ORDER_BYTES).canonical() == ORDER_BYTES
    assert SignedOrder(1, "a", "b", "c").canonical() == (
        b'{"certificate":"c","format":1,"signature":"b","signed":"a"}'
    )
    assert Release(1, 2, 3, ({"b": 1, "a": []},), (("n", "d", 4),), ()).canonical() == (
        b'{"built":[],"components":[{"a":[],"b":1}],"expires_unix_s":3,"format":1,'
        b'"harnesses":[["n","d",4]],"made_unix_s":2,"serial":1}'
    )
    results = ResultsDocument("d", "j", 1, "b", "o", (Record(1, "k", b"{}"),), (("s", 2),))
    assert results.canonical() == (
        b'{"blobs":[["s",2]],"boot_id":"b","device_id":"d","epoch":1,"format":1,"job_id":"j",'
        b'"order_sha256":"o","records":[[1,"k","{}"]],"refusal":""}'
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", {"\udfff": 1}])
def test_what_json_cannot_represent_has_no_canonical_bytes(value: object) -> None:
    with pytest.raises(ValueError):
        canonical_json({"a": [value]})
