"""The folder of one attempt: its layout, its files and its progress."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fleetmark_agent.session.messages import Progress
from fleetmark_agent.state.attempt_key import LocalAttemptKey
from fleetmark_core.records import AGENT_FILES
from fleetmark_core.regular_file import is_damage, read_regular

POWER_ROLE = "board_power"
"""Role of the agent's own file with the power readings taken during a job."""


class Workspace:
    """Paths below `attempts/<job_id>.<epoch>/`; the job sees only some of them."""

    def __init__(self, attempts: Path, key: LocalAttemptKey) -> None:
        """Set the paths; create nothing."""
        self.key = key
        self.root = attempts / key.name
        self.out = self.root / "out"
        self.program = self.root / "program"
        self.inputs = self.root / "inputs"
        self.home = self.root / "home"
        self.temporary = self.root / "tmp"
        self.shared = self.root / "shm"
        self.job = self.root / "job.json"
        self.lock = self.root / "lock.json"
        self.context = self.root / "context.json"
        self.spec = self.root / "supervisor.json"
        self.sandbox = self.root / "sandbox.json"
        self.alive = self.root / "supervisor.lock"
        self.started = self.root / "started.json"
        self.progress = self.root / "progress.json"
        self.outcome = self.root / "outcome.json"
        self.telemetry = self.root / "telemetry.jsonl"
        self.telemetry_spec = self.root / "telemetry.json"
        self.sampling = self.root / "telemetry.lock"
        self.power = self.root / "power.part"
        self.device_power = self.root / AGENT_FILES[POWER_ROLE]
        self.stdout = self.root / AGENT_FILES["stdout"]
        self.stderr = self.root / AGENT_FILES["stderr"]
        self.complaints = self.root / "supervisor.txt"
        self.plan = self.root / "records.jsonl"

    def make_fresh(self) -> None:
        """Create empty folders for a job that was never started.

        Raises:
            OSError: the disk is full, or a permission is missing.
        """
        for folder in (self.out, *self._only_while_running()):
            _remove_tree(folder)
            folder.mkdir(parents=True)

    @property
    def was_started(self) -> bool:
        """Return whether a supervisor has ever started the job."""
        return self.started.exists()

    def read_json(self, path: Path) -> dict[str, Any] | None:
        """Return the table in a file that the agent wrote; None if it is absent or damaged.

        Raises:
            OSError: the file cannot be read for another reason.
        """
        try:
            values = json.loads(read_regular(path))
        except (FileNotFoundError, ValueError, RecursionError):
            return None
        except OSError as error:
            if not is_damage(error):
                raise
            return None
        return values if isinstance(values, dict) else None

    def read_progress(self) -> Progress | None:
        """Return the latest progress of the job; None if it reported none."""
        values = self.read_json(self.progress) or {}
        try:
            return Progress(str(values["phase"]), int(values["done"]), int(values["total"]))
        except (KeyError, TypeError, ValueError, OverflowError):
            return None

    def file_of(self, payload: bytes) -> tuple[Path, str, int]:
        """Return path, sha256 and size of the file that a record of kind `file` names."""
        values = json.loads(payload)
        own = {"stdout": self.stdout, "stderr": self.stderr, POWER_ROLE: self.device_power}
        path = own.get(values["role"]) or self.out / values["name"]
        return path, str(values["sha256"]), int(values["size_bytes"])

    def clear_inputs(self) -> None:
        """Delete what only a running job needs."""
        for folder in self._only_while_running():
            _remove_tree(folder)

    def _only_while_running(self) -> tuple[Path, ...]:
        return (self.program, self.inputs, self.home, self.temporary, self.shared)

    def trim(self) -> None:
        """Delete the large files that are not needed once all records are acknowledged."""
        self.clear_inputs()
        _remove_tree(self.out)
        logs = (self.stdout, self.stderr, self.telemetry, self.power, self.device_power)
        for path in logs:
            path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete the whole workspace."""
        _remove_tree(self.root)


def _remove_tree(folder: Path) -> None:
    """Remove what can be removed. shutil is imported only if the folder exists."""
    if folder.exists():
        import shutil

        shutil.rmtree(folder, ignore_errors=True)
