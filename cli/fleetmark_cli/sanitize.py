"""Foreign output on a terminal: what a job writes must not move the cursor or set a title."""

from __future__ import annotations

import codecs


class Plain:
    """One stream without control characters, but for line ends and tabs."""

    def __init__(self) -> None:
        """At the stream's beginning."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def clean(self, data: bytes) -> str:
        """The text of the next piece; a letter that was cut comes with the piece after it."""
        return "".join(map(_shown, self._decoder.decode(data)))


def _shown(letter: str) -> str:
    if letter.isprintable() or letter in "\n\t":
        return letter
    return "" if letter == "\r" else "\N{REPLACEMENT CHARACTER}"
