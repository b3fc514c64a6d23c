"""Text and JSON forms of a log line: an event and its fields.

The text form is logfmt: `event key=value key="a value with spaces"`. Both forms are one line, and
neither contains a control character, whatever a device, a job or an operator put into a value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from math import isfinite

LOG_FORMATS = ("auto", "text", "json")
"""Values of `--log-format`; `auto` is text on a terminal and JSON lines otherwise."""

_QUOTED = re.compile(r'[\s"=]')
_NOT_IN_KEYS = re.compile(r"[^\w.-]", re.ASCII)
_SHORT_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def text_form(event: str, fields: Mapping[str, object]) -> str:
    """Return an event and its fields as one line of text."""
    words = [_escape(event, "")]
    words += [f"{_text_key(key)}={_text_value(value)}" for key, value in fields.items()]
    return " ".join(words)


def json_form(
    head: Mapping[str, str],
    fields: Mapping[str, object],
    tail: Mapping[str, str],
    *,
    ascii_only: bool = False,
) -> str:
    """Return one JSON object: `head`, then the fields, then `tail`.

    A field with the name of a key of `head` or `tail` gets an underscore at its end, so that no
    value replaces another. Control characters from U+007F are not escaped yet.
    """
    line: dict[str, object] = dict(head)
    for name, value in fields.items():
        key = name
        while key in line or key in tail or (key != name and key in fields):
            key += "_"
        line[key] = _plain(value)
    return json.dumps({**line, **tail}, ensure_ascii=ascii_only)


def _text_key(key: str) -> str:
    return _NOT_IN_KEYS.sub("_", key) or "_"


def _text_value(value: object) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, (list, tuple)):
        return _quote(",".join(map(_text_of, value)))
    return _quote(_text_of(value))


def _quote(text: str) -> str:
    """Return the text as it is, or as a JSON string if it is not one word of printable letters."""
    if text and text.isprintable() and not _QUOTED.search(text):
        return text
    return f'"{_escape(text, chr(34) + chr(92))}"'


def _escape(text: str, special: str) -> str:
    """Escape as JSON does what is not printable, and the characters of `special`."""
    if text.isprintable() and not any(letter in text for letter in special):
        return text
    return "".join(
        letter if letter.isprintable() and letter not in special else _escaped(letter)
        for letter in text
    )


def _escaped(letter: str) -> str:
    # ASCII JSON escapes everything that is not printable, except U+007F.
    return _SHORT_ESCAPES.get(letter) or (
        "\\u007f" if letter == "\x7f" else json.dumps(letter)[1:-1]
    )


def _plain(value: object) -> object:
    """Return a value that JSON can represent."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if isfinite(value) else str(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return _text_of(value)


def _text_of(value: object) -> str:
    try:
        return str(value)
    except Exception as error:
        # A log line must never fail for one of its values.
        return f"<{type(value).__name__} without text: {type(error).__name__}>"
