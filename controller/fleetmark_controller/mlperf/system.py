"""The description of a system: every field that MLPerf requires, from three sources.

Values that an operator set for the device have priority, then those of the catalog for devices of
this type (a `system` component), then those that the agent measured. The fields are those of the
submission rules, appendix on system descriptions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleetmark_controller.mlperf.rules import EDGE, STATUSES, SYSTEM_TYPES

FIELDS = (
    *("division", "submitter", "status", "system_name", "system_type", "system_type_detail"),
    *("number_of_nodes", "host_processor_model_name", "host_processors_per_node"),
    *("host_processor_core_count", "host_processor_frequency", "host_processor_caches"),
    *("host_processor_interconnect", "host_memory_capacity", "host_memory_configuration"),
    *("host_storage_capacity", "host_storage_type", "host_networking"),
    *("host_networking_topology", "host_network_card_count", "accelerators_per_node"),
    *("accelerator_model_name", "accelerator_memory_capacity", "accelerator_frequency"),
    *("accelerator_host_interconnect", "accelerator_interconnect"),
    *("accelerator_interconnect_topology", "accelerator_memory_configuration"),
    *("accelerator_on-chip_memories", "cooling", "hw_notes", "framework", "operating_system"),
    *("other_software_stack", "sw_notes"),
)
MAY_BE_EMPTY = frozenset(
    {
        *("system_type_detail", "host_processor_frequency", "host_processor_caches"),
        *("host_processor_interconnect", "accelerator_frequency"),
        *("accelerator_interconnect_topology", "accelerator_on-chip_memories"),
        *("hw_notes", "sw_notes"),
    }
)
"""Fields that must be present, but may be empty."""
GIVEN = tuple(
    name
    for name in FIELDS
    if name not in ("division", "submitter", "framework", "operating_system", "sw_notes")
)
"""Fields that an operator may set for a device; others follow from run and submission."""
COUNTS = {"number_of_nodes": 1, "host_processors_per_node": 1, "accelerators_per_node": 0}
"""Fields that are integers, with their minimum.

The submission checker of v6.1 multiplies nodes and accelerators (`results.py`), and MLCommons'
report converts `host_processors_per_node` (`generate_final_report.py`): any other value makes them
fail.
"""
NONE = "N/A"
"""Value for a part that a system does not have."""
_DIGITS = re.compile(r"[0-9]{1,6}")
_OF_ACCELERATORS = tuple(name for name in FIELDS if name.startswith("accelerator_"))


@dataclass(frozen=True)
class Description:
    """Fields with their values, and the names of those that an operator must still set."""

    fields: Mapping[str, str]
    missing: tuple[str, ...]


def wrong(name: str, value: str | None) -> str:
    """Return why an operator cannot set this value (None: remove it); empty if it is accepted."""
    if name not in GIVEN:
        if name in FIELDS:
            return f"{name} follows from the run"
        return f"there is no field {name}"
    if value is None:
        return ""
    why = wrong_value(name, value)
    if why:
        return why
    if len(value) > 400 or not value.isprintable():
        return f"{name} must be one line of at most 400 characters"
    return ""


def wrong_value(name: str, value: str) -> str:
    """Return why a field of a system in a submission cannot have a value; empty if it can.

    The official submission checkers reject such a value, or the results that Fleetmark writes with
    it.
    """
    if not value.strip():
        return "" if name in MAY_BE_EMPTY else f"{name} is empty; it requires a meaningful response"
    if name == "status" and value not in STATUSES:
        return f"{name} is {value!r}, must be one of {', '.join(STATUSES)}"
    if name == "system_type" and value != EDGE:
        why = "Fleetmark writes results of edge systems"
        if value in SYSTEM_TYPES:
            why += ", and those of a data center require Server, too"
        return f"{name} is {value!r}, must be {EDGE}: {why}"
    if name in COUNTS and not is_count(name, value):
        return f"{name} is {value!r}, must be a whole number of at least {COUNTS[name]}"
    return ""


def is_count(name: str, value: object) -> bool:
    """Return whether a field of `COUNTS` holds an integer of at least its minimum."""
    if isinstance(value, str):
        return bool(_DIGITS.fullmatch(value)) and int(value) >= COUNTS[name]
    return isinstance(value, int) and not isinstance(value, bool) and value >= COUNTS[name]


def describe(
    capabilities: Mapping[str, Any],
    known: Mapping[str, Any],
    given: Mapping[str, str],
    *,
    division: str,
    submitter: str,
    framework: str,
    software: str,
    notes: str,
) -> Description:
    """Return all fields of one system.

    Args:
        capabilities: the measured facts, as plain values (core.capabilities.Capabilities).
        known: field → value by the catalog's component for this type of device.
        given: field → value set by an operator.
        division: closed or open.
        submitter: the submitting organization.
        framework: the runtime with its version.
        software: further software of the runs.
        notes: notes about the software; may be empty.
    """
    fields = dict(_measured(capabilities))
    fields |= {name: str(value) for name, value in known.items() if name in FIELDS}
    fields |= {name: value for name, value in given.items() if name in GIVEN}
    fields |= {
        "division": division,
        "submitter": submitter,
        "framework": framework,
        "operating_system": _operating_system(capabilities),
        "other_software_stack": fields.get("other_software_stack") or software,
        "sw_notes": notes,
    }
    if fields.get("accelerators_per_node") == "0":
        for name in _OF_ACCELERATORS:
            fields.setdefault(name, NONE)
    missing = [
        name for name in FIELDS if not fields.get(name, "").strip() and name not in MAY_BE_EMPTY
    ]
    return Description({name: fields.get(name, "") for name in FIELDS}, tuple(missing))


def _operating_system(capabilities: Mapping[str, Any]) -> str:
    system = _table(capabilities.get("os"))
    words = (system.get("name"), system.get("version"))
    kernel = system.get("kernel")
    return " ".join(str(word) for word in words if word) + (f", kernel {kernel}" if kernel else "")


def _measured(capabilities: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the fields that follow from capabilities; facts that the device lacks are left out."""
    cpu, memory = _table(capabilities.get("cpu")), _table(capabilities.get("memory"))
    board, storage = _table(capabilities.get("board")), _table(capabilities.get("storage"))
    accelerators = [_table(found) for found in capabilities.get("accelerators") or ()]
    names = dict.fromkeys(str(found["name"]) for found in accelerators if found.get("name"))
    held = dict.fromkeys(
        _size(int(found["memory_bytes"])) for found in accelerators if found.get("memory_bytes")
    )
    found = {
        "number_of_nodes": "1",
        "system_name": board.get("model"),
        "host_processor_model_name": cpu.get("model"),
        "host_processor_core_count": cpu.get("physical_cores"),
        "host_memory_capacity": _size(memory.get("total_bytes")),
        "host_storage_capacity": _size(storage.get("total_bytes")),
        "accelerators_per_node": str(len(accelerators)),
        "accelerator_model_name": ", ".join(names),
        "accelerator_memory_capacity": ", ".join(held),
    }
    hertz = cpu.get("max_frequency_hz")
    if hertz:
        found["host_processor_frequency"] = f"{hertz / 1e9:.4g} GHz"
    return {name: str(value) for name, value in found.items() if value}


def _size(count_bytes: Any) -> str:
    if not isinstance(count_bytes, int) or isinstance(count_bytes, bool) or count_bytes <= 0:
        return ""
    gib = count_bytes / (1 << 30)
    return f"{gib:.0f} GiB" if gib >= 10 else f"{gib:.2g} GiB"


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
