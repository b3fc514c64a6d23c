"""Limits on data from agents: all of it is hostile until it has passed here.

Texts are cleaned instead of refused, because real devices have strange names in their firmware.
Data that exceeds a limit of count, size or range is refused.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from fleetmark_controller.lifecycle import fencing
from fleetmark_core.clock import NS_PER_S
from fleetmark_core.errors import ErrorKind, FleetmarkError

MAX_TEXT = 1000
MAX_ITEMS = 2000
MAX_NUMBER = 1 << 60
MAX_DEPTH = 8
MAX_JSON_DEPTH = 32
MAX_ATTEMPTS = 256
MAX_LABELS = 64
MAX_LABEL = 200
MAX_ID = 100
_IDENTIFIER = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._:-]*)?")
_GENERATIONS_AHEAD = 100_000
"""Hours (eleven years): the difference that a restored backup or a wrong clock may explain."""


def text(value: str, most: int = MAX_TEXT) -> str:
    """Return printable text of bounded length; it cannot move a terminal's cursor."""
    cut = value[:most]
    if cut.isprintable():
        return cut
    return "".join(letter if letter.isprintable() else "�" for letter in cut)


class _OutOfRangeError(ValueError):
    """A number that no capability of a device can have."""


def facts(value: Any, depth: int = 0, where: str = "capabilities") -> Any:
    """Return plain values of capabilities with cleaned texts; `where` names them in messages.

    Raises:
        FleetmarkError: BAD_MESSAGE: too many items, too deep, or a number out of range, with its
            name.
    """
    try:
        return _facts(value, depth)
    except _OutOfRangeError as error:
        # Search for the number only now: of thousands of devices, hardly any has one out of range.
        name, number = next(_out_of_range(value, where))
        shown = text(str(number), 40) if abs(number) < 10**40 else "an invalid number"
        raise _bad_message_error(
            f"{name} of {shown}; it must be between 0 and {MAX_NUMBER}"
        ) from error


def _out_of_range(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _out_of_range(item, f"{where}.{_clean(str(key), 40)}")
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from _out_of_range(item, f"{where}[{number}]")
    elif type(value) in (int, float) and not 0 <= value <= MAX_NUMBER:
        yield where, value


def _facts(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is str:
        return _clean(value)
    if kind is bool or value is None:
        return value
    if kind is int or kind is float:
        if not 0 <= value <= MAX_NUMBER:  # the comparison is false for NaN, too
            raise _OutOfRangeError
        return value
    if depth >= MAX_DEPTH or len(value) > MAX_ITEMS:
        raise _bad_message_error("capabilities with too many items or levels")
    # Most items are texts: handle them without a recursive call.
    if isinstance(value, dict):
        return {
            _clean(key, MAX_LABEL): _clean(item) if type(item) is str else _facts(item, depth + 1)
            for key, item in value.items()
        }
    return [_clean(item) if type(item) is str else _facts(item, depth + 1) for item in value]


def _clean(value: str, most: int = MAX_TEXT) -> str:
    return value if len(value) <= most and value.isprintable() else text(value, most)


def document(payload: bytes, what: str) -> None:
    """Check that a record's payload is a JSON object that every reader of the store can parse.

    A payload that SQLite cannot parse would abort every query of the view that shows it.

    Raises:
        FleetmarkError: BAD_MESSAGE: not an object; too deep; NaN, an infinity or a lone surrogate.
    """
    try:
        value = json.loads(payload.decode("utf-8"), parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise _bad_message_error(f"{what} that is not JSON") from error
    if not isinstance(value, dict):
        raise _bad_message_error(f"{what} that is not a JSON object")
    waiting: list[tuple[Any, int]] = [(value, 1)]
    while waiting:
        item, depth = waiting.pop()
        if isinstance(item, str):
            if any("\ud800" <= letter <= "\udfff" for letter in item):
                raise _bad_message_error(f"{what} with a lone surrogate")
        elif isinstance(item, (dict, list)):
            if depth > MAX_JSON_DEPTH:
                raise _bad_message_error(f"{what} that is nested too deeply")
            inner = [*item, *item.values()] if isinstance(item, dict) else item
            waiting.extend((part, depth + 1) for part in inner)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def labels(given: Mapping[str, str]) -> dict[str, str]:
    """Return a device's labels after checking them.

    Raises:
        FleetmarkError: BAD_MESSAGE.
    """
    if len(given) > MAX_LABELS:
        raise _bad_message_error(f"{len(given)} labels, more than {MAX_LABELS}")
    for key, value in given.items():
        whole = key + value
        if not key or len(key) > MAX_LABEL or len(value) > MAX_LABEL or not whole.isprintable():
            raise _bad_message_error(f"the invalid label {text(key, 40)!r}")
    return dict(given)


def identifier(value: str, what: str) -> str:
    """Return an id that another program created: letters, digits and `._:-`, or empty.

    Raises:
        FleetmarkError: BAD_MESSAGE.
    """
    if len(value) > MAX_ID or not _IDENTIFIER.fullmatch(value):
        raise _bad_message_error(
            f"{what} {text(value, 40)!r}; an id can only have letters, digits and . _ : -"
        )
    return value


def epoch(number: int) -> int:
    """Return an epoch that the store can hold.

    Raises:
        FleetmarkError: BAD_MESSAGE.
    """
    if not 0 < number < 1 << 63:
        raise _bad_message_error(
            f"the epoch {text(str(number), 40) if abs(number) < 10**40 else 'of over 40 digits'}"
        )
    return number


def epoch_seen(epoch: int, now_unix_ns: int) -> int:
    """Return the highest epoch that a device has seen, if a controller can have assigned it.

    Without a limit, one message of one agent could use up all epochs.

    Raises:
        FleetmarkError: BAD_MESSAGE.
    """
    most = fencing.choose(0, 0, now_unix_ns / NS_PER_S) + _GENERATIONS_AHEAD
    if epoch >> 32 > min(most, fencing.MOST):
        raise _bad_message_error(f"epoch {epoch}, which no controller can have assigned")
    return epoch


def temperature(value: float | None) -> float | None:
    """Return degrees Celsius that a sensor can show; None for any other value, including NaN."""
    return value if value is not None and -100 <= value <= 250 else None


def count(number: int, most: int, what: str) -> None:
    """Refuse more than `most` items.

    Raises:
        FleetmarkError: BAD_MESSAGE.
    """
    if number > most:
        raise _bad_message_error(f"{number} {what}, more than {most}")


def _bad_message_error(what: str) -> FleetmarkError:
    return FleetmarkError(ErrorKind.BAD_MESSAGE, f"the message holds {what}")
