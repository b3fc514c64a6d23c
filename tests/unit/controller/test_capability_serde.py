"""Capabilities from messages: the short way says what the long one says, and keeps no hoard."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_controller.api import validation
from fleetmark_controller.api.capability_serde import capabilities_from, capabilities_to
from fleetmark_controller.store.devices.capability_cache import (
    CAPABILITIES,
    MAX_SHARED_PARTS,
)
from fleetmark_core.capabilities import (
    Accelerator,
    Board,
    Capabilities,
    Control,
    Cpu,
    Interpreter,
    Memory,
    Os,
    Sandbox,
    Sensor,
    Shortfall,
    Software,
    Storage,
)
from fleetmark_core.errors import FleetmarkError
from fleetmark_core.serde import from_plain, to_plain
from fleetmark_protos import plain
from fleetmark_protos.v1 import capabilities_pb2

TEXTS = st.text(max_size=12)
SIZES = st.integers(0, validation.MAX_NUMBER)
MAYBE_TEXTS, MAYBE_SIZES = st.none() | TEXTS, st.none() | st.integers(0, (1 << 32) - 1)
CORES = st.integers(0, (1 << 32) - 1)


def many(*fields: st.SearchStrategy[object], of: type) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(st.builds(of, *fields), max_size=3).map(tuple)


WORDS = st.lists(TEXTS, max_size=3).map(tuple)
DEVICES = st.builds(
    Capabilities,
    os=st.builds(Os, TEXTS, TEXTS, TEXTS, TEXTS, MAYBE_TEXTS, MAYBE_TEXTS),
    arch=TEXTS,
    board=st.builds(Board, MAYBE_TEXTS, MAYBE_TEXTS, MAYBE_TEXTS, MAYBE_TEXTS),
    cpu=st.builds(Cpu, CORES, CORES, MAYBE_TEXTS, MAYBE_TEXTS, MAYBE_SIZES, MAYBE_SIZES, WORDS),
    memory=st.builds(Memory, SIZES, SIZES, MAYBE_SIZES),
    storage=st.builds(Storage, SIZES, SIZES, SIZES),
    accelerators=many(TEXTS, TEXTS, MAYBE_TEXTS, MAYBE_TEXTS, MAYBE_SIZES, of=Accelerator),
    sensors=many(TEXTS, TEXTS, TEXTS, of=Sensor),
    software=many(TEXTS, TEXTS, TEXTS, st.dictionaries(TEXTS, TEXTS, max_size=2), of=Software),
    interpreters=many(TEXTS, TEXTS, TEXTS, WORDS, WORDS, of=Interpreter),
    controls=many(TEXTS, st.booleans(), MAYBE_TEXTS, WORDS, of=Control),
    tags=WORDS,
    sandbox=st.none()
    | st.builds(
        Sandbox,
        TEXTS,
        TEXTS,
        MAYBE_SIZES,
        MAYBE_TEXTS,
        many(TEXTS, TEXTS, TEXTS, of=Shortfall),
    ),
)


def the_long_way(message: capabilities_pb2.Capabilities) -> Capabilities:
    return from_plain(Capabilities, validation.facts(plain.to_plain(message)), "capabilities")


@given(DEVICES)
def test_it_is_what_the_long_way_makes_of_it(device: Capabilities) -> None:
    message = capabilities_to(device)
    assert capabilities_from(message) == the_long_way(message)


@given(DEVICES)
def test_the_stored_text_is_that_of_the_plain_values(device: Capabilities) -> None:
    found = capabilities_from(capabilities_to(device))
    values = to_plain(found)
    assert CAPABILITIES.text(found) == json.dumps(values, ensure_ascii=False)
    del values["storage"]["free_bytes"]
    for control in values["controls"]:
        del control["current"]
    assert json.loads(CAPABILITIES.steady_text(found)) == values


def test_devices_of_one_type_share_their_parts(x86_device: Capabilities) -> None:
    other = replace(x86_device, storage=replace(x86_device.storage, free_bytes=1))
    first, second = (capabilities_from(capabilities_to(device)) for device in (x86_device, other))
    assert first.cpu is second.cpu and first.os is second.os
    assert (first.storage, second.storage) == (x86_device.storage, other.storage)


def test_a_large_part_is_not_kept(x86_device: Capabilities) -> None:
    device = replace(x86_device, cpu=replace(x86_device.cpu, features=("feature",) * 1000))
    first, second = (capabilities_from(capabilities_to(device)) for _ in range(2))
    assert first.cpu == second.cpu == device.cpu
    assert first.cpu is not second.cpu


def test_parts_without_end_do_not_fill_memory(x86_device: Capabilities) -> None:
    for number in range(MAX_SHARED_PARTS + 10):
        device = replace(x86_device, cpu=replace(x86_device.cpu, model=f"cpu {number}"))
        capabilities_from(capabilities_to(device))
    assert max(CAPABILITIES.shared_parts()) == MAX_SHARED_PARTS


@pytest.mark.parametrize("part", ["os", "cpu", "memory", "storage"])
def test_a_part_that_is_missing_is_named(x86_device: Capabilities, part: str) -> None:
    message = capabilities_to(x86_device)
    message.ClearField(part)  # type: ignore[arg-type]
    with pytest.raises(FleetmarkError, match=part):
        capabilities_from(message)


def test_parts_without_end_are_refused(x86_device: Capabilities) -> None:
    message = capabilities_to(x86_device)
    message.software.extend(
        [capabilities_pb2.Software(name="s", version="1", path="/p")] * (validation.MAX_ITEMS + 1)
    )
    with pytest.raises(FleetmarkError, match="software"):
        capabilities_from(message)


def test_texts_are_clean_wherever_they_stand(x86_device: Capabilities) -> None:
    message = capabilities_to(x86_device)
    message.arch, message.os.name = "arm\x1b[2J", "De\x00bian"
    message.tags.append("a\ntag")
    found = capabilities_from(message)
    assert (found.arch, found.os.name, found.tags[-1]) == ("arm�[2J", "De�bian", "a�tag")
