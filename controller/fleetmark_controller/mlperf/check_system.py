"""Checks of a system's description by MLPerf's rules, as in the submission checkers.

Source: `check_system_desc_id` and `is_system_over_network` of the checkers v5.0 and v5.1,
`SystemCheck` of v6.1. A field that the checkers do not know is not an error: they warn ("field %s
is unknown").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fleetmark_controller.mlperf.layout import Layout
from fleetmark_controller.mlperf.problems import SubmissionProblem
from fleetmark_controller.mlperf.rules import CLOSED, NETWORK, STATUSES, SYSTEM_TYPES
from fleetmark_controller.mlperf.system import COUNTS, FIELDS, MAY_BE_EMPTY, is_count

_IS_NETWORK = "is_network"
_NETWORK_FIELDS = (
    *("network_type", "network_media", "network_rate", "nic_loadgen", "number_nic_loadgen"),
    *("net_software_stack_loadgen", "network_protocol", "number_connections", "nic_sut"),
    *("number_nic_sut", "net_software_stack_sut", "network_topology"),
)


def over_network(values: Mapping[str, Any]) -> bool:
    """Return whether a description says that the system is reached over a network."""
    return str(values.get(_IS_NETWORK, "")).lower() == "true"


def check_system(
    path: str, values: Mapping[str, Any], layout: Layout
) -> Iterator[SubmissionProblem]:
    """Yield problems of the description `values` in the file `path`."""
    network = over_network(values)
    for name in (*FIELDS, *(_NETWORK_FIELDS if network else ())):
        if name not in values:
            yield SubmissionProblem(path, f"field {name} is missing")
        elif name in FIELDS and name not in MAY_BE_EMPTY and not _meaningful(values[name]):
            yield SubmissionProblem(path, f"field {name} {_why_empty(values[name])}")
        elif name in COUNTS and not is_count(name, values[name]):
            text = f"field {name} is {values[name]!r}, must be a whole number"
            yield SubmissionProblem(path, f"{text} of at least {COUNTS[name]}")
    if str(values.get("status", "")).lower() not in STATUSES:
        words = ", ".join(STATUSES)
        yield SubmissionProblem(
            path, f"field status is {values.get('status')!r}, must be one of {words}"
        )
    if values.get("system_type") not in SYSTEM_TYPES:
        value, words = values.get("system_type"), ", ".join(SYSTEM_TYPES)
        yield SubmissionProblem(path, f"field system_type is {value!r}, must be one of {words}")
    if str(values.get("submitter", "")).lower() != layout.submitter.lower():
        value = values.get("submitter")
        yield SubmissionProblem(
            path, f"field submitter is {value!r}, the folder's {layout.submitter}"
        )
    if values.get("division") != layout.division:
        value = values.get("division")
        yield SubmissionProblem(
            path, f"field division is {value!r}, the folder's {layout.division}"
        )
    if (layout.division == CLOSED and network) or (layout.division == NETWORK and not network):
        yield SubmissionProblem(path, f"field is_network is {network}, which the division excludes")


def _meaningful(value: object) -> bool:
    """Return whether a value is meaningful: neither false, as in the checkers, nor only blanks."""
    return bool(value.strip() if isinstance(value, str) else value)


def _why_empty(value: object) -> str:
    if value == 0 and isinstance(value, int) and not isinstance(value, bool):
        return 'is the number 0, which the official checkers take for empty: write "0"'
    return "is empty; it requires a meaningful response"
