"""A stored run, with all facts and files that a submission needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fleetmark_core.lockfile import Lockfile

ReadBlob = Callable[[str], bytes]
"""Function that returns the bytes of a blob by its sha256."""


@dataclass(frozen=True)
class StoredFile:
    """A raw file of a run."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class StoredRun:
    """A run: its row of view `runs`, its provenance, its lockfile, its files by name."""

    row: Mapping[str, Any]
    provenance: Mapping[str, Any]
    lock: Lockfile
    files: Mapping[str, StoredFile]

    @property
    def run_id(self) -> str:
        """The run's id."""
        return str(self.row["run_id"])

    @property
    def mode(self) -> str:
        """The mode: performance, accuracy, TEST01 or TEST04."""
        return str(self.row["mode"])

    @property
    def scenario(self) -> str:
        """LoadGen's scenario."""
        return str(self.row["scenario"])

    @property
    def device(self) -> str:
        """The name of the device on which it ran."""
        return str(self.row["device"])

    @property
    def round(self) -> str:
        """MLPerf's round of the LoadGen that measured; empty if unknown."""
        return str(self.table("loadgen").get("round", ""))

    @property
    def mlperf(self) -> Mapping[str, Any]:
        """The benchmark's facts for MLPerf; empty if there are none."""
        found: Mapping[str, Any] = self.table("benchmark").get("mlperf", {})
        return found

    @property
    def program_result(self) -> Mapping[str, Any]:
        """The result that the job itself wrote; empty if there is none."""
        found = self.provenance.get("program_result")
        return found if isinstance(found, Mapping) else {}

    @property
    def configuration(self) -> tuple[str, str, str, str]:
        """The common facts of one result's runs: device, lockfile, scenario and parameters."""
        return (
            self.device,
            str(self.row["lockfile_sha256"]),
            self.scenario,
            str(self.row["parameters"]),
        )

    @property
    def title(self) -> str:
        """The run's title for display."""
        row = self.row
        what = (row.get("model"), row.get("precision"), row.get("runtime"))
        parts = (self.device, *(str(part) for part in what if part), self.scenario, self.mode)
        return f"{' '.join(parts)} (run {self.run_id})"

    def table(self, name: str) -> Mapping[str, Any]:
        """Return the lockfile's table `benchmark`, `model`, `runtime` or `loadgen`."""
        found = self.lock.job.get(name)
        return found if isinstance(found, Mapping) else {}
