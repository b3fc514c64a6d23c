"""Descriptions of devices for MLPerf, written by operators."""

from __future__ import annotations

import pytest

from fleetmark_catalog.load import load_catalog
from fleetmark_catalog.resolve import system_component
from fleetmark_controller.mlperf.system import (
    FIELDS,
    GIVEN,
    MAY_BE_EMPTY,
    describe,
    wrong,
    wrong_value,
)
from fleetmark_core.capabilities import Board, Capabilities, Cpu, Memory, Os, Storage
from fleetmark_core.serde import to_plain

FACTS = Capabilities(
    os=Os("linux", "Debian GNU/Linux", "12", "6.1"),
    arch="arm64",
    board=Board("Raspberry Pi 5 Model B Rev 1.0"),
    cpu=Cpu(4, 4, physical_cores=4, model="Cortex-A76"),
    memory=Memory(8 << 30, 0),
    storage=Storage(64 << 30, 8 << 30),
)
SUBMISSION = {
    "division": "open",
    "submitter": "Us",
    "framework": "onnxruntime 1.23.2",
    "software": "Python 3.11",
    "notes": "",
}


def test_a_device_that_the_catalog_knows() -> None:
    found = system_component(load_catalog(), FACTS)
    assert found is not None and found.name == "raspberry-pi-5"
    reported = describe(
        to_plain(FACTS), found.body["mlperf"], {"status": "available"}, **SUBMISSION
    )
    assert set(reported.fields) == set(FIELDS)
    assert reported.fields["host_processor_model_name"] == "Broadcom BCM2712 (Arm Cortex-A76)"
    assert reported.fields["host_memory_capacity"] == "8 GiB"
    assert reported.fields["accelerators_per_node"] == "0"
    assert reported.fields["accelerator_model_name"] == "N/A"
    assert reported.fields["operating_system"] == "Debian GNU/Linux 12, kernel 6.1"
    assert set(reported.missing) == {"host_storage_type", "host_networking_topology", "cooling"}
    given = dict.fromkeys(reported.missing, "said") | {"status": "available"}
    whole = describe(to_plain(FACTS), found.body["mlperf"], given, **SUBMISSION)
    assert not whole.missing


def test_the_description_of_an_unknown_device_lacks_operator_fields() -> None:
    other = Capabilities(FACTS.os, "x86_64", Board(), Cpu(2, 2), FACTS.memory, FACTS.storage)
    assert system_component(load_catalog(), other) is None
    reported = describe(to_plain(other), {}, {}, **SUBMISSION)
    assert {"status", "system_name", "system_type", "host_processor_model_name"} <= set(
        reported.missing
    )
    assert "host_memory_capacity" not in reported.missing
    assert set(reported.missing) <= set(GIVEN) - MAY_BE_EMPTY


def test_what_may_be_output() -> None:
    assert wrong("cooling", "air") == ""
    assert wrong("cooling", None) == ""
    assert "must be one of available" in wrong("status", "soon")
    assert "follows from the run" in wrong("framework", "mine")
    assert "no field" in wrong("colour", "red")
    assert "one line" in wrong("cooling", "a\nb")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("accelerators_per_node", "two", "whole number of at least 0"),
        ("accelerators_per_node", "-1", "whole number of at least 0"),
        ("host_processors_per_node", "0", "whole number of at least 1"),
        ("number_of_nodes", "1.5", "whole number of at least 1"),
        ("system_type", "edge,datacenter", "require Server, too"),
        ("system_type", "datacenter", "must be edge"),
        ("system_type", "phone", "must be edge"),
        ("status", "soon", "must be one of available"),
        ("cooling", " ", "requires a meaningful response"),
    ],
)
def test_what_the_official_checkers_refuse_cannot_be_output(
    name: str, value: str, reason: str
) -> None:
    assert reason in wrong(name, value)


def test_what_the_official_checkers_accept_can_be_output() -> None:
    for name, value in (
        *(("accelerators_per_node", "0"), ("host_processors_per_node", "2")),
        *(("system_type", "edge"), ("status", "rdi"), ("hw_notes", " ")),
    ):
        assert wrong(name, value) == ""


def test_system_fields_of_the_catalog_are_accepted() -> None:
    output = [
        (component.name, field, str(value))
        for component in load_catalog().all("system")
        for field, value in component.body.get("mlperf", {}).items()
    ]
    assert len(output) > 20
    assert [entry for entry in output if wrong_value(*entry[1:])] == []
