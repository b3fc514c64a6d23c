"""Deliberate bugs, switched in one at a time: the simulation must find each of them.

A mutant is a function that patches the real code (or the simulated shell around it) through
pytest's monkeypatch. A proof that cannot fail proves nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from fleetmark_agent.session import events as h
from fleetmark_agent.session.machine import Session
from fleetmark_agent.session.messages import ReportedState as Reported
from fleetmark_agent.state.spool import Spool
from fleetmark_controller.lifecycle.states import AttemptState
from fleetmark_controller.operations import results, sessions
from fleetmark_controller.scheduling.presence import Presence
from fleetmark_controller.store import epochs
from fleetmark_controller.store.jobs import attempts
from fleetmark_controller.store.results import records
from tests.simulation import simulate
from tests.simulation.controller import SimulatedController
from tests.simulation.disk import Disk

Patch = pytest.MonkeyPatch
MUTANTS: dict[str, Callable[[Patch], None]] = {}


def mutant(apply: Callable[[Patch], None]) -> Callable[[Patch], None]:
    """Register a deliberate bug under its function's name."""
    MUTANTS[apply.__name__] = apply
    return apply


def _schema(patch: Patch, *changes: tuple[str, str]) -> None:
    """Run every seed on a store whose schema differs."""
    original = simulate.empty_store()
    empty = sqlite3.connect(":memory:", check_same_thread=False)
    script = "\n".join(original.iterdump())
    for old, new in changes:
        assert old in script
        script = script.replace(old, new)
    empty.executescript(script)
    patch.setattr(simulate, "_EMPTY", empty)


@mutant
def acknowledge_before_commit(patch: Patch) -> None:
    patch.setattr(SimulatedController, "acknowledge_before_commit", True)


@mutant
def no_unique_key(patch: Patch) -> None:
    rest = "FOREIGN KEY (job_id, epoch) REFERENCES attempt (job_id, epoch))"
    keyed = f"PRIMARY KEY (job_id, epoch, seq),\n        {rest} WITHOUT ROWID"
    _schema(patch, (keyed, rest))


@mutant
def acknowledge_the_maximum(patch: Patch) -> None:
    def highest(connection: sqlite3.Connection, key: attempts.AttemptKey) -> int:
        row = connection.execute(
            "SELECT coalesce(max(seq), 0) FROM record WHERE job_id = ? AND epoch = ?",
            (key.job_id, key.epoch),
        )
        return int(row.fetchone()[0])

    patch.setattr(records, "_contiguous", highest)
    # An agent that sends a batch out of order is what the rule protects against.
    original = Spool.read

    def shuffled(self: Spool, attempt: Any, after_seq: int, max_bytes: int) -> list[Any]:
        found = original(self, attempt, after_seq, max_bytes)
        return found[1:] if len(found) > 1 and after_seq == 0 else found

    patch.setattr(Spool, "read", shuffled)


@mutant
def epoch_left_out_of_the_key(patch: Patch) -> None:
    _schema(patch, ("PRIMARY KEY (job_id, epoch, seq)", "PRIMARY KEY (job_id, seq)"))
    patch.setattr(records, "_stored_digest", lambda *_: "")


@mutant
def no_fence(patch: Patch) -> None:
    original = attempts.get

    def newest(connection: sqlite3.Connection, key: attempts.AttemptKey) -> Any:
        row = connection.execute(
            "SELECT device_id, job_id, epoch FROM attempt WHERE job_id = ? ORDER BY epoch DESC",
            (key.job_id,),
        ).fetchone()
        return None if row is None else original(connection, attempts.AttemptKey(*row))

    patch.setattr(attempts, "get", newest)


@mutant
def spool_in_memory(patch: Patch) -> None:
    patch.setattr(Disk, "append_sync", Disk.append_lazy)


@mutant
def wall_clock_leases(patch: Patch) -> None:
    patch.setattr(SimulatedController, "monotonic_ns", SimulatedController.wall_ns)


@mutant
def lost_frees_the_device(patch: Patch) -> None:
    original = Presence.expire

    def expire(self: Presence, now_ns: int) -> list[str]:
        gone = original(self, now_ns)
        for device in gone:
            seat = self._seats[device]
            seat.idle, seat.session = True, seat.session or 1
            # The scheduler gives nothing to a device that is offline: the bug must hide that, too.
            seat.lease_until_ns = now_ns + self.lease_ns
        return gone

    patch.setattr(Presence, "expire", expire)


@mutant
def retry_without_a_new_epoch(patch: Patch) -> None:
    def same(connection: sqlite3.Connection) -> int:
        last = connection.execute("SELECT max(epoch) FROM attempt").fetchone()[0]
        return int(last or 1 << 32)

    patch.setattr(epochs, "next_epoch", same)


@mutant
def restore_without_a_new_generation(patch: Patch) -> None:
    def keep(connection: sqlite3.Connection, controller_id: str, _: int) -> str:
        if epochs.get(connection, "last_epoch") is None:
            epochs.put(connection, "last_epoch", str(1 << epochs.GENERATION_SHIFT))
        return controller_id

    patch.setattr(epochs, "start_generation", keep)


@mutant
def results_forgotten_before_they_are_acknowledged(patch: Patch) -> None:
    original = Session._uploaded

    def uploaded(self: Session, event: Any, now: float) -> list[h.Action]:
        held = self.held.get(event.key)
        if isinstance(event, h.UploadFailed) and held is not None and not held.leaving:
            self._uploading = None
            return self._forget(held)
        return original(self, event, now)

    patch.setattr(Session, "_uploaded", uploaded)


@mutant
def finalised_twice(patch: Patch) -> None:
    patch.setattr(attempts, "set_evaluated", lambda *_: None)


@mutant
def torn_tail_not_cut(patch: Patch) -> None:
    patch.setattr(Disk, "truncate", lambda self, name, size_bytes: None)


@mutant
def a_stop_drops_what_is_finished(patch: Patch) -> None:
    original = Session._stop

    def stop(self: Session, stop: Any, now: float, *, final: bool = False) -> list[h.Action]:
        held = self.held.get(stop.attempt.key)
        crossed = held is not None and held.state is Reported.UPLOADING and not held.leaving
        return original(self, stop, now, final=final or crossed)

    patch.setattr(Session, "_stop", stop)


@mutant
def what_a_device_lost_is_not_noticed(patch: Patch) -> None:
    original = sessions.end_attempt

    def unless_running(connection: Any, effects: Any, now: int, attempt: Any, *rest: Any) -> Any:
        if attempt.state is AttemptState.RUNNING:
            return None
        return original(connection, effects, now, attempt, *rest)

    patch.setattr(sessions, "end_attempt", unless_running)


@mutant
def a_late_result_is_official_too(patch: Patch) -> None:
    original = results.end_attempt

    def official(*arguments: Any, **named: Any) -> Any:
        verdict = original(*arguments, **named)
        return type(verdict)(verdict.state, verdict.reason, official=True)

    patch.setattr(results, "end_attempt", official)
