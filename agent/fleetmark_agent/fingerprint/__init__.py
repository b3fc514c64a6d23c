"""Measurement of the device's capabilities. Each module probes one fact; a missing fact is None.

Probes read below a root folder, so that a test can supply the /proc, /sys and /etc of another
device.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from fleetmark_core.capabilities import Capabilities
from fleetmark_core.sandbox_levels import BUBBLEWRAP


def measure(
    root: Path = Path("/"),
    home: Path = Path("/"),
    sandbox: str = BUBBLEWRAP,
    system_root: Path | None = None,
) -> Capabilities:
    """Measure the capabilities of the device whose files are below `root`.

    Software is not included, because detection takes longer; see `fleetmark_agent.software`.

    Args:
        root: programs are run, sandboxes tested and interpreters searched only if this is `/`.
        home: folder in which the agent keeps its files.
        sandbox: the strongest sandbox level that may be used.
        system_root: the folder below which the conditions of runs are read; None: `root`.
    """
    from fleetmark_agent.fingerprint import (
        accelerators,
        board,
        controls,
        cpu,
        interpreters,
        memory,
        sensors,
        storage,
        system,
        tags,
    )
    from fleetmark_core.sandbox.prove import prove

    real = root == Path("/")
    facts = Capabilities(
        os=system.probe(root),
        arch=system.arch(),
        board=board.probe(root),
        cpu=cpu.probe(root),
        memory=memory.probe(root),
        storage=storage.probe(home),
        accelerators=accelerators.probe(root),
        sensors=(*sensors.probe(root), *sensors.trusted(system_root or root)),
        interpreters=interpreters.probe() if real else (),
        controls=controls.probe(root),
        sandbox=prove(home, sandbox) if real else None,
    )
    return dataclasses.replace(facts, tags=tags.derive(facts))
