"""Plain values and messages are the same thing; the committed stubs are what the files give."""

from __future__ import annotations

import pytest

from fleetmark_core.capabilities import Capabilities
from fleetmark_core.serde import from_plain as build
from fleetmark_core.serde import to_plain as plain_of
from fleetmark_protos.plain import from_plain, to_plain
from fleetmark_protos.v1 import capabilities_pb2


def test_capabilities_survive_the_wire_field_by_field(x86_device: Capabilities) -> None:
    message = from_plain(plain_of(x86_device), capabilities_pb2.Capabilities)
    again = capabilities_pb2.Capabilities.FromString(message.SerializeToString())
    assert build(Capabilities, to_plain(again)) == x86_device


def test_an_unavailable_reading_stays_unavailable(x86_device: Capabilities) -> None:
    message = from_plain(plain_of(x86_device), capabilities_pb2.Capabilities)
    assert not message.cpu.HasField("max_frequency_hz")
    cpu = to_plain(message)["cpu"]
    assert isinstance(cpu, dict)
    assert cpu["max_frequency_hz"] is None


def test_64_bit_integers_stay_integers() -> None:
    message = capabilities_pb2.Memory(total_bytes=2**40)
    assert to_plain(message)["total_bytes"] == 2**40


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="Memory"):
        from_plain({"size": 1}, capabilities_pb2.Memory)
