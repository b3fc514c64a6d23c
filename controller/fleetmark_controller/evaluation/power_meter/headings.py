"""Units that the headings of a log's columns state, checked against the stated options. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from fleetmark_controller.loadgen.errors import IngestError, excerpt

_WORDS = {
    **{"watt": "W", "watts": "W", "milliwatt": "mW", "milliwatts": "mW", "kilowatts": "kW"},
    **{"microwatts": "uW", "volt": "V", "volts": "V", "millivolt": "mV", "millivolts": "mV"},
    **{"microvolts": "uV", "amp": "A", "amps": "A", "ampere": "A", "amperes": "A"},
    **{"milliamp": "mA", "milliamps": "mA", "milliampere": "mA", "milliamperes": "mA"},
    **{"microamp": "uA", "microamps": "uA", "nanoamps": "nA"},
}
_UNIT = r"(?:[numkM\u00b5\u03bc]?[WVA])"
_BRACKETED = re.compile(rf"[(\[{{]\s*({_UNIT})\s*[)\]}}]")
# A single letter may be the name of a channel or phase, so that only W and V count after "_".
_SUFFIX = re.compile(r"[_ ./-]((?:[numkM\u00b5\u03bc][WVA])|[WVA])$")
_WORD = re.compile(r"[A-Za-z]+")
_MICRO = str.maketrans({"\u00b5": "u", "\u03bc": "u"})


def stated_unit(heading: str) -> str:
    """Return the unit that a heading states, such as `mW` of `Power (mW)`; empty if it has none.

    Recognized are units in brackets, after `_`, `.`, `/`, `-` or a space at the end, and words such
    as `milliwatts`. The letter of a micro unit is `u` in the result.
    """
    text = heading.strip()
    found = _BRACKETED.search(text) or _SUFFIX.search(text)
    if found is not None:
        return found[1].translate(_MICRO)
    words = [_WORDS[word] for word in _WORD.findall(text.lower()) if word in _WORDS]
    return words[0] if words else ""


def checked_factor(quantity: str, heading: str, unit: str, units: Mapping[str, float]) -> float:
    """Return the factor to the base unit of a column whose heading agrees with its option.

    Args:
        quantity: power, voltage or current, for the name of the option.
        heading: the heading in the log; empty if there is none.
        unit: the unit that the operator stated; empty for the base unit.
        units: the known units and their factors, the base unit first.

    Raises:
        IngestError: the heading states another unit.
    """
    base = next(iter(units))
    stated = stated_unit(heading)
    is_of_quantity = stated.endswith(base)
    # The letter of a channel or phase, as in rail_A, is no unit of another quantity.
    is_letter = len(stated) == 1 and not _BRACKETED.search(heading) and not is_of_quantity
    if not stated or is_letter or stated == (unit or base):
        return units[unit or base]
    where = f"has the heading {excerpt(heading)} for --{quantity}-column, whose unit is {stated}"
    if stated not in units:
        known = ", ".join(units)
        kind = "is not supported" if is_of_quantity else f"is no unit of {quantity}"
        raise IngestError(
            f"{where}; that {kind} (use one of {known}); name another column or convert the log"
        )
    was = f"--{quantity}-unit states {unit}" if unit else f"the default is {base}"
    raise IngestError(f"{where}, but {was}; state --{quantity}-unit {stated}")
