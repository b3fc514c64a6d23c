"""What keeps a large fleet quick must not change what is decided."""

from __future__ import annotations

import resource
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlite_utils import Database

from fleetmark_catalog.selectors import parse_selector
from fleetmark_controller.operations import campaigns, dispatch
from fleetmark_controller.planning.device import Device, DeviceList
from fleetmark_controller.planning.model import JobOption, NewCampaign, NewJob
from fleetmark_controller.scheduling.model import PresenceSnapshot
from fleetmark_controller.scheduling.planner import Planner
from fleetmark_controller.server import rlimits
from fleetmark_controller.store.db.connection import connect
from fleetmark_controller.store.db.migrations import MIGRATIONS
from fleetmark_controller.store.devices import device_admin
from fleetmark_controller.store.jobs import campaigns as stored_campaigns
from fleetmark_controller.store.jobs import job_options, jobs, scheduler_view
from fleetmark_controller.store.jobs.job_options import OPTIONS
from fleetmark_core.capabilities import Capabilities
from tests.support.examples import examples
from tests.support.stores import LOCK, S, TestStore

DEVICES = [f"d{number}" for number in range(6)]


@pytest.fixture
def store(tmp_path: Path, x86_device: Capabilities) -> TestStore:
    store = TestStore(tmp_path / "results.db", x86_device)
    for name in DEVICES:
        store.hello(name)
    return store


def new_job(number: int, options: tuple[JobOption, ...], **more: object) -> NewJob:
    job = NewJob(
        *(
            f"job-{number}",
            "label",
            {"scenario": "S", "mode": "m", "profile": "quick", "parameters": {}},
        ),
        *("key", 1, 0, 60.0, "2099-01-01T00:00:00.000Z", 3),
        options=options,
    )
    return replace(job, **more)  # type: ignore[arg-type]


def submit(store: TestStore, campaign: str, new: list[NewJob], owner: str = "anna") -> None:
    about = NewCampaign(campaign, "b", "", "quick", {}, submitted_by=owner)
    store.run(lambda c, fx, now: campaigns.submit(c, fx, now, about, new, {LOCK: b"{}"}))


def sets(store: TestStore) -> int:
    row = store.connection.execute(
        "SELECT count(DISTINCT option_set_id) FROM job_option"
    ).fetchone()
    return int(row[0])


def options_of(store: TestStore, job_id: str) -> list[str]:
    rows = store.connection.execute(
        f"SELECT device_id FROM {OPTIONS} WHERE job_id = ? ORDER BY device_id", (job_id,)
    )
    return [row[0] for row in rows]


def test_jobs_with_the_same_options_share_them_until_one_loses_a_device(store: TestStore) -> None:
    shared = tuple(JobOption(name, LOCK, 1, 1) for name in DEVICES)
    submit(store, "c", [new_job(number, shared) for number in range(5)])
    assert sets(store) == 1
    assert store.run(lambda c, _fx, _now: job_options.exclude_device(c, "job-0", "d0"))
    assert store.run(lambda c, _fx, _now: job_options.exclude_device(c, "job-0", "d3"))
    assert options_of(store, "job-0") == ["d1", "d2", "d4", "d5"]
    assert options_of(store, "job-1") == DEVICES
    (first,) = [j for j in [store.run(lambda c, _fx, _now: jobs.get(c, "job-0"))] if j]
    store.run(lambda c, _fx, now: jobs.repeat(c, now, first, "again"))
    assert options_of(store, "again") == options_of(store, "job-0")


