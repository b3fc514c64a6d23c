"""Measures what the board is and has. One probe a file; what a board does not offer is None.

Probes read below a root folder, so that a test can hand them another board's /proc, /sys and /etc.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from fleetmark_core.capabilities import Capabilities
from fleetmark_core.sandbox_levels import BUBBLEWRAP


def measure(
    root: Path = Path("/"), home: Path = Path("/"), sandbox: str = BUBBLEWRAP
) -> Capabilities:
    """All facts of the board whose files lie below `root`; `home` is where the agent keeps its own.

    `sandbox` is the strongest that is to be used. Programs are run, sandboxes proven and
    interpreters looked for only when `root` is the real one. What takes
    longer is not among them: software is detected later, see `fleetmark_agent.software`.
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
    from fleetmark_agent.sandbox.prove import prove

    real = root == Path("/")
    facts = Capabilities(
        os=system.probe(root),
        arch=system.arch(),
        board=board.probe(root),
        cpu=cpu.probe(root),
        memory=memory.probe(root),
        storage=storage.probe(home),
        accelerators=accelerators.probe(root),
        sensors=sensors.probe(root),
        interpreters=interpreters.probe() if real else (),
        controls=controls.probe(root),
        sandbox=prove(home, sandbox) if real else None,
    )
    return dataclasses.replace(facts, tags=tags.derive(facts))
