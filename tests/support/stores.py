"""A real store with a campaign in it, and the controller's operations on it, without gRPC."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from fleetmark_controller.operations import campaigns, dispatch, sessions
from fleetmark_controller.operations.effects import Effects
from fleetmark_controller.planning.model import JobOption, NewCampaign, NewJob
from fleetmark_controller.scheduling.model import PresenceSnapshot
from fleetmark_controller.scheduling.planner import Planner
from fleetmark_controller.store import epochs
from fleetmark_controller.store.db.connection import connect, migrate
from fleetmark_controller.store.jobs.attempts import AttemptKey
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.records import Final, Record, seal

T = TypeVar("T")
S = 1_000_000_000
CAMPAIGN = "campaign-1"
LOCK = "a" * 64


class TestStore:
    """Runs operations, each in its own transaction, on a clock that the test moves."""

    __test__ = False

    def __init__(self, path: Path, facts: Capabilities) -> None:
        migrate(path)
        self.path = path
        self.facts = facts
        self.connection = connect(path)
        self.now_ns = 1_700_000_000 * S
        self.run(lambda c, _fx, _now: epochs.start_generation(c, "controller-1", 1))

    def run(self, operation: Callable[[sqlite3.Connection, Effects, int], T]) -> T:
        return self.effects_of(operation)[0]

    def effects_of(
        self, operation: Callable[[sqlite3.Connection, Effects, int], T]
    ) -> tuple[T, Effects]:
        effects = Effects()
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            result = operation(self.connection, effects, self.now_ns)
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")
        return result, effects

    def hello(
        self,
        device: str = "d1",
        *reports: sessions.DeviceReport,
        idle: bool = True,
        epoch: int = 0,
    ) -> tuple[list[sessions.AttemptDecision], Effects]:
        output = sessions.DeviceHello(
            device, device, {}, self.facts, "0.1.0", "boot-1", epoch, idle, tuple(reports)
        )
        return self.effects_of(lambda c, fx, now: sessions.hello(c, fx, now, output))

    def submit(self, *devices: str, count: int = 1, max_attempts: int = 3) -> list[str]:
        new = [
            NewJob(
                job_id=f"job-{number}",
                label=f"configuration {number}",
                configuration={
                    "benchmark": "b",
                    "variations": [],
                    "scenario": "SingleStream",
                    "mode": "performance",
                    "profile": "quick",
                    "parameters": {},
                },
                configuration_key=f"key-{number}",
                repetition=1,
                priority=0,
                timeout_s=60.0,
                deadline_at="2099-01-01T00:00:00.000Z",
                max_attempts=max_attempts,
                options=tuple(JobOption(device, LOCK, 100, 1000) for device in devices),
            )
            for number in range(1, count + 1)
        ]
        campaign = NewCampaign(CAMPAIGN, "b", "", "quick", {})
        self.run(lambda c, fx, now: campaigns.submit(c, fx, now, campaign, new, {LOCK: b"{}"}))
        return [job.job_id for job in new]

    def assign(self, *free: str) -> list[AttemptKey]:
        _, effects = self.effects_of(
            lambda c, fx, now: dispatch.dispatch_jobs(
                c, fx, now, {d: PresenceSnapshot() for d in free}, Planner()
            )
        )
        return [offer.key for offer in effects.offers]

    def state(self, job_id: str = "job-1") -> str:
        row = self.connection.execute("SELECT state FROM job WHERE job_id = ?", (job_id,))
        return str(row.fetchone()[0])

    def attempt_state(self, key: AttemptKey) -> str:
        row = self.connection.execute(
            "SELECT state FROM attempt WHERE job_id = ? AND epoch = ?", (key.job_id, key.epoch)
        )
        return str(row.fetchone()[0])


def sealed(*payloads: tuple[str, bytes], outcome: str = "completed") -> list[Record]:
    """Return the records of a whole attempt: the payloads, and a final record that seals them."""
    records = [Record(n, kind, payload) for n, (kind, payload) in enumerate(payloads, 1)]
    final = Final(
        count=len(records) + 1,
        digest=seal(record.sha256 for record in records),
        outcome=outcome,
        reason="" if outcome == "completed" else "it failed",
        exit_code=0,
        retryable=False,
        started_unix_ns=0,
        duration_ns=1,
    )
    return [*records, Record(len(records) + 1, "final", final.payload())]
