"""The scheduler: pure, deterministic, never two of one, and it says why the rest waits."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetmark_controller.scheduling import predicates
from fleetmark_controller.scheduling.model import (
    DeviceState,
    InterleaveGroup,
    Policy,
    PresenceSnapshot,
    SchedulerState,
    SchedulingPlan,
    WaitingJob,
)
from fleetmark_controller.scheduling.planner import Planner

S = 1_000_000_000
NOW = 1_000_000 * S
POLICY = Policy(ageing_s=600, quarantine_after=3, cool_down_s=0)


def job(name: str, *devices: str, **more: object) -> WaitingJob:
    sequence = int("".join(c for c in name if c.isdigit()) or 0)
    values: dict[str, object] = {"sequence": sequence, "priority": 0, **more}
    return WaitingJob(job_id=name, devices=dict.fromkeys(devices, "lock"), **values)  # type: ignore[arg-type]


def device_state(name: str, **more: object) -> DeviceState:
    return DeviceState(device_id=name, name=name.upper(), **more)  # type: ignore[arg-type]


def plan(
    waiting: Sequence[WaitingJob],
    *devices: DeviceState,
    policy: Policy = POLICY,
    series: dict[str, InterleaveGroup] | None = None,
    blobs: dict[str, dict[str, int]] | None = None,
) -> SchedulingPlan:
    known = {device.device_id: device for device in devices}
    return Planner(policy).plan(SchedulerState(waiting, known, NOW, series or {}, blobs or {}))


def given_to(found: SchedulingPlan) -> dict[str, str]:
    return {a.device_id: a.job_id for a in found.assignments}


# --- properties -------------------------------------------------------------------------------

NAMES = ["d1", "d2", "d3", "d4"]
device_states = st.builds(
    DeviceState,
    device_id=st.just(""),
    name=st.just("D"),
    seen=st.builds(
        PresenceSnapshot,
        status=st.sampled_from(["online", "online", "online", "suspect", "offline"]),
        idle=st.booleans(),
        rested_ns=st.sampled_from([None, 0, 5 * S, 100 * S]),
    ),
    busy_with=st.sampled_from(["", "", "other"]),
    drained=st.sampled_from([False, False, True]),
    reserved_for=st.sampled_from(["", "", "anna"]),
    reserved_until_ns=st.sampled_from([NOW - 1, NOW + S]),
    failures=st.integers(0, 4),
    locks=st.frozensets(st.sampled_from(["l1", "l2"])),
)
fleets = st.fixed_dictionaries(dict.fromkeys(NAMES, device_states)).map(
    lambda found: {name: replace(device, device_id=name) for name, device in found.items()}
)
jobs = st.lists(
    st.builds(
        WaitingJob,
        job_id=st.uuids().map(str),
        sequence=st.integers(0, 99),
        priority=st.integers(-2, 2),
        devices=st.dictionaries(
            st.sampled_from([*NAMES, "away"]), st.sampled_from(["l1", "l2"]), min_size=1
        ),
        created_ns=st.integers(0, 3000).map(lambda s: s * S),
        owner=st.sampled_from(["", "anna", "ben"]),
        paused=st.sampled_from([False, False, False, True]),
        tries_left=st.sampled_from([True, True, True, False]),
        cool_down_ns=st.sampled_from([0, 10 * S]),
        interleave_group=st.sampled_from(["", "", "s1", "s2"]),
        interleave_index=st.integers(0, 3),
        health_check=st.sampled_from([False, False, False, True]),
    ),
    max_size=12,
    unique_by=lambda found: found.sequence,
)
progress = st.fixed_dictionaries(
    dict.fromkeys(
        ["s1", "s2"],
        st.builds(InterleaveGroup, device_id=st.sampled_from(["", *NAMES]), active=st.booleans()),
    )
)
BLOBS = {"l1": {"a": 10, "b": 5}, "l2": {"b": 5, "c": 7}}


def may_take(device: DeviceState, wanted: WaitingJob, policy: Policy) -> bool:
    """Whether a device could begin a job now, series apart: the rules, said once more, plainly."""
    if device.seen.status != "online" or not device.seen.idle or device.busy_with:
        return False
    rested = device.seen.rested_ns
    refused = min(2**device.seen.refusals, 60) * S if device.seen.refusals else 0
    need = max(wanted.cool_down_ns, policy.cool_down_s * S, refused)
    if rested is not None and rested < need:
        return False
    if wanted.health_check:
        return True
    if device.drained or device.failures >= policy.quarantine_after:
        return False
    return not (
        device.reserved_for
        and device.reserved_until_ns > NOW
        and device.reserved_for != wanted.owner
    )


@settings(deadline=None)
@given(jobs, fleets, progress, st.permutations(range(12)))
def test_a_plan_is_lawful_complete_and_does_not_depend_on_the_order_of_jobs(
    waiting: list[WaitingJob],
    fleet: dict[str, DeviceState],
    series: dict[str, InterleaveGroup],
    order: list[int],
) -> None:
    view = SchedulerState(waiting, fleet, NOW, series, BLOBS)
    found = Planner(POLICY).plan(view)
    by_id = {item.job_id: item for item in waiting}
    taken = given_to(found)
    assert len(taken) == len(set(taken.values())) == len(found.assignments)
    assert {*taken.values()} | set(found.waits) == set(by_id), "each job runs or says why not"
    assert not {*taken.values()} & set(found.waits)
    assert all(found.waits.values())
    for device_id, job_id in taken.items():
        wanted = by_id[job_id]
        assert device_id in wanted.devices
        assert wanted.tries_left
        assert not wanted.paused
        assert may_take(fleet[device_id], wanted, POLICY)
        if wanted.interleave_group:
            ready = [
                j
                for j in waiting
                if j.interleave_group == wanted.interleave_group and j.tries_left and not j.paused
            ]
            assert wanted is min(ready, key=lambda j: (j.interleave_index, j.sequence)), (
                "out of its turn"
            )
            assert not series[wanted.interleave_group].active, "two of a series at once"
            assert series[wanted.interleave_group].device_id in ("", device_id), (
                "a series on two devices"
            )
    # Complete: no job waits while a device that may take it has nothing to do and is not kept.
    kept = {one.device_id for one in series.values()}
    for job_id in found.waits:
        wanted = by_id[job_id]
        if wanted.paused or not wanted.tries_left or wanted.interleave_group:
            continue
        for device_id in set(wanted.devices) & set(fleet) - set(taken) - kept:
            assert not may_take(fleet[device_id], wanted, POLICY), "it waits, and a device is free"
    shuffled = [waiting[i] for i in order if i < len(waiting)]
    again = Planner(POLICY).plan(replace(view, waiting=shuffled))
    assert again == found


@settings(deadline=None)
@given(jobs, fleets)
def test_no_job_is_overtaken_on_a_device_without_a_reason(
    waiting: list[WaitingJob], fleet: dict[str, DeviceState]
) -> None:
    """Of two pinned jobs that one device may take, that runs which arrived (virtually) first."""
    plain = [
        replace(j, interleave_group="", devices=dict([next(iter(j.devices.items()))]))
        for j in waiting
    ]
    taken = given_to(Planner(POLICY).plan(SchedulerState(plain, fleet, NOW)))

    def rank(item: WaitingJob) -> tuple[int, int]:
        return item.created_ns - item.priority * 600 * S, item.sequence

    for device_id, device in fleet.items():
        able = [
            j
            for j in plain
            if device_id in j.devices
            and not j.paused
            and j.tries_left
            and may_take(device, j, POLICY)
        ]
        assert taken.get(device_id) == (min(able, key=rank).job_id if able else None)


# --- the table --------------------------------------------------------------------------------

STANDINGS = {
    "fit": {},
    "drained": {"drained": True, "drain_reason": "fan"},
    "reserved": {"reserved_for": "anna", "reserved_until_ns": NOW + 60 * S},
    "reserved, over": {"reserved_for": "anna", "reserved_until_ns": NOW},
    "quarantined": {"failures": 3},
    "nearly quarantined": {"failures": 2},
}
MOMENTS = {
    "idle": {"seen": PresenceSnapshot()},
    "offline": {"seen": PresenceSnapshot("offline", False)},
    "suspect": {"seen": PresenceSnapshot("suspect", False)},
    "busy": {"busy_with": "j0", "seen": PresenceSnapshot("online", False)},
    "uploading": {"busy_with": "j0", "seen": PresenceSnapshot("online", True)},
    "not idle": {"seen": PresenceSnapshot("online", False)},
    "warm": {"seen": PresenceSnapshot("online", True, 5 * S)},
    "rested": {"seen": PresenceSnapshot("online", True, 60 * S)},
}
JOBS = {
    "plain": {},
    "anna's": {"owner": "anna"},
    "health check": {"health_check": True},
    "paused": {"paused": True},
    "tried out": {"tries_left": False},
    "careful": {"cool_down_ns": 30 * S},
}


def expected(standing: str, moment: str, kind: str) -> str:
    """Why it waits, of the first obstacle in the order in which the scheduler looks; or ''."""
    if kind == "paused":
        return "its campaign is paused"
    if kind == "tried out":
        return "no attempts left: it waits for the result of the last attempt"
    if kind != "health check":
        if standing == "drained":
            return "D1 is drained (fan)"
        if standing == "quarantined":
            return "D1 is quarantined: 3 consecutive jobs failed on it"
        if standing == "reserved" and kind != "anna's":
            return "D1 is reserved for anna until 1970-01-12T13:47Z"
    return {
        "offline": "D1 is offline",
        "suspect": "D1 does not respond",
        "busy": "D1 runs job j0",
        "uploading": "D1 runs job j0",
        "not idle": "D1 has not reported idle yet",
        "warm": "D1 cools down for another 25 s" if kind == "careful" else "",
    }.get(moment, "")


@pytest.mark.parametrize("kind", JOBS)
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("standing", STANDINGS)
def test_every_case_of_one_job_and_one_device(standing: str, moment: str, kind: str) -> None:
    device = device_state("d1", **{**STANDINGS[standing], **MOMENTS[moment]})
    found = plan([job("j1", "d1", **JOBS[kind])], device)
    assert found.waits.get("j1", "") == expected(standing, moment, kind)
    assert given_to(found) == ({} if "j1" in found.waits else {"d1": "j1"})


# --- order ------------------------------------------------------------------------------------


def test_priority_first_then_arrival() -> None:
    late, early = job("j3", "d1"), job("j1", "d1")
    urgent = job("j9", "d1", priority=5)
    assert given_to(plan([late, early, urgent], device_state("d1"))) == {"d1": "j9"}
    assert given_to(plan([late, early], device_state("d1"))) == {"d1": "j1"}


def test_waiting_raises_the_priority_so_that_no_job_starves() -> None:
    old = job("j1", "d1", created_ns=0)
    for waited_s, winner in ((599, "j2"), (601, "j1")):
        urgent = job("j2", "d1", priority=1, created_ns=waited_s * S)
        assert given_to(plan([urgent, old], device_state("d1"))) == {"d1": winner}


def test_a_waiting_job_says_how_many_come_first() -> None:
    device = device_state("d1", busy_with="j0", seen=PresenceSnapshot("online", False))
    found = plan([job(f"j{n}", "d1") for n in range(1, 4)], device)
    assert list(found.waits.values()) == [
        "D1 runs job j0",
        "D1 runs job j0; 1 queued job for it runs first",
        "D1 runs job j0; 2 queued jobs for it run first",
    ]
    found = plan([job("j1", "d1"), job("j2", "d1")], device_state("d1"))
    assert found.waits == {"j2": "D1 was just assigned job j1"}


# --- any device --------------------------------------------------------------------------------


def test_any_device_takes_it_and_that_which_lacks_least_first() -> None:
    blobs = {"a": {"model": 100, "wheel": 50}, "b": {"other": 80, "wheel": 50}, "lock": {}}
    anywhere = replace(job("j1"), devices=dict.fromkeys(["d1", "d2", "d3"], "a"))
    fresh, half = device_state("d1"), device_state("d2", locks=frozenset({"b"}))
    whole = device_state("d3", locks=frozenset({"a"}))
    for devices, best in (
        ([fresh, half, whole], "d3"),
        ([fresh, half], "d2"),
        ([fresh], "d1"),
        ([fresh, replace(whole, drained=True)], "d1"),
    ):
        assert given_to(plan([anywhere], *devices, blobs=blobs)) == {best: "j1"}


def test_of_equal_devices_that_for_which_fewer_jobs_wait() -> None:
    pinned = job("j2", "d1", created_ns=S)
    found = plan([job("j1", "d1", "d2"), pinned], device_state("d1"), device_state("d2"))
    assert given_to(found) == {"d2": "j1", "d1": "j2"}


def test_a_job_for_any_device_counts_what_keeps_each() -> None:
    found = plan(
        [job("j1", "d1", "d2", "d3", "d4")],
        device_state("d1", drained=True),
        device_state("d2", seen=PresenceSnapshot("offline", False)),
        device_state("d3", seen=PresenceSnapshot("offline", False)),
    )
    assert found.waits == {
        "j1": "none of 4 devices is free for it: 2 offline, 1 drained, 1 not available"
    }


# --- time -------------------------------------------------------------------------------------


def test_it_says_when_to_look_again_if_time_alone_frees_a_device() -> None:
    warm = device_state("d1", seen=PresenceSnapshot("online", True, 5 * S))
    policy = replace(POLICY, cool_down_s=30)
    found = plan([job("j1", "d1")], warm, policy=policy)
    assert found.waits == {"j1": "D1 cools down for another 25 s"}
    assert found.again_after_ns == 25 * S
    held = device_state("d1", reserved_for="anna", reserved_until_ns=NOW + 7 * S)
    assert plan([job("j1", "d1")], held).again_after_ns == 7 * S
    assert plan([job("j1", "d1")], device_state("d1")).again_after_ns is None


# --- series -----------------------------------------------------------------------------------


def test_a_series_keeps_its_device_and_its_order() -> None:
    """Played to the end: whatever else comes, the two configurations alternate on one device."""
    remaining = [
        job(f"j{n}", "d1", "d2", interleave_group="s", interleave_index=n, created_ns=n * S)
        for n in range(1, 7)
    ]
    urgent = job("j99", "d1", priority=9)
    series: dict[str, InterleaveGroup] = {}
    ran: list[tuple[str, str]] = []
    for step in itertools.count():
        waiting = [*remaining, urgent] if step >= 2 else remaining
        found = plan(waiting, device_state("d1"), device_state("d2"), series=series)
        taken = {job_id: device for device, job_id in given_to(found).items()}
        mine = [job_id for job_id in taken if job_id != "j99"]
        assert len(mine) <= 1, "two of a series at once"
        if not mine:
            break
        ran.append((mine[0], taken[mine[0]]))
        series["s"] = InterleaveGroup(taken[mine[0]], active=False)
        remaining = [item for item in remaining if item.job_id != mine[0]]
        if step >= 2:
            assert "j99" not in taken or taken["j99"] != taken[mine[0]]
    assert [name for name, _ in ran] == [f"j{n}" for n in range(1, 7)]
    assert len({device for _, device in ran}) == 1


def test_while_one_of_a_series_is_out_the_next_waits_and_the_device_is_kept() -> None:
    waiting = [job("j2", "d1", interleave_group="s", interleave_index=2), job("j9", "d1")]
    found = plan(waiting, device_state("d1"), series={"s": InterleaveGroup("d1", active=True)})
    assert found.waits == {
        "j2": "interleaved: the previous job has not ended",
        "j9": "D1 is held for the interleaved jobs of another campaign",
    }
    assert not found.assignments


def test_a_paused_series_lets_its_device_go() -> None:
    waiting = [
        job("j2", "d1", interleave_group="s", interleave_index=2, paused=True),
        job("j9", "d1"),
    ]
    found = plan(waiting, device_state("d1"), series={"s": InterleaveGroup("d1")})
    assert given_to(found) == {"d1": "j9"}


def test_a_health_check_may_come_between() -> None:
    waiting = [
        job("j2", "d1", interleave_group="s", interleave_index=2, created_ns=S),
        job("j9", "d1", health_check=True),
    ]
    found = plan(waiting, device_state("d1", failures=3), series={"s": InterleaveGroup("d1")})
    assert given_to(found) == {"d1": "j9"}


def test_quarantine_can_be_switched_off() -> None:
    policy = Policy(quarantine_after=0)
    assert not predicates.quarantined(device_state("d1", failures=99), policy)
    assert given_to(plan([job("j1", "d1")], device_state("d1", failures=99), policy=policy))


@pytest.mark.parametrize(
    ("refusals", "rested_s", "again_s", "why"),
    [
        (0, 0, None, ""),
        (1, 0, 2, "A refused its last job: the next offer follows in 2 s"),
        (1, 2, None, ""),
        (3, 1, 7, "A refused 3 jobs in a row: the next offer follows in 7 s"),
        (6, 0, 60, "A refused 6 jobs in a row: the next offer follows in 60 s"),
        (5000, 59.5, 0.5, "A refused 5000 jobs in a row: the next offer follows in 1 s"),
    ],
)
def test_a_device_that_refuses_rests_twice_as_long_each_time(
    refusals: int, rested_s: float, again_s: float | None, why: str
) -> None:
    tired = device_state("a", seen=PresenceSnapshot(rested_ns=int(rested_s * S), refusals=refusals))
    found = plan([job("j1", "a")], tired)
    assert found.waits.get("j1", "") == why
    assert found.again_after_ns == (None if again_s is None else int(again_s * S))


def test_the_longer_of_rest_and_cool_down_counts_and_is_named() -> None:
    tired = device_state("a", seen=PresenceSnapshot(rested_ns=0, refusals=2))
    assert plan([job("j1", "a", cool_down_ns=9 * S)], tired).waits == {
        "j1": "A cools down for another 9 s"
    }
    assert plan([job("j1", "a", cool_down_ns=3 * S)], tired).waits == {
        "j1": "A refused 2 jobs in a row: the next offer follows in 4 s"
    }


def test_a_job_for_any_device_goes_to_one_that_does_not_refuse() -> None:
    tired, fresh = (
        device_state("a", seen=PresenceSnapshot(rested_ns=0, refusals=1)),
        device_state("b"),
    )
    assert given_to(plan([job("j1", "a", "b")], tired, fresh)) == {"b": "j1"}
    assert plan([job("j1", "a", "c")], tired, device_state("c", drained=True)).waits == {
        "j1": "none of 2 devices is free for it: 1 waiting after a refusal, 1 drained"
    }
