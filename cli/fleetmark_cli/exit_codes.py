"""What a command that did not do its work ends with. Loads nothing: a service needs it, too."""

from __future__ import annotations

from typing import NamedTuple

EXIT_USAGE = 2
EXIT_REFUSED = 4
EXIT_INTERRUPTED = 130


class Problem(NamedTuple):
    """One line, which names the command before it is shown, and an exit code."""

    line: str
    exit_code: int
