"""Logging setup: readable lines on a terminal, JSON lines otherwise."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone

from fleetmark_cli.encoding import is_unicode
from fleetmark_cli.sanitize import clean, escape_json


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, timezone.utc)
        line: dict[str, object] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return escape_json(json.dumps(line, ensure_ascii=not is_unicode(sys.stderr)))


class _CleanFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return clean(super().format(record))


def set_up_logging(verbose: bool = False) -> None:
    """Send log messages to stderr; include debug messages only if `verbose`."""
    # No format uses these values, and each costs some microseconds per log line.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler()
    if sys.stderr.isatty():
        handler.setFormatter(_CleanFormatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    else:
        handler.setFormatter(_JsonLines())
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO, handlers=[handler], force=True
    )
