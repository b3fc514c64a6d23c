"""Formats of log lines: JSON that says the same, text that no value can break."""

from __future__ import annotations

import io
import json
import logging
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_cli.logging_setup import JsonFormatter, TextFormatter, set_up_logging
from fleetmark_core.log import LogEvent, get_logger
from tests.support.log_lines import parse_line, parse_log

TEXTS = st.text() | st.text(
    alphabet='\x1b\x9b\x07\r\n\t\x0b\x85\u2028\u202e[0;"\\=x \ud800\U0001f600'
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS
VALUES = SCALARS.filter(lambda value: value not in (float("inf"), float("-inf")))
NAMES = st.text(alphabet="abcdefgh_", min_size=1) | st.sampled_from(
    ["time", "level", "logger", "event", "exception", "name", "msg", "args"]
)
RESERVED = {"time", "level", "logger", "event", "exception"}
RESET = "\x1b[2J\x1b]0;title\x07"


def record(event: str, fields: dict[str, Any], error: BaseException | None = None) -> Any:
    info = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord(
        "fleetmark.test", logging.WARNING, "", 0, LogEvent(event, fields), None, info
    )


def whole(value: object) -> object:
    """Two halves of a character side by side are that character to JSON."""
    if not isinstance(value, str):
        return value
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def halves_apart(value: object) -> bool:
    """Whether a text can be decoded: lone halves cannot."""
    try:
        whole(value)
    except UnicodeDecodeError:
        return False
    return True


def controls(text: str) -> list[str]:
    return [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


@given(TEXTS, st.dictionaries(NAMES, VALUES))
def test_json_is_one_line_with_equal_values(event: str, fields: dict[str, Any]) -> None:
    line = JsonFormatter({}).format(record(event, fields))
    assert len(line.splitlines()) == 1
    assert [c for c in controls(line) if ord(c) < 0x100] == []
    line.encode()
    values = json.loads(line)
    assert list(values)[:4] == ["time", "level", "logger", "event"]
    assert (values["level"], values["logger"]) == ("warning", "fleetmark.test")
    assert values["event"] == event or not halves_apart(event) or values["event"] == whole(event)
    read = list(values.items())[4:]
    assert len(read) == len(fields)
    for (name, value), (key, back) in zip(fields.items(), read, strict=True):
        assert key == name or (name in RESERVED and key.rstrip("_") == name)
        assert back == value or (halves_apart(value) and back == whole(value))
        assert type(back) is type(value)


@given(TEXTS, st.dictionaries(TEXTS, VALUES))
def test_text_is_one_line_without_control_characters(event: str, fields: dict[str, Any]) -> None:
    line = TextFormatter({}).format(record(event, fields))
    assert len(line.splitlines()) == 1
    assert controls(line) == []
    assert line.isprintable()
    line.encode()


@given(st.dictionaries(st.text(alphabet="abc_", min_size=1), TEXTS))
def test_text_parses_back(fields: dict[str, str]) -> None:
    line = TextFormatter({}).format(record("attempt settled", fields))
    found = parse_line(line)
    assert found is not None
    assert (found.level, found.event) == ("warning", "attempt settled")
    assert found.fields.keys() == fields.keys()
    for name, value in fields.items():
        assert found.fields[name] == value or found.fields[name] == whole(value)


@pytest.mark.parametrize(
    ("value", "text", "plain"),
    [
        ("bench-01", "bench-01", "bench-01"),
        ("", '""', ""),
        ("two words", '"two words"', "two words"),
        ("site=lab1", '"site=lab1"', "site=lab1"),
        ('say "no"', '"say \\"no\\""', 'say "no"'),
        ("a\nb", '"a\\nb"', "a\nb"),
        (RESET, '"\\u001b[2J\\u001b]0;title\\u0007"', RESET),
        ("\x7f\x9b", '"\\u007f\\u009b"', "\x7f\x9b"),
        ("übung", "übung", "übung"),
        (True, "true", True),
        (None, "null", None),
        (2.5, "2.5", 2.5),
        (float("nan"), "nan", "nan"),
        (7301444404510916609, "7301444404510916609", 7301444404510916609),
        (["::1", "192.0.2.1"], "::1,192.0.2.1", ["::1", "192.0.2.1"]),
        (Path("/a b"), '"/a b"', "/a b"),
        (OSError("no room"), '"no room"', "no room"),
    ],
    ids=repr,
)
def test_values(value: object, text: str, plain: object) -> None:
    line = record("value shown", {"value": value})
    assert TextFormatter({}).format(line).endswith(f"value shown value={text}")
    assert json.loads(JsonFormatter({}).format(line))["value"] == plain


def test_a_value_without_text_does_not_cost_the_line() -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    line = record("value shown", {"value": Broken(), "job": "j"})
    assert json.loads(JsonFormatter({}).format(line))["job"] == "j"
    assert "job=j" in TextFormatter({}).format(line)


def test_fields_of_the_process_come_first_and_give_way_to_those_of_the_event() -> None:
    process = {"device": "bench-01"}
    line = record("attempt settled", {"job": "j"})
    assert TextFormatter(process).format(line).endswith("attempt settled device=bench-01 job=j")
    assert json.loads(JsonFormatter(process).format(line))["device"] == "bench-01"
    other = record("device enrolled", {"device": "bench-02"})
    assert json.loads(JsonFormatter(process).format(other))["device"] == "bench-02"


def test_times_are_rfc_3339_in_utc() -> None:
    line = record("attempt settled", {})
    line.created = 0.25
    time = json.loads(JsonFormatter({}).format(line))["time"]
    assert time == "1970-01-01T00:00:00.250Z"
    assert datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp() == 0.25


def test_an_exception_is_a_field_of_json_and_indented_text() -> None:
    forged = f"x\n12:00:00 INFO    attempt settled\r{RESET}"
    try:
        raise ValueError(forged)
    except ValueError as error:
        line = record("evaluation failed", {"job": "j", "exception": "own"}, error)
    values = json.loads(JsonFormatter({}).format(line))
    assert values["exception"].startswith("Traceback (most recent call last)")
    assert values["exception"].endswith(f"ValueError: {forged}")
    assert values["exception_"] == "own"
    first, *others = TextFormatter({}).format(line).split("\n")
    assert first.endswith("evaluation failed job=j exception=own")
    assert others and all(each.startswith("    ") for each in others)
    assert all(controls(each) == [] for each in others)


@contextmanager
def standard_error(monkeypatch: pytest.MonkeyPatch, terminal: bool = False) -> Iterator[Any]:
    """Replace standard error; at the end, put the former handlers and warnings back."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers[:] = []
    written = io.StringIO()
    monkeypatch.setattr(written, "isatty", lambda: terminal)
    monkeypatch.setattr("sys.stderr", written)
    logging.captureWarnings(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            yield written
    finally:
        logging.captureWarnings(False)
        root.handlers[:] = before
        root.setLevel(level)


@pytest.mark.parametrize(
    ("log_format", "terminal", "is_json"),
    [
        ("auto", True, False),
        ("auto", False, True),
        ("text", False, False),
        ("json", True, True),
    ],
)
def test_the_form_follows_the_terminal_unless_it_is_chosen(
    log_format: str, terminal: bool, is_json: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with standard_error(monkeypatch, terminal) as written:
        set_up_logging(log_format=log_format, fields={"device": "bench-01"})
        get_logger("fleetmark.test").info("attempt settled", job="j")
        get_logger("fleetmark.test").debug("message not sent")
    (line,) = written.getvalue().splitlines()
    assert line.startswith("{") is is_json
    found = parse_line(line)
    assert found == ("info", "attempt settled", {"device": "bench-01", "job": "j"})


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_records_of_other_libraries_have_the_same_form(
    log_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with standard_error(monkeypatch) as written:
        set_up_logging(log_format=log_format)
        other = logging.getLogger("zeroconf")
        other.warning("lost %s of %d\nforged", RESET, 3)
        other.warning("does not fit %d", "x")
        warnings.warn("old call", DeprecationWarning, stacklevel=1)
    lines = written.getvalue().splitlines()
    assert len(lines) == 3
    assert [c for line in lines for c in controls(line)] == []
    found = parse_log(written.getvalue())
    assert "lost " in found[0].event
    assert found[1].event.startswith("does not fit %d")
    assert "DeprecationWarning: old call" in found[2].event
