"""First come, first served: pure, deterministic, never two of one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleetmark_controller.scheduling.first_come import FirstCome
from fleetmark_controller.scheduling.model import WaitingJob

DEVICES = ["d1", "d2", "d3", "d4"]
jobs = st.lists(
    st.builds(
        WaitingJob,
        job_id=st.uuids().map(str),
        sequence=st.integers(0, 99),
        priority=st.integers(-2, 2),
        devices=st.frozensets(st.sampled_from(DEVICES), min_size=1),
    ),
    max_size=12,
    unique_by=lambda job: job.sequence,
)


@given(jobs, st.lists(st.sampled_from(DEVICES), unique=True))
def test_a_plan_is_lawful_complete_and_does_not_depend_on_the_order_of_jobs(
    waiting: list[WaitingJob], free: list[str]
) -> None:
    plan = FirstCome().plan(waiting, free, 0)
    by_id = {job.job_id: job for job in waiting}
    assert len({a.device_id for a in plan}) == len({a.job_id for a in plan}) == len(plan)
    for assignment in plan:
        assert assignment.device_id in free
        assert assignment.device_id in by_id[assignment.job_id].devices
    left = set(free) - {a.device_id for a in plan}
    for job in waiting:
        if job.job_id not in {a.job_id for a in plan}:
            assert not job.devices & left, "a job waits while a device that fits is free"
    assert FirstCome().plan(list(reversed(waiting)), free, 0) == plan


def test_priority_first_then_arrival() -> None:
    waiting = [
        WaitingJob("late", 3, 0, frozenset({"d1"})),
        WaitingJob("early", 1, 0, frozenset({"d1"})),
        WaitingJob("urgent", 9, 5, frozenset({"d1"})),
    ]
    assert [a.job_id for a in FirstCome().plan(waiting, ["d1"], 0)] == ["urgent"]
    assert [a.job_id for a in FirstCome().plan(waiting[:2], ["d1"], 0)] == ["early"]
