"""Sandbox findings of `agent doctor`: the sandbox of this device's jobs, proven again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fleetmark_agent.config.loader import load_settings
from fleetmark_core.capabilities import Sandbox
from fleetmark_core.sandbox.prove import prove

_NETWORKS = {
    "namespace": "none but loopback",
    "tcp": "no TCP; UDP is open",
    "open": "open",
}


@dataclass(frozen=True)
class Findings:
    """The proven sandbox, and the network access and folders that the operator allows to jobs."""

    sandbox: Sandbox
    allow_network: bool
    allow_folders: list[str]

    def fields(self) -> dict[str, object]:
        """Return the findings as labels and values for display."""
        found = self.sandbox
        user = "the agent's" if found.user is None else f"its own, {found.user}"
        return {
            "sandbox": found.level,
            "network of jobs": _NETWORKS[found.network],
            "network on demand": "allowed" if self.allow_network else "refused",
            "user of jobs": user,
            "control groups": found.control_group or "none",
            "folders opened": " ".join(self.allow_folders) or "none",
        }


def examine(home: Path) -> Findings:
    """Run a small job in each sandbox, starting with the strongest that `home`/config.toml allows.

    Raises:
        ConfigError: config.toml is not valid.
    """
    settings = load_settings(home)
    proven = prove(home, settings.sandbox)
    return Findings(proven, settings.allow_network, settings.allow_folders)
