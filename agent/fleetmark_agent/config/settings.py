"""What an agent is started with and holds for months; `loader` says where it comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

GIB = 1024**3


@dataclass(frozen=True)
class Settings:
    """What an agent is started with. Sizes are in bytes, times in seconds.

    `controller`: HOST:PORT; empty: the one that it belongs to, or one that is found nearby.
    `name`: of the device; empty: see `config.device_name`.
    `token`: a join token, for a board that belongs to no controller yet; it is not stored.
    `spool_limit_bytes`: while results of this size wait for the controller, no new run begins.
    `cache_limit_bytes`: of blobs and environments; what an attempt needs is never evicted.
    `min_free_bytes`: room that a transfer or an installation must leave on the file system.
    `detect_interval_s`: software is looked for after the start and then this often; 0: only when
    SIGHUP asks for it.
    `once_wait_s`: how long `--once` tries to reach the controller.
    `sandbox`: the strongest sandbox that jobs are put into; the board's own is found out.
    `allow_network`: whether jobs whose component asks for the network get it.
    `allow_folders`: folders that every job may read and write, besides its own.
    `job_memory_bytes`, `job_processes` (with threads): of one job; 0: by what the board has.
    `job_scratch_bytes`: what a job may write, its results included.
    `system_root`: below it are the board's /sys and /proc, by which its condition and energy are
    read and its governor is set; for an agent in a container, its host's.
    `energy_input`: name of the sensor that measures what the whole board uses; empty: as its label
    says.
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
