"""Lines of the log of an agent or a controller, in either of their two forms."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from fleetmark_core.log_format import text_form

_HEAD = ("time", "level", "logger", "event")
_VALUE = r'"(?:[^"\\]|\\.)*"|[^\s"]*'
_FIELD = re.compile(rf" ([\w.-]+)=({_VALUE})")
_TEXT = re.compile(
    r"\d\d:\d\d:\d\d (?P<level>[A-Z]+) +(?P<event>.*?)"
    rf"(?P<fields>(?: [\w.-]+=(?:{_VALUE}))*)"
)


class LogLine(NamedTuple):
    """One line: a level in lower case, an event, and its fields."""

    level: str
    event: str
    fields: dict[str, Any]

    @property
    def text(self) -> str:
        """Return the line as text, without time, level and traceback."""
        fields = {key: value for key, value in self.fields.items() if key != "exception"}
        return text_form(self.event, fields)


def parse_line(line: str) -> LogLine | None:
    """Return a parsed line of a log; None for any other line, such as a command's output.

    Values of fields of the text form are texts.
    """
    if line.startswith("{"):
        values = json.loads(line)
        fields = {key: value for key, value in values.items() if key not in _HEAD}
        return LogLine(values["level"], values["event"], fields)
    found = _TEXT.fullmatch(line)
    if found is None:
        return None
    fields = {
        key: json.loads(value) if value.startswith('"') else value
        for key, value in _FIELD.findall(found["fields"])
    }
    return LogLine(found["level"].lower(), found["event"], fields)


def parse_log(text: str) -> list[LogLine]:
    """Return the lines of a log, without what else a program printed."""
    return [found for line in text.splitlines() if (found := parse_line(line)) is not None]


def shown(line: str) -> str:
    """Return a line of a program's output; a line of its log as text."""
    found = parse_line(line)
    return line if found is None else found.text
