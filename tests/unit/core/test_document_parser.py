"""Documents that others hand in are values, or one ValueError that says what is wrong."""

from __future__ import annotations

import time
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_core.document_parser import MAX_DEPTH, parse_json, parse_toml

JSON = {
    "5,000 digits": (b'{"a": %s}' % (b"9" * 5000), "64 bits"),
    "21 digits": (b"100000000000000000000", "64 bits"),
    "2^64": (b'{"a": {"b": 18446744073709551616}}', "key a.b: .*64 bits"),
    "below 2^63": (b"-9223372036854775809", "64 bits"),
    "nested for the parser": (b"[" * 100_000, "nested deeper"),
    "nested for what follows": (b"[" * 200 + b"]" * 200, "nested deeper"),
    "NaN": (b'{"a": NaN}', "NaN"),
    "infinity": (b"[-Infinity]", "Infinity"),
    "an infinity in digits": (b'{"a": [1e999]}', "key a: inf is not a finite number"),
    "a lone surrogate": (b'{"a": "\\ud800"}', "key a: a text is not valid Unicode"),
    "a key that is one": (b'{"\\udc00": 1}', "not valid Unicode"),
    "a surrogate in bytes": (b'"\xed\xa0\x80"', "decode"),
    "no UTF-8": (b"\xff\xfe", "decode"),
    "nothing": (b"", "Expecting value"),
    "values without end": (b"[" + b"[]," * 3_000_000 + b"0]", "more than 2,000,000 values"),
}
TOML = {
    "5,000 digits": (b'a = "x"\nb = %s\n' % (b"9" * 5000), "line 2: .*64 bits"),
    "hexadecimal digits": (b"[a]\nb = 0x%s" % (b"f" * 5000), "key a.b: .*64 bits"),
    "2^63": (b"a = 9223372036854775808", "key a: .*64 bits"),
    "nested for the parser": (b"a = " + b"[" * 5000, "nested deeper"),
    "nested for what follows": (b"a = " + b"[" * 99 + b"]" * 99, "nested deeper"),
    "nested by keys": (b".".join([b"a"] * 99) + b" = 1", "nested deeper"),
    "a key of 200,000 parts": (b"x = 1\n" + b".".join([b"a"] * 200_000) + b" = 1", "line 2 has"),
    "a table of 200,000 parts": (b"[" + b".".join([b"a"] * 200_000) + b"]", "line 1 has"),
    "a date": (b"[x]\na = [1979-05-27]", "key x.a: a date or time is not allowed"),
    "NaN": (b"a = nan", "key a: nan is not a finite number"),
    "no UTF-8": (b"\xff", "decode"),
    "no TOML": (b"a = ", "Invalid value"),
}


@pytest.mark.parametrize("what", JSON)
def test_a_bad_json_document_is_a_value_error(what: str) -> None:
    data, says = JSON[what]
    begin = time.process_time()
    with pytest.raises(ValueError, match=says):
        parse_json(data)
    assert time.process_time() - begin < 5


@pytest.mark.parametrize("what", TOML)
def test_a_bad_toml_document_is_a_value_error(what: str) -> None:
    data, says = TOML[what]
    begin = time.process_time()
    with pytest.raises(ValueError, match=says):
        parse_toml(data)
    assert time.process_time() - begin < 5


def test_sound_documents_are_values() -> None:
    deep: object = 1
    for _ in range(MAX_DEPTH - 1):
        deep = [deep]
    text = str(deep).encode()
    assert parse_json(text) == deep
    assert parse_json(b"\xef\xbb\xbf[18446744073709551615, -9223372036854775808, 1.5]") == [
        (1 << 64) - 1,
        -(1 << 63),
        1.5,
    ]
    assert parse_json('{"a": "ä\U0001f600", "b": null}'.encode()) == {"a": "ä\U0001f600", "b": None}
    assert parse_json(b'["' + b"," * (5 << 20) + b'"]') == ["," * (5 << 20)]
    dated = b'a.b = [{ c = 1979-05-27 }]\n"d" = 0x7fffffffffffffff'
    assert parse_toml(dated, with_dates=True) == {
        "a": {"b": [{"c": date(1979, 5, 27)}]},
        "d": (1 << 63) - 1,
    }


@given(st.binary() | st.text(alphabet='[]{}",:.=\\ud8901eNa-+\n ').map(str.encode))
def test_any_bytes_are_a_value_or_a_value_error(data: bytes) -> None:
    for parse in (parse_json, parse_toml):
        try:
            parse(data)
        except ValueError as error:
            assert str(error)