@settings(max_examples=examples(60), deadline=None)
@given(data=st.data())
def test_looking_at_open_devices_alone_leaves_none_of_them_idle(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory, x86_device: Capabilities
) -> None:
    """Cover reservations, pauses, priorities, owners, pinned jobs and jobs for any device."""
    store = TestStore(tmp_path_factory.mktemp("store") / "results.db", x86_device)
    for name in DEVICES:
        store.hello(name)
    number = 0
    for campaign in range(data.draw(st.integers(1, 4))):
        store.now_ns += S
        new = []
        for _ in range(data.draw(st.integers(1, 4))):
            names = data.draw(st.lists(st.sampled_from(DEVICES), min_size=1, unique=True))
            shared = tuple(JobOption(name, LOCK, 1, 1) for name in names)
            priority = data.draw(st.integers(-2, 2))
            for _ in range(data.draw(st.integers(1, 3))):
                new.append(new_job(number, shared, priority=priority))
                number += 1
        submit(store, f"c{campaign}", new, data.draw(st.sampled_from(["anna", "ben"])))
        if data.draw(st.booleans()):
            store.run(
                lambda c, _fx, now, n=campaign: stored_campaigns.set_paused(c, now, f"c{n}", True)
            )
    for name in data.draw(st.lists(st.sampled_from(DEVICES), max_size=2, unique=True)):
        store.run(lambda c, _fx, now, n=name: device_admin.reserve(c, now, n, "anna", now + 60 * S))
    idle = data.draw(st.sets(st.sampled_from(DEVICES), min_size=1))
    seen = {name: PresenceSnapshot(idle=name in idle) for name in DEVICES}
    planner = Planner()
    everything = planner.plan(scheduler_view.view(store.connection, store.now_ns, seen))
    narrow = planner.plan(
        scheduler_view.view(store.connection, store.now_ns, seen, planner.ageing_s, sorted(idle))
    )

    def given_to(plan: object) -> set[tuple[str, str]]:
        return {(a.job_id, a.device_id) for a in plan.assignments}  # type: ignore[attr-defined]

    # Which of several devices a job gets may differ, and with it who comes after it. But in neither
    # plan does a job wait while a device is idle that the other plan gave it.
    for plan, other in ((narrow, everything), (everything, narrow)):
        jobs_of = {job for job, _ in given_to(plan)}
        devices_of = {device for _, device in given_to(plan)}
        assert all(job in jobs_of or device in devices_of for job, device in given_to(other))
    assert bool(given_to(narrow)) == bool(given_to(everything))
    wanted = scheduler_view.candidate_devices(store.connection)
    assert wanted is not None and {device for _, device in given_to(everything)} <= wanted


def test_many_idle_devices_get_what_waits_for_them(store: TestStore, x86_device: object) -> None:
    """Of so many only those that are wanted are looked at."""
    pinned = (JobOption("d4", LOCK, 1, 1),)
    submit(store, "c", [new_job(0, pinned)])
    crowd = {f"idle-{number}": PresenceSnapshot() for number in range(200)} | {
        "d4": PresenceSnapshot(),
        "d5": PresenceSnapshot(),
    }
    _, effects = store.effects_of(
        lambda c, fx, now: dispatch.dispatch_jobs(c, fx, now, crowd, Planner(), crowd.keys())
    )
    assert [(offer.key.job_id, offer.key.device_id) for offer in effects.offers] == [
        ("job-0", "d4")
    ]


def test_an_older_store_keeps_its_options(tmp_path: Path, store: TestStore) -> None:
    path = tmp_path / "old.db"
    connection = connect(path)
    db = Database(connection)
    MIGRATIONS.apply(db, stop_before="0011_lookups")
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute(
        "INSERT INTO job (job_id, sequence, campaign_id, label, configuration, configuration_key,"
        " repetition, state, reason, priority, timeout_s, deadline_at, max_attempts, created_at)"
        " VALUES ('j', 1, 'c', '', '{}', '', 1, 'QUEUED', '', 0, 1, '', 1, '')"
    )
    connection.execute(
        "INSERT INTO job_option VALUES ('j', 'd1', 'lock', 10, 20, 30, 40, 50, 'landlock')"
    )
    MIGRATIONS.apply(db)
    found = job_options.get(connection, "j", "d1")
    assert found == JobOption("d1", "lock", 10, 20, 30, 40, 50, "landlock")
    connection.close()


NAMES = st.sampled_from(["device-1", "DEVICE-1", "device-10", "amd64", "x86_64", "other"])


@given(
    st.lists(NAMES, max_size=8),
    st.sampled_from(
        [
            "name=device-1",
            "name=Device-1",
            "name=device-*",
            "name in (device-1,other)",
            "name=x64",
            "name!=device-1",
            "!name=device-1",
            "name=device-1,name=other",
            "(name=device-1),linux",
            "@one",
        ]
    ),
)
def test_devices_that_are_looked_up_by_name_are_those_that_match(
    x86_device: Capabilities, names: list[str], text: str
) -> None:
    roll = DeviceList(
        sorted(
            (Device(str(n), name, {}, x86_device, "", "", "", "") for n, name in enumerate(names)),
            key=lambda device: device.name,
        )
    )
    selector = parse_selector(text, {"one": "name in (device-1,device-10)"})
    plain = [device for device in roll if selector.matches(device.subject)]
    assert [d.name for d in roll.matching(selector)] == [d.name for d in plain]


def test_a_process_may_open_as_many_files_as_the_system_grants() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        assert rlimits.raise_limit() == before[1]
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
