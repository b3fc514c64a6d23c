"""The settings of a running agent; see `loader` for their sources."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fleetmark_core.shared_repr import SharedRepr

GIB = 1024**3
STABLE_SETTINGS = ("nvpmodel", "governor", "jetson_clocks", "gpu_clocks")
"""Settings of a device that a stable run may change, in the order in which they are made."""


@dataclass(frozen=True, repr=False)
class AgentSettings(SharedRepr):
    """Settings of a running agent. Sizes are in bytes, times in seconds.

    `loader.KEYS` says which of them are keys of config.toml. docs/reference/configuration.md is
    made of the texts below.
    """

    home: Path
    controller: str = ""
    """Address of the controller. Empty: the one that the device belongs to, or one found nearby."""
    name: str = ""
    """Name of the device. Empty: the one that it enrolled with, or one made of the host's name."""
    labels: dict[str, str] = field(default_factory=dict)
    """Labels of the device, for selectors; those that operators set count more."""
    cache_limit_bytes: int = 16 * GIB
    """Size of all blobs and environments. What an attempt needs is never evicted."""
    spool_limit_bytes: int = GIB
    """While results of this size wait for the controller, no new run begins."""
    min_free_bytes: int = 64 * 1024 * 1024
    """Room that a transfer or an installation must leave on the file system."""
    telemetry_interval_s: float = 1.0
    """Pause between two samples of temperature, clock and power while a job runs."""
    job_output_limit_bytes: int = 4 * 1024 * 1024
    """How much is kept of each of a job's two output streams; the rest is only counted."""
    stop_grace_s: float = 5.0
    """How long a job that is stopped may take to end before it is killed."""
    detect_interval_s: float = 6 * 3600.0
    """How often software is looked for after the start; 0: only when SIGHUP asks for it."""
    once_wait_s: float = 20.0
    """How long `--once` tries to reach the controller."""
    sandbox: str = "bubblewrap"
    """Strongest sandbox that jobs are put into; what the device supports is found out."""
    allow_network: bool = False
    """True if jobs whose component asks for the network get it."""
    allow_folders: list[str] = field(default_factory=list)
    """Folders that every job may read and write, besides its own."""
    job_memory_bytes: int = 0
    """Memory of one job; 0: by what the device has."""
    job_processes: int = 0
    """Processes of one job, threads included; 0: by what the device has."""
    job_scratch_bytes: int = 16 * GIB
    """Bytes that a job may write, with its results."""
    start_wait_s: float = 1800.0
    """How long a job waits at most for the temperature below which it is to start."""
    system_root: str = "/"
    """Folder above the device's /sys and /proc, by which its condition and energy are read and its
    governor is set. For an agent in a container: where its host's are mounted."""
    energy_input: str = ""
    """Name of the sensor that measures what the whole device uses. Empty: as its label says."""
    stable_settings: list[str] = field(default_factory=lambda: list(STABLE_SETTINGS))
    """Settings of the device that a stable run may change; see docs/reference/verdicts.md."""
    nvpmodel_mode: str = "MAXN"
    """Power mode of a Jetson during stable runs, by its name in /etc/nvpmodel.conf. `MAXN` also
    means MAXN_SUPER."""
    log_format: str = "auto"
    """Form of log lines on stderr: `text`, `json`, or `auto`, which is text on a terminal and JSON
    lines otherwise."""
    once: bool = False
    """End when at least one job is done and none waits here."""
    token: str = field(default="", repr=False)
    """An enrollment token, for a device that belongs to no controller yet; it is not stored."""
