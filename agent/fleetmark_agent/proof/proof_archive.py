"""Writes the proof of this device into an archive."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

from fleetmark_agent import AGENT_VERSION
from fleetmark_agent.config.loader import load_settings
from fleetmark_agent.config.settings import AgentSettings
from fleetmark_agent.errors import from_os_error
from fleetmark_agent.fingerprint import measure
from fleetmark_agent.proof.identity_words import scrubber_here
from fleetmark_agent.proof.program_answers import ask_programs
from fleetmark_agent.proof.recording import noted_paths, recorded_files
from fleetmark_agent.proof.runtime_runs import run_all
from fleetmark_agent.runner.conditioning.doctor import examine_measuring
from fleetmark_agent.runner.conditioning.tuning import Tuning
from fleetmark_agent.runner.telemetry import power_sensors
from fleetmark_agent.runner.telemetry.accelerator_readings import AcceleratorReadings
from fleetmark_agent.runner.telemetry.device_condition import Condition
from fleetmark_agent.sandbox.doctor import examine
from fleetmark_agent.software.capabilities import with_findings
from fleetmark_agent.software.client import detect_in_child
from fleetmark_core.atomic_file import write_atomic
from fleetmark_core.capabilities import Interpreter
from fleetmark_core.serde import to_plain

FORMAT = 1
DOCUMENT, TREE = "proof.json", "tree"
_LEFT_OUT = ("storage",)
"""Facts that say something of the owner's disk and nothing of the device."""


def write_proof(home: Path, out: Path, runtimes: Path | None) -> dict[str, Any]:
    """Write the proof of this device into the archive `out`; return its document.

    Args:
        home: the agent's folder; its settings apply, and nothing else of it is read.
        out: the archive, gzip-compressed tar.
        runtimes: folder of a kit with wheels of runtimes, each of which is run once.

    Raises:
        FleetmarkError: the archive cannot be written.
        ConfigError: config.toml is not valid.
    """
    # Before the work of a minute.
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        number = errno.EACCES if out.parent.is_dir() else errno.ENOENT
        raise from_os_error(OSError(number, os.strerror(number), str(out.parent)))
    settings = load_settings(home)
    root = Path(settings.system_root)
    scrubber = scrubber_here(root)
    with noted_paths() as paths:
        facts = measure(home=home, sandbox=settings.sandbox, system_root=root)
        readings = _readings(settings, root)
    findings = detect_in_child().findings
    interpreter: Interpreter | None = next(iter(facts.interpreters), None)
    runs = [] if runtimes is None else run_all(runtimes, interpreter, home.parent)
    plain = to_plain(with_findings(facts, findings))
    document = scrubber.plain(
        {
            "agent_version": AGENT_VERSION,
            "capabilities": {key: plain[key] for key in plain if key not in _LEFT_OUT},
            "detected": to_plain(findings),
            "doctor": to_plain(examine(home)),
            **readings,
            "runs": runs,
        }
    )
    document["format"] = FORMAT
    document["programs"] = ask_programs(root, scrubber)
    files = recorded_files(paths, root, scrubber)
    files = {f"{TREE}/{name}": data for name, data in files.items()}
    files[DOCUMENT] = json.dumps(document, indent=1, sort_keys=True).encode()
    _write(out, files)
    return {**document, "files": len(files)}


def _readings(settings: AgentSettings, root: Path) -> dict[str, Any]:
    """Return what sensors and controls of the device give now."""
    condition = Condition(root)
    found = power_sensors.find(root, settings.energy_input)
    power = []
    for source in found.sources:
        value = source.read()
        power.append({**source.plain(), "value": None if value is None else value * source.unit})
    accelerators = AcceleratorReadings(root)
    accelerators.sample()
    tuning = Tuning(settings.home, root, settings.stable_settings, settings.nvpmodel_mode)
    return {
        "measuring": to_plain(examine_measuring(root, tuning.plans())),
        "condition": to_plain(condition.sample()),
        "unavailable": condition.unavailable(),
        "power": power,
        "power_unavailable": list(found.unavailable),
        "accelerators": accelerators.summary(),
    }


def _write(out: Path, files: dict[str, bytes]) -> None:
    """Write the archive without times and owners: they are personal, too."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    try:
        write_atomic(out, gzip.compress(buffer.getvalue(), mtime=0))
    except OSError as error:
        raise from_os_error(error, str(out)) from error
