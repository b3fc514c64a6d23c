"""The settings of a running agent; see `loader` for their sources."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

GIB = 1024**3


@dataclass(frozen=True)
class Settings:
    """Settings of a running agent. Sizes are in bytes, times in seconds.

    Attributes:
        home: the agent's home.
        controller: HOST:PORT; empty for the device's own controller, or one found by discovery.
        name: the name of the device.
        labels: labels of the device.
        cache_limit_bytes: limit of blobs and environments; what an attempt needs is never evicted.
        spool_limit_bytes: no new run begins while results of this size wait for the controller.
        min_free_bytes: space that a transfer or an installation must leave free on the file system.
        telemetry_interval_s: seconds between telemetry samples.
        job_output_limit_bytes: limit of a job's kept output.
        stop_grace_s: time between the request to a job to end and its kill.
        detect_interval_s: software is detected after the start and then at this interval; 0 detects
            only on SIGHUP.
        once_wait_s: how long `--once` tries to reach the controller.
        sandbox: the strongest sandbox level for jobs; the level that the device supports is
            measured.
        allow_network: whether jobs whose component needs the network get access.
        allow_folders: folders that every job may read and write, besides its own.
        job_memory_bytes: memory limit of a job; 0 derives it from the device's memory.
        job_processes: limit of a job's processes and threads; 0 derives it from the device.
        job_scratch_bytes: how much a job may write, including its results.
        system_root: root of the device's /sys and /proc, which are used to read condition and
            energy and to set the governor; in a container, the root of its host.
        energy_input: the sensor that measures the power of the whole device; empty to choose it by
            label.
        once: whether to exit after the first settled attempts.
        token: an enrollment token for a device without a controller; it is not stored.
    """

    home: Path
    controller: str = ""
    name: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    cache_limit_bytes: int = 16 * GIB
    spool_limit_bytes: int = GIB
    min_free_bytes: int = 64 * 1024 * 1024
    telemetry_interval_s: float = 1.0
    job_output_limit_bytes: int = 4 * 1024 * 1024
    stop_grace_s: float = 5.0
    detect_interval_s: float = 6 * 3600.0
    once_wait_s: float = 20.0
    sandbox: str = "bubblewrap"
    allow_network: bool = False
    allow_folders: list[str] = field(default_factory=list)
    job_memory_bytes: int = 0
    job_processes: int = 0
    job_scratch_bytes: int = 16 * GIB
    system_root: str = "/"
    energy_input: str = ""
    once: bool = False
    token: str = field(default="", repr=False)
