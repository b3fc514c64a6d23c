"""Deliberate bugs that other guards hide from the simulation: a directed test finds each.

The directed test is the project's own, run once more with the bug switched in.
"""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import pytest

from fleetmark_agent.runner import supervisor
from fleetmark_agent.runner.orphans import processes_of
from fleetmark_agent.session.machine import Session
from fleetmark_agent.state.files import RealFiles
from fleetmark_controller.store.db import connection as database
from tests.integration.agent import test_supervisor
from tests.unit.agent import test_session, test_spool


def mutate_supervisor(folder: Path, patch: pytest.MonkeyPatch, old: str, new: str) -> None:
    """Run jobs under a copy of the supervisor with one piece of its text changed."""
    source = Path(supervisor.__file__).read_text()
    assert source.count(old) == 1, f"{old!r} is not what the supervisor says any more"
    copy = folder / "supervisor.py"
    copy.write_text(source.replace(old, new))
    patch.setattr(supervisor, "__file__", str(copy))


def test_a_lock_that_is_released_early_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The job does not inherit the lock, so that it is free as soon as the supervisor is gone.
    mutate_supervisor(tmp_path, monkeypatch, ", (lock, JOB_LOCK_FD))", ")")
    # What the mutant keeps from coming need not be waited for as long as what is only late.
    monkeypatch.setattr(test_supervisor, "until", partial(test_supervisor.until, timeout_s=10))
    bench = test_supervisor.Bench(tmp_path)
    try:
        with pytest.raises((AssertionError, OSError)):
            test_supervisor.test_a_killed_supervisor_takes_its_job_along_and_daemons_keep_the_lock(
                bench
            )
    finally:
        for pid in processes_of(tmp_path / "job.json"):
            os.kill(pid, signal.SIGKILL)


def test_an_agent_that_accepts_a_second_attempt_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "idle", property(lambda _: True))
    for why in ("running", "locked"):
        with pytest.raises(AssertionError):
            test_session.test_only_an_idle_device_accepts(why)


def test_an_acceptance_that_is_reported_before_it_is_durable_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = Session._offered

    def eager(self: Session, offer: object) -> list[object]:
        actions = original(self, offer)  # type: ignore[arg-type]
        for held in self.held.values():
            held.announced = True
        return [*actions, *(a for h in self.held.values() for a in self._send_report(h))]

    monkeypatch.setattr(Session, "_offered", eager)
    with pytest.raises((AssertionError, ValueError)):
        test_session.test_an_offer_is_durable_before_it_is_reported_and_started()


def test_a_spool_that_keeps_half_a_record_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RealFiles, "truncate", lambda *_: None)
    with pytest.raises((AssertionError, OSError)):
        test_spool.test_a_tail_torn_at_any_byte_is_cut_and_the_rest_is_whole(tmp_path)


def test_the_store_commits_with_full_synchronisation(tmp_path: Path) -> None:
    database.migrate(tmp_path / "results.db")
    connection = database.connect(tmp_path / "results.db")
    assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2
    assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert connection.execute("PRAGMA foreign_keys").fetchone()[0] == 1
