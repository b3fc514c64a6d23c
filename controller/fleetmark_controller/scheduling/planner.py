"""The scheduler: priorities that age, and at most one job for each device.

Jobs are considered in the order of their *virtual arrival*: a job of priority p counts as if it
had arrived p times `ageing_s` earlier. A high priority overtakes, but no job starves, because a
priority is never worth more than the waiting time that it equals.

A job that may run on several devices takes the free device that lacks the fewest bytes of its
bundle. Ties go to the device with the fewest waiting pinned jobs.

An *interleave group* (A/B) runs its jobs strictly in turn on one device. From the first job of
the group to the last, the device takes no other job, except health checks. A pause, or a device
that may no longer run the group, ends this hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fleetmark_controller.scheduling import predicates
from fleetmark_controller.scheduling.locality import BlobLocality
from fleetmark_controller.scheduling.model import (
    NS_PER_S,
    Assignment,
    DeviceState,
    InterleaveGroup,
    Policy,
    SchedulerState,
    SchedulingPlan,
    WaitingJob,
)
from fleetmark_core.ids import SHORT_ID

_KINDS = (
    ("is drained", "drained"),
    ("is quarantined", "quarantined"),
    ("is reserved", "reserved"),
    ("has sandbox level", "with a weaker sandbox"),
    ("reports no sandbox", "with a weaker sandbox"),
    ("is offline", "offline"),
    ("does not respond", "unresponsive"),
    ("runs job", "busy"),
    ("was just assigned", "busy"),
    ("has not reported", "not idle yet"),
    ("cools down", "cooling down"),
    ("refused", "waiting after a refusal"),
    ("is held", "held for interleaved jobs"),
    ("needs entries", "without a signed release"),
)


class Planner:
    """A scheduler that orders jobs by aged priority and fills each device with at most one job."""

    def __init__(self, policy: Policy | None = None) -> None:
        """Create a planner.

        Args:
            policy: the scheduling settings; None: the defaults.
        """
        self.policy = policy or Policy()

    @property
    def ageing_s(self) -> float:
        """The waiting time in seconds that equals one step of priority."""
        return self.policy.ageing_s

    def plan(self, view: SchedulerState) -> SchedulingPlan:
        """Assign at most one job to each free device; see `Scheduler.plan`."""
        return _SchedulingPass(view, self.policy).run()


class _SchedulingPass:
    """One planning round: the set of free devices shrinks as the jobs are considered."""

    def __init__(self, view: SchedulerState, policy: Policy) -> None:
        self.view = view
        self.policy = policy
        self.stock = BlobLocality(view.blobs)
        self.obstacles = {name: predicates.presence(d) for name, d in view.devices.items()}
        self.free = {name for name, obstacle in self.obstacles.items() if not obstacle}
        self.given: dict[str, str] = {}  # device → job of this round
        self.before: Counter[str] = Counter()  # device → waiting pinned jobs that come first
        self.pinned: Counter[str] = Counter()
        self.choices: dict[tuple[str, str, int, bool, str], list[str]] = {}
        self.phrases: dict[tuple[str, str, int, bool, str], str] = {}
        self.again_ns: int | None = None

    def run(self) -> SchedulingPlan:
        ageing_ns = int(self.policy.ageing_s * NS_PER_S)
        order = sorted(
            self.view.waiting, key=lambda j: (j.created_ns - j.priority * ageing_ns, j.sequence)
        )
        for job in order:
            if len(job.devices) == 1:
                self.pinned[next(iter(job.devices))] += 1
        self.next_turn = _next_turns(order)
        self.held = self._holds()
        assignments: list[Assignment] = []
        waits: dict[str, str] = {}
        for job in order:
            reason = self._unready(job) or self._unsigned(job) or self._place(job)
            if reason:
                waits[job.job_id] = reason
            else:
                assignments.append(Assignment(job.job_id, self._last))
        self._note_reservations()
        return SchedulingPlan(assignments, waits, self.again_ns)

    # --- one job ---

    def _unready(self, job: WaitingJob) -> str:
        if job.paused:
            return "its campaign is paused"
        if not job.tries_left:
            return "no attempts left: it waits for the result of the last attempt"
        if job.interleave_group:
            obstacle = self._standing(job)
            if obstacle:
                return obstacle
            first = self.next_turn[job.interleave_group]
            if first is not job:
                return f"interleaved: job {first.job_id[-SHORT_ID:]} runs first"
            if self._group(job).active:
                return "interleaved: the previous job has not ended"
        return ""

    def _unsigned(self, job: WaitingJob) -> str:
        if self.view.unsignable:
            return f"unsigned: {self.view.unsignable}"
        if not self.view.unsigned:
            return ""
        missing = [self.view.unsigned.get(lock, "") for lock in job.devices.values()]
        # A job that has a signed lockfile for at least one device waits for that device.
        return f"unsigned: {missing[0]}" if all(missing) else ""

    def _standing(self, job: WaitingJob) -> str:
        """Return what keeps a group's device from all the group's jobs, or an empty string."""
        began = self._group(job).device_id
        name = began or (next(iter(job.devices)) if len(job.devices) == 1 else "")
        device = self.view.devices.get(name)
        if device is None:
            return ""
        obstacle = predicates.for_job(device, job, self.view.now_unix_ns, self.policy)
        return f"{device.name} {obstacle}" if obstacle else ""

    def _place(self, job: WaitingJob) -> str:
        """Place the job on a device (`_last`), or return its wait reason."""
        began = self._group(job).device_id if job.interleave_group else ""
        if began:
            if began in job.devices:
                return self._on(job, began)
            return "interleaved: its series runs on another device, which is not free"
        if len(job.devices) == 1:
            return self._on(job, next(iter(job.devices)))
        return self._on_any(job)

    def _on(self, job: WaitingJob, device_id: str) -> str:
        device = self.view.devices.get(device_id)
        if device is None:
            return "its device is not available"
        obstacle = self._obstacle(device, job)
        if not obstacle:
            self._take(job, device_id)
            return ""
        self.before[device_id] += 1
        ahead = self.before[device_id] - 1
        return f"{device.name} {obstacle}{_ahead(ahead)}"

    def _on_any(self, job: WaitingJob) -> str:
        key = (
            job.device_set or job.job_id,
            job.owner,
            job.cool_down_ns,
            job.health_check,
            job.min_sandbox,
        )
        choice = self.choices.get(key)
        if choice is None:
            choice = self.choices[key] = self._rank(job)
        # A device that one job of this kind could not take is not free for a later one either:
        # within a round, devices only fill up.
        while choice:
            device_id = choice[-1]
            if device_id in self.free:
                self._take(job, device_id)
                return ""
            choice.pop()
        if key not in self.phrases:
            self.phrases[key] = self._none_of(job)
        return self.phrases[key]

    def _rank(self, job: WaitingJob) -> list[str]:
        """Return the free devices that may take the job, best last."""
        devices = self.view.devices
        fitting = [
            device_id
            for device_id in job.devices
            if device_id in self.free and not self._obstacle(devices[device_id], job)
        ]
        missing = self.stock.missing_bytes
        return sorted(
            fitting,
            key=lambda d: (missing(devices[d].locks, job.devices[d]), self.pinned[d], d),
            reverse=True,
        )

    def _obstacle(self, device: DeviceState, job: WaitingJob) -> str:
        obstacle = predicates.for_job(device, job, self.view.now_unix_ns, self.policy)
        if obstacle:
            return obstacle
        if self.view.unsigned.get(job.devices[device.device_id]):
            return "needs entries that no signed release contains"
        taker = self.given.get(device.device_id)
        if taker is not None:
            return f"was just assigned job {taker[-SHORT_ID:]}"
        if self.obstacles[device.device_id]:
            return self.obstacles[device.device_id]
        if not self._may_hold(job, device.device_id):
            return "is held for the interleaved jobs of another campaign"
        resting_ns = predicates.cooling_ns(device, job, self.policy)
        if resting_ns:
            self._again(resting_ns)
            return predicates.cooling(device, resting_ns)
        return ""

    def _take(self, job: WaitingJob, device_id: str) -> None:
        self.free.discard(device_id)
        self.given[device_id] = job.job_id
        self._last = device_id

    def _none_of(self, job: WaitingJob) -> str:
        counts: Counter[str] = Counter()
        for device_id in job.devices:
            device = self.view.devices.get(device_id)
            counts[_kind(device, self._obstacle(device, job) if device else "")] += 1
        what = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
        return f"none of {len(job.devices)} devices is free for it: {what}"

    # --- interleave groups ---

    def _group(self, job: WaitingJob) -> InterleaveGroup:
        return self.view.interleave_groups.get(job.interleave_group, _NOT_BEGUN)

    def _holds(self) -> dict[str, str]:
        """Return the devices in the middle of an interleave group, each with its key."""
        held: dict[str, str] = {}
        for name, first in self.next_turn.items():
            device = self.view.devices.get(self._group(first).device_id)
            if device is None or device.device_id not in first.devices:
                continue
            if not predicates.for_job(device, first, self.view.now_unix_ns, self.policy):
                held.setdefault(device.device_id, name)
        return held

    def _may_hold(self, job: WaitingJob, device_id: str) -> bool:
        return (
            job.health_check
            or self.held.get(device_id, job.interleave_group) == job.interleave_group
        )

    # --- time ---

    def _again(self, after_ns: int) -> None:
        self.again_ns = after_ns if self.again_ns is None else min(self.again_ns, after_ns)

    def _note_reservations(self) -> None:
        now_ns = self.view.now_unix_ns
        for device_id in self.free:
            device = self.view.devices[device_id]
            if predicates.reserved(device, now_ns):
                self._again(device.reserved_until_ns - now_ns)


_NOT_BEGUN = InterleaveGroup()


def _next_turns(order: Sequence[WaitingJob]) -> dict[str, WaitingJob]:
    """Return the next job of each interleave group."""
    first: dict[str, WaitingJob] = {}
    for job in order:
        if not job.interleave_group or job.paused or not job.tries_left:
            continue
        known = first.setdefault(job.interleave_group, job)
        if _place(job) < _place(known):
            first[job.interleave_group] = job
    return first


def _place(job: WaitingJob) -> tuple[int, int]:
    """Return the key that orders the jobs of one interleave group."""
    return job.interleave_index, job.sequence


def _ahead(count: int) -> str:
    if not count:
        return ""
    return (
        f"; {count} queued job{'s' if count > 1 else ''} for it run{'' if count > 1 else 's'} first"
    )


def _kind(device: DeviceState | None, obstacle: str) -> str:
    if device is None:
        return "not available"
    for words, kind in _KINDS:
        if obstacle.startswith(words):
            return kind
    return "taken"
