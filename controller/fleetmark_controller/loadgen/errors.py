"""What can be wrong with the files of a run."""

from __future__ import annotations


class IngestError(Exception):
    """A file that cannot be read as what it claims to be: what was wrong, and where."""

    def __init__(self, what: str, where: str = "") -> None:
        """Texts are short and whole: no trailing full stop."""
        super().__init__(what)
        self.what = what
        self.where = where

    def __str__(self) -> str:
        """One line."""
        return f"{self.where}: {self.what}" if self.where else self.what

    def __reduce__(self) -> tuple[type[IngestError], tuple[str, str]]:
        """Survives the way back from a worker process."""
        return (IngestError, (self.what, self.where))


def excerpt(value: object, limit: int = 80) -> str:
    """A short, printable piece of hostile text for an error message."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an int of over 4300 digits, a nested list
        text = f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
