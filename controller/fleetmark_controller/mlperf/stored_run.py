"""A run as it lies in the store, with all that a submission is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fleetmark_core.lockfile import Lockfile

ReadBlob = Callable[[str], bytes]
"""The bytes of a blob by its sha256."""


@dataclass(frozen=True)
class StoredFile:
    """A raw file of a run."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class StoredRun:
    """One run: its row of view `runs`, its provenance, its lock, its files by name."""

    row: Mapping[str, Any]
    provenance: Mapping[str, Any]
    lock: Lockfile
    files: Mapping[str, StoredFile]

    @property
    def run_id(self) -> str:
        """Its id."""
        return str(self.row["run_id"])

    @property
    def mode(self) -> str:
        """performance, accuracy, TEST01 or TEST04."""
        return str(self.row["mode"])

    @property
    def scenario(self) -> str:
        """LoadGen's scenario."""
        return str(self.row["scenario"])

    @property
    def device(self) -> str:
        """The board that it ran on."""
        return str(self.row["device"])

    @property
    def round(self) -> str:
        """MLPerf's round whose LoadGen measured."""
        return str(self.table("loadgen").get("round", ""))

    @property
    def mlperf(self) -> Mapping[str, Any]:
        """What the benchmark says about MLPerf; empty if nothing."""
        found: Mapping[str, Any] = self.table("benchmark").get("mlperf", {})
        return found

    @property
    def program_result(self) -> Mapping[str, Any]:
        """What the job itself wrote down."""
        found = self.provenance.get("program_result")
        return found if isinstance(found, Mapping) else {}

    @property
    def configuration(self) -> tuple[str, str, str, str]:
        """What runs of one result have in common: device, lock, scenario and parameters."""
        return (
            self.device,
            str(self.row["lockfile_sha256"]),
            self.scenario,
            str(self.row["parameters"]),
        )

    @property
    def title(self) -> str:
        """For people."""
        row = self.row
        what = (row.get("model"), row.get("precision"), row.get("runtime"))
        parts = (self.device, *(str(part) for part in what if part), self.scenario, self.mode)
        return f"{' '.join(parts)} (run {self.run_id})"

    def table(self, name: str) -> Mapping[str, Any]:
        """What the lock says of `benchmark`, `model`, `runtime` or `loadgen`."""
        found = self.lock.job.get(name)
        return found if isinstance(found, Mapping) else {}
