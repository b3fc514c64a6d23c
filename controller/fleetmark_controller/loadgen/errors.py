"""The error of a run's files."""

from __future__ import annotations


class IngestError(Exception):
    """Error of a file that is not in its format: what is wrong, and where."""

    def __init__(self, what: str, where: str = "") -> None:
        """Set the texts, which are short and have no trailing full stop."""
        super().__init__(what)
        self.what = what
        self.where = where

    def __str__(self) -> str:
        """Return the error as one line."""
        return f"{self.where}: {self.what}" if self.where else self.what

    def __reduce__(self) -> tuple[type[IngestError], tuple[str, str]]:
        """Return the constructor call, so that the error can be pickled by a worker process."""
        return (IngestError, (self.what, self.where))


def excerpt(value: object, limit: int = 80) -> str:
    """Return a short, printable excerpt of an untrusted value for an error message."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an int of over 4300 digits, a nested list
        text = f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
