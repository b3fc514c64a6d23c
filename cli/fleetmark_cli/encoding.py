"""Replacement of characters that a stream cannot encode, so that no output fails in any locale.

A stream's encoding is not UTF-8 in locales like `en_US.ISO-8859-1`, or if PYTHONIOENCODING is set.
The module imports little, because the long-lived process of an agent uses it too.
"""

from __future__ import annotations

import codecs
import io
import sys
from typing import TextIO

_HANDLER = "fleetmark-ascii"
_FORMS = {
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212\u2500\u2501\u2504\u2508", "-"),
    **dict.fromkeys("\u2550", "="),
    **dict.fromkeys("\u2502\u2503\u2551", "|"),
    **dict.fromkeys("\u2018\u2019", "'"),
    **dict.fromkeys("\u201c\u201d", '"'),
    **dict.fromkeys("\u2190\u25c0", "<-"),
    **dict.fromkeys("\u2192\u25b6", "->"),
    **dict.fromkeys("\u2022\u25cf\xb7", "*"),
    **dict.fromkeys("\xb5\u03bc", "u"),
    "\u2191": "^",
    "\u2193": "v",
    "\u2026": "...",
    "\u2264": "<=",
    "\u2265": ">=",
    "\u2248": "~",
    "\u2713": "+",
    "\u2717": "x",
    "\xab": "<<",
    "\xb0": "deg ",
    "\xb1": "+/-",
    "\xbb": ">>",
    "\xd7": "x",
}


def ascii_form(letter: str) -> str:
    """Return the ASCII form of a character: never empty, `?` if there is no similar form."""
    if letter.isascii():
        return letter
    known = _FORMS.get(letter)
    if known is not None:
        return known
    if "\u2500" <= letter <= "\u257f":  # box drawing: corners, crossings
        return "+"
    if "\u2580" <= letter <= "\u259f":  # block elements
        return "#"
    import unicodedata

    plain = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return plain if plain.isprintable() and plain.strip() else "?"


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(ascii_form, error.object[error.start : error.end])), error.end


def protect_streams() -> None:
    """Make standard output and standard error replace characters that they cannot encode."""
    codecs.register_error(_HANDLER, _replace)
    for stream in (sys.stdout, sys.stderr):
        # Other objects, which tests substitute, are not files.
        if not isinstance(stream, io.TextIOWrapper):
            continue
        # A UTF-8 stream with this handler writes file names of another encoding as they are.
        if not (is_unicode(stream) and stream.errors == "surrogateescape"):
            stream.reconfigure(errors=_HANDLER)


def is_unicode(stream: TextIO) -> bool:
    """Return whether a stream can encode every character."""
    name = getattr(stream, "encoding", None) or "utf-8"
    try:
        return codecs.lookup(name).name.startswith("utf")
    except LookupError:
        return False


def encodable(text: str, stream: TextIO) -> str:
    """Return `text` as `stream` will show it; the alignment of columns needs its width."""
    if text.isascii() or is_unicode(stream):
        return text
    name = getattr(stream, "encoding", None) or "ascii"
    codecs.register_error(_HANDLER, _replace)
    try:
        return text.encode(name, _HANDLER).decode(name)
    except LookupError:
        return "".join(map(ascii_form, text))
