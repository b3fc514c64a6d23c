"""Structured logging on the standard library's logging: an event with key–value fields.

    log = get_logger(__name__)
    log.info("attempt settled", job=key.job_id, epoch=key.epoch)

An event is a short lower-case phrase without data, such as `certificate renewed`. All data is in
fields. docs/adr/0012 gives the reasons why this is not structlog.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from fleetmark_core.log_format import text_form


class LogEvent:
    """The message of a log record: an event and its fields.

    Fields are not attributes of the record, so that no name of a field can collide with one.
    """

    __slots__ = ("event", "fields")

    def __init__(self, event: str, fields: Mapping[str, object]) -> None:
        """Hold an event and its fields."""
        self.event = event
        self.fields = fields

    def __str__(self) -> str:
        """Return the text form, for handlers that do not know this class."""
        return text_form(self.event, self.fields)


class FieldLogger:
    """A logger whose methods take an event, and fields as keyword arguments."""

    __slots__ = ("_fields", "_logger")

    def __init__(self, logger: logging.Logger, fields: Mapping[str, object]) -> None:
        """Create a logger that adds `fields` to every event."""
        self._logger = logger
        self._fields = fields

    def bind(self, /, **fields: object) -> FieldLogger:
        """Return a logger that adds these fields, too, to every event."""
        return FieldLogger(self._logger, {**self._fields, **fields})

    def debug(self, event: str, /, **fields: object) -> None:
        """Log an event that only developers need."""
        if self._logger.isEnabledFor(logging.DEBUG):
            self._write(logging.DEBUG, event, fields)

    def info(self, event: str, /, **fields: object) -> None:
        """Log an event of normal operation."""
        if self._logger.isEnabledFor(logging.INFO):
            self._write(logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        """Log an event that an operator may have to act on."""
        if self._logger.isEnabledFor(logging.WARNING):
            self._write(logging.WARNING, event, fields)

    def error(self, event: str, /, **fields: object) -> None:
        """Log a failure that needs an operator."""
        if self._logger.isEnabledFor(logging.ERROR):
            self._write(logging.ERROR, event, fields)

    def failure(self, event: str, error: BaseException, /, **fields: object) -> None:
        """Log an unexpected exception as an error with its traceback."""
        if self._logger.isEnabledFor(logging.ERROR):
            self._write(logging.ERROR, event, fields, error)

    def _write(
        self,
        level: int,
        event: str,
        fields: Mapping[str, object],
        error: BaseException | None = None,
    ) -> None:
        message = LogEvent(event, {**self._fields, **fields})
        # The caller of the public method is the third frame from here.
        self._logger.log(level, message, exc_info=error, stacklevel=3)


def get_logger(name: str) -> FieldLogger:
    """Return the logger of this name, without bound fields."""
    return FieldLogger(logging.getLogger(name), {})
