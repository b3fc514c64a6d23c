"""Faults that must sit inside of a process; Python imports this module before the program begins.

FAULT_CLOCK     path of a file with seconds to add to the wall clock; read at each look at it
FAULT_PROTOCOL  the protocol version that this process speaks, instead of its own
"""

from __future__ import annotations

import os
import time

_clock = os.environ.get("FAULT_CLOCK")
if _clock:
    _time, _time_ns = time.time, time.time_ns

    def _offset_s() -> float:
        try:
            with open(_clock) as file:
                return float(file.read() or 0)
        except (OSError, ValueError):
            return 0.0

    time.time = lambda: _time() + _offset_s()
    time.time_ns = lambda: _time_ns() + int(_offset_s() * 1e9)

_protocol = os.environ.get("FAULT_PROTOCOL")
if _protocol:
    import fleetmark_protos

    fleetmark_protos.PROTOCOL_VERSION = int(_protocol)
