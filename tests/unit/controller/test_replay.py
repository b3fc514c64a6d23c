"""What a replay shows: what it ran on that is another now, and how figures moved."""

from __future__ import annotations

import copy
from typing import Any

from fleetmark_controller.compare.replay_diff import (
    FIGURES,
    differences,
    energy_notice,
    energy_sources,
    figures,
)

PROVENANCE: dict[str, Any] = {
    "agent_version": "0.1.0",
    "boot_id": "one",
    "order": {"epoch": 1},
    "order_sha256": "aa",
    "lock_sha256": "ll",
    "governor": "performance",
    "temperatures": {"start_c": 40.0},
    "capabilities": {
        "memory": {"total_bytes": 8},
        "storage": {"free_bytes": 10, "total_bytes": 20},
        "interpreters": [{"path": "/usr/bin/python3.11", "version": "3.11.2"}],
        "tags": ["linux", "debian"],
    },
    "program_result": {
        "start_unix_ns": 5,
        "runtime": {"name": "onnxruntime", "version": "1.23.2", "provider": "CPU"},
    },
}


def test_what_every_run_has_of_its_own_is_no_difference() -> None:
    now = copy.deepcopy(PROVENANCE)
    now["boot_id"], now["order"], now["order_sha256"] = "two", {"epoch": 2}, "bb"
    now["temperatures"] = {"start_c": 60.0}
    now["capabilities"]["storage"]["free_bytes"] = 3
    now["program_result"]["start_unix_ns"] = 6
    assert differences(PROVENANCE, now) == []


def test_what_changed_is_named_with_both_values() -> None:
    now = copy.deepcopy(PROVENANCE)
    now["governor"] = None
    now["program_result"]["runtime"]["version"] = "1.24.0"
    now["capabilities"]["tags"] = ["linux"]
    now["capabilities"]["interpreters"].insert(0, {"path": "/opt/python", "version": "3.12.1"})
    assert differences(PROVENANCE, now) == [
        ("capabilities.interpreters./opt/python.path", "–", "/opt/python"),
        ("capabilities.interpreters./opt/python.version", "–", "3.12.1"),
        ("capabilities.tags", "linux, debian", "linux"),
        ("governor", "performance", "–"),
        ("program_result.runtime.version", "1.23.2", "1.24.0"),
    ]


def test_figures_move_from_then_to_the_middle_of_now() -> None:
    def row(**given: Any) -> dict[str, Any]:
        return {**dict.fromkeys(FIGURES), **given}

    then = row(metric_value=2.0, accuracy=0.9)
    now = [row(metric_value=v, accuracy=0.9, energy_j=v) for v in (2.2, 1.9, 2.1)]
    assert figures(then, now) == [
        ("metric_value", 2.0, 1.9, 2.2, 2.1 / 2.0 - 1),
        ("accuracy", 0.9, 0.9, 0.9, 0.0),
        ("energy_j", None, 1.9, 2.2, None),
    ]
    assert figures(then, [])[0] == ("metric_value", 2.0, None, None, None)


def energy(source: str | None, joules: float | None = 10.0) -> dict[str, Any]:
    values = {"energy_j": joules, "energy_per_query_j": joules, "power_mean_w": joules}
    return {**dict.fromkeys(FIGURES), **values, "metric_value": 2.0, "energy_source": source}


def changes(then: dict[str, Any], now: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: change for name, *_, change in figures(then, now)}


def test_energy_of_different_sources_is_not_compared() -> None:
    sensor, meter = energy("ina3221 (board)"), energy("external: Monsoon HVPM (board)", 12.0)
    for then, now in ((sensor, [meter]), (sensor, [sensor, meter]), (meter, [sensor])):
        assert changes(then, now) == {
            "metric_value": 0.0,
            "energy_j": None,
            "energy_per_query_j": None,
            "power_mean_w": None,
        }
        notice = energy_notice(then, now)
        assert then["energy_source"] in notice and now[-1]["energy_source"] in notice


def test_energy_of_one_source_is_compared() -> None:
    sensor = energy("ina3221 (board)")
    now = [energy("ina3221 (board)", 11.0), energy(None, None)]
    assert energy_sources(now) == ["ina3221 (board)"]
    assert changes(sensor, now)["energy_j"] == 11.0 / 10.0 - 1
    assert energy_notice(sensor, now) == ""
    assert energy_notice(sensor, [energy(None, None)]) == ""
