"""Fill in the placeholders of the command that switches a device off and on. Pure.

A device that could choose a word of the command could switch off another device. Therefore
placeholders take values that the controller or an operator set, and never values that a device
reports.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")


class PowerCommandError(Exception):
    """Raised when a value for the command is missing or would be read as an option."""


def fill_power_command(words: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """Return the command with its placeholders replaced.

    Args:
        words: the command from the settings. `{name}`, `{device_id}` and `{label:KEY}` are
            placeholders in every word except the first. Other braces stay as they are.
        values: the values that operators set, by placeholder: `name`, `device_id`, `label:KEY`.

    Raises:
        PowerCommandError: a placeholder has no value, or its value begins with a dash, is empty or
            is not printable.
    """

    def value_of(match: re.Match[str]) -> str:
        key = match[1]
        if key not in ("name", "device_id") and not key.startswith("label:"):
            return match[0]
        value = values.get(key)
        if value is None:
            what = "name" if key == "name" else f"label {key.removeprefix('label:')}"
            raise PowerCommandError(f"no operator has set the {what} of the device")
        if not value or value.startswith("-") or not value.isprintable():
            raise PowerCommandError(f"{key} is {value[:40]!r}, which is not a single plain word")
        return value

    first, *rest = words
    return [first, *(_PLACEHOLDER.sub(value_of, word) for word in rest)]
