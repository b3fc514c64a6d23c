"""The command that switches a device off and on, with its placeholders filled in. Pure.

A device that chose a word of the command could switch off another device. Placeholders therefore
take values that the controller or an operator set, and never values that a device reports.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")


class PowerCommandError(Exception):
    """The command cannot be filled in: a value is missing or would be read as an option."""


def fill_power_command(words: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """Return the command with its placeholders replaced.

    Args:
        words: the command of the settings; `{name}`, `{device_id}` and `{label:KEY}` in any of its
            words but the first are placeholders. Other braces stay as they are.
        values: what operators set, by placeholder: `name`, `device_id`, `label:KEY`.

    Raises:
        PowerCommandError: a placeholder has no such value, or the value begins with a dash, is
            empty or cannot be printed.
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
            raise PowerCommandError(f"{key} is {value[:40]!r}, which would not be one plain word")
        return value

    first, *rest = words
    return [first, *(_PLACEHOLDER.sub(value_of, word) for word in rest)]
