"""Exit codes of commands that fail. Imports little, because services use it too."""

from __future__ import annotations

from typing import NamedTuple

EXIT_USAGE = 2
EXIT_REFUSED = 4
EXIT_INTERRUPTED = 130


class Problem(NamedTuple):
    """One line for users, to be prefixed with the command's name, and an exit code."""

    line: str
    exit_code: int
