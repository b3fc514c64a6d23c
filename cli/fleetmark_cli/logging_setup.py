"""Logging setup: one line of text per event on a terminal, JSON lines otherwise."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from datetime import datetime, timezone

from fleetmark_cli.encoding import is_unicode
from fleetmark_cli.sanitize import clean, escape_json
from fleetmark_core.log import LogEvent
from fleetmark_core.log_format import json_form, text_form


class JsonFormatter(logging.Formatter):
    """Formatter that writes one JSON object per record.

    Keys: `time` (RFC 3339, UTC), `level`, `logger`, `event`, then the fields, then `exception`.
    """

    def __init__(self, fields: Mapping[str, object]) -> None:
        """Create a formatter that adds `fields` to every record."""
        super().__init__()
        self._fields = fields

    def format(self, record: logging.LogRecord) -> str:
        """Return the JSON object of a record, without a line end."""
        event, fields = _parts(record)
        moment = datetime.fromtimestamp(record.created, timezone.utc)
        head = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": event,
        }
        tail = {"exception": self.formatException(record.exc_info)} if record.exc_info else {}
        ascii_only = not is_unicode(sys.stderr)
        return escape_json(json_form(head, {**self._fields, **fields}, tail, ascii_only=ascii_only))


class TextFormatter(logging.Formatter):
    """Formatter that writes `HH:MM:SS LEVEL event key=value`; a traceback follows, indented."""

    def __init__(self, fields: Mapping[str, object]) -> None:
        """Create a formatter that adds `fields` to every record."""
        super().__init__()
        self._fields = fields

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record, without a line end."""
        event, fields = _parts(record)
        time = self.formatTime(record, "%H:%M:%S")
        line = f"{time} {record.levelname:<7} {text_form(event, {**self._fields, **fields})}"
        if not record.exc_info:
            return line
        # Indented, so that no text of an exception looks like a line of the log.
        traceback = self.formatException(record.exc_info).splitlines()
        return "\n".join([line, *(f"    {clean(each)}" for each in traceback)])


def set_up_logging(
    verbose: bool = False, log_format: str = "auto", fields: Mapping[str, object] | None = None
) -> None:
    """Send the log records of this process, and its warnings, to stderr.

    Args:
        verbose: include debug messages.
        log_format: one of `log_format.LOG_FORMATS`.
        fields: fields of every record, such as the name of the device.
    """
    # No format uses these values, and each costs some microseconds per log line.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler()
    is_text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    handler.setFormatter((TextFormatter if is_text else JsonFormatter)(fields or {}))
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO, handlers=[handler], force=True
    )
    logging.captureWarnings(True)


def _parts(record: logging.LogRecord) -> tuple[str, Mapping[str, object]]:
    """Return event and fields; the event of a record of another library is its message."""
    if isinstance(record.msg, LogEvent):
        return record.msg.event, record.msg.fields
    try:
        return record.getMessage().strip(), {}
    except Exception:
        # Its arguments do not fit its format. The line must be written nevertheless.
        return str(record.msg), {"args": str(record.args)}
