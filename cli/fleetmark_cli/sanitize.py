"""Removal of control characters and changes of text direction, which a terminal would interpret.

Names, reasons, labels, titles and output come from devices, jobs, catalogs and other operators. All
text that a command prints passes through this module.
"""

from __future__ import annotations

import codecs
import re

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_ESCAPED = re.compile(
    "[\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]"
)
"""Characters that JSON does not escape, and that a terminal interprets or hides."""


def clean(text: str) -> str:
    """Return `text` without control characters, except for line ends and tabs.

    Characters that change the text direction and lone surrogates are replaced as well.
    """
    if text.isprintable():
        return text
    return "".join(map(_shown, text))


def clean_line(text: str) -> str:
    """Return `text` as one line: line ends and tabs become spaces."""
    return clean(text.replace("\r\n", " ").replace("\n", " ").replace("\t", " "))


def escape_json(document: str) -> str:
    """Return an equivalent JSON document in which the characters of `_ESCAPED` are escaped.

    JSON itself escapes the control characters below U+0020. All other escaped characters are below
    U+10000, so that one escape is enough for each.
    """
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", document)


class ControlCharFilter:
    """An incremental decoder for a byte stream that removes control characters as `clean` does."""

    def __init__(self) -> None:
        """Start at the beginning of the stream."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def clean(self, data: bytes) -> str:
        """Return the text of the next chunk; a split character comes with the chunk after it."""
        return clean(self._decoder.decode(data))


def _shown(letter: str) -> str:
    if letter.isprintable() or letter in "\n\t":
        return letter
    if letter == "\r":
        return ""
    return " " if letter.isspace() and letter > "\x7f" and letter != "\x85" else _REPLACEMENT
