"""Exit codes of commands that fail. Imports little, because services use it too."""

from __future__ import annotations

from typing import NamedTuple

EXIT_USAGE = 2
EXIT_REFUSED = 4
EXIT_INTERRUPTED = 130


class Problem(NamedTuple):
    """An exit code, and a line for users that is prefixed with the command's name."""

    line: str
    exit_code: int
