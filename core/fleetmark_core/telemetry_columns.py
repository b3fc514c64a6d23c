"""Columns of telemetry records. Imports nothing: the process that samples beside a job uses it."""

from __future__ import annotations

TELEMETRY_COLUMNS = (
    "elapsed_ms",
    "temperature_c",
    "frequency_hz",
    "cpu_percent",
    "memory_bytes",
    "foreign_cpu_percent",
    "load",
    "swap_bytes",
    "swapped_bytes",
    "throttled",
    "power_mode",
    "quota_periods",
    "quota_throttled",
)
"""Fixed order: older agents send fewer columns, newer agents append columns.

`cpu_percent` is that of the job (100 is one busy core); `foreign_cpu_percent` is that of all other
processes. `throttled` contains the bits defined in the agent's `runner.telemetry.device_condition`.
`power_mode` is an index into the list `power_modes` of the final record. `quota_periods` counts the
periods of CPU quotas since the last reading, `quota_throttled` those in which a quota was used up.
"""
