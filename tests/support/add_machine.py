"""Makes a recorded machine of an archive that `agent proof` wrote.

    python -m tests.support.add_machine FILE.tar.gz NAME

`tests/integration/agent/test_recorded_machines.py` then checks the machine by itself. The command
compares what the device reported with what its recorded files give, and prints each difference: a
difference is a fact that the proof lacks, or one that does not come from files.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from fleetmark_agent.fingerprint import measure
from fleetmark_agent.runner.conditioning.doctor import examine_measuring
from fleetmark_agent.runner.telemetry import power_sensors
from fleetmark_agent.runner.telemetry.device_condition import Condition
from fleetmark_core.safe_unpack import UnpackLimits, unpack
from fleetmark_core.serde import to_plain
from tests.support import MACHINES

FORMAT = 1
LIMITS = UnpackLimits(64 * 1024 * 1024, 30_000)
TREE, PROOF, EXPECTED = "tree", "proof.json", "expected.json"


def add_machine(archive: Path, name: str, machines: Path = MACHINES) -> list[str]:
    """Add the machine of the archive; return the differences from what the device reported.

    Raises:
        ValueError: the archive is of another format, or the name is not one of a folder.
        FileExistsError: there is a machine of this name.
    """
    if not name.replace("-", "").isalnum() or name != name.lower():
        raise ValueError(f"{name!r} is no name: use lower-case letters, digits and hyphens")
    if (machines / name).exists():
        raise FileExistsError(f"{machines / name} exists")
    with tempfile.TemporaryDirectory() as scratch:
        unpacked = Path(scratch) / "unpacked"
        unpack(archive, unpacked, LIMITS)
        proof = json.loads((unpacked / PROOF).read_bytes())
        if proof.get("format") != FORMAT:
            raise ValueError(f"{archive} has the format {proof.get('format')!r}, not {FORMAT}")
        tree = unpacked / TREE
        tree.mkdir(exist_ok=True)
        _lay_programs(tree, proof["programs"])
        found = facts(tree)
        (unpacked / EXPECTED).write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
        machines.mkdir(parents=True, exist_ok=True)
        shutil.copytree(unpacked, machines / name)
    return differences(reported(proof), found)


def facts(tree: Path) -> dict[str, Any]:
    """Return what the files of a machine give: the facts that its tests compare."""
    measuring = examine_measuring(tree)
    power = power_sensors.find(tree)
    # The powers themselves change between two readings, those of a proof do not.
    return {
        **_measured(to_plain(measure(tree, tree))),
        "temperature_sensors": list(measuring.temperature_sensors),
        "left_out_sensors": measuring.left_out_sensors,
        "power": [[source.name, source.scope] for source in power.sources],
        "power_mode": Condition(tree).sample().power_mode,
        "unavailable": sorted(Condition(tree).unavailable()),
    }


def _measured(capabilities: dict[str, Any]) -> dict[str, Any]:
    return {
        "cpu": capabilities["cpu"]["model"],
        "usable_cores": capabilities["cpu"]["usable_cores"],
        "quota_cores": capabilities["cpu"].get("quota_cores"),
        "memory_bytes": capabilities["memory"]["total_bytes"],
        "board": capabilities["board"].get("model"),
        "soc": capabilities["board"].get("soc"),
        "accelerators": [
            [one["kind"], one["name"], one.get("driver_version")]
            for one in capabilities["accelerators"]
        ],
        "controls": _controls(capabilities),
    }


def reported(proof: dict[str, Any]) -> dict[str, Any]:
    """Return the same facts as the device itself reported them."""
    return {
        **_measured(proof["capabilities"]),
        "temperature_sensors": proof["measuring"]["temperature_sensors"],
        "left_out_sensors": proof["measuring"]["left_out_sensors"],
        "power": [[source["name"], source["scope"]] for source in proof["power"]],
        "power_mode": proof["condition"]["power_mode"],
        "unavailable": sorted(proof["unavailable"]),
    }


def differences(device: dict[str, Any], tree: dict[str, Any]) -> list[str]:
    """Return one line for each fact that differs."""
    return [
        f"{name}: the device reported {device[name]!r}, its files give {tree[name]!r}"
        for name in device
        if device[name] != tree[name]
    ]


def _controls(capabilities: dict[str, Any]) -> list[list[Any]]:
    """Return the controls of the device; affinity and priority are those of a process."""
    return [
        [one["name"], one.get("current"), one.get("choices", [])]
        for one in capabilities["controls"]
        if one["name"] not in ("affinity", "priority")
    ]


def _lay_programs(tree: Path, answers: list[dict[str, Any]]) -> None:
    """Write programs that give the recorded answers, with built-in commands of a shell only."""
    programs: dict[str, list[str]] = {}
    for answer in answers:
        fault = str(answer["fault"])
        code = fault.removeprefix("exit code ") if fault.startswith("exit code ") else ""
        code = code if code.isdigit() else str(int(bool(fault)))
        wanted = shlex.quote(" ".join(answer["arguments"]))
        output, errors = (shlex.quote(answer[name]) for name in ("output", "errors"))
        programs.setdefault(answer["program"], []).append(
            f"{wanted}) printf %s {output}; printf %s {errors} >&2; exit {code};;"
        )
    for name, cases in programs.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            "\n".join(["#!/bin/sh", 'case "$*" in', *cases, "*) exit 64;;", "esac", ""])
        )
        path.chmod(0o755)


def main() -> int:
    """Add a machine; print the differences, and return 1 if there are any."""
    if len(sys.argv) != 3:
        print("usage: python -m tests.support.add_machine FILE.tar.gz NAME")
        return 2
    found = add_machine(Path(sys.argv[1]), sys.argv[2])
    for line in found:
        print(line)
    print(f"added {MACHINES / sys.argv[2]}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
