"""Selection of the cores of a stable run. Pure.

Cores are of one *kind* if they have one design and either share a clock or are about equally fast.
Cores of one Arm design differ in speed if they are in different clusters (the prime core of a
Snapdragon). Cores of one x86 design differ if some are favored; these are still one kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from fleetmark_agent.fingerprint.cpu_quota import CpuQuota
from fleetmark_agent.fingerprint.cpu_topology import Core

ARM_TOLERANCE, OTHER_TOLERANCE = 0.10, 0.30
"""Relative speed below the fastest core at which a core still belongs to the kind.

Binned clusters of an RK3588 differ by 2 %, the prime core of a Snapdragon 855 from its big cores by
15 %; favored cores of x86 by up to 25 %, compact cores (Zen 5c) by 35 %.
"""


@dataclass(frozen=True)
class CoreKind:
    """Cores of one kind; `name` is empty if the kind is unknown."""

    name: str
    cores: tuple[int, ...]


@dataclass(frozen=True)
class CoreChoice:
    """The cores of a job by kind, the fastest kind first, and the reason for their number."""

    kinds: tuple[CoreKind, ...]
    why: str

    @property
    def cores(self) -> list[int]:
        """Return all chosen cores in ascending order."""
        return sorted(core for kind in self.kinds for core in kind.cores)


def core_kinds(cores: Mapping[int, Core]) -> list[list[Core]]:
    """Return the cores by kind, the fastest kind first; within a kind the fastest core first."""
    clusters: dict[tuple[str, int, int], list[Core]] = {}
    for core in cores.values():
        alone = -1 if core.policy is not None else core.number
        policy = -1 if core.policy is None else core.policy
        clusters.setdefault((core.design, policy, alone), []).append(core)
    kinds: list[list[Core]] = []
    for cluster in sorted(clusters.values(), key=_order):
        kind = next((kind for kind in kinds if _is_one_kind(kind, cluster)), None)
        if kind is None:
            kinds.append(list(cluster))
        else:
            kind.extend(cluster)
    for kind in kinds:
        kind.sort(key=lambda core: (-(core.speed or 0), -core.number))
    return kinds


def choose_cores(
    cores: Mapping[int, Core], allowed: Sequence[int], threads: int, quota: CpuQuota | None = None
) -> CoreChoice:
    """Choose as many cores as the job has threads, within what the agent may use.

    Faster kinds come first. Within a kind, one hardware thread of each physical core comes before a
    second thread of any, because two threads share the core's units. Among equal cores the last
    ones come first, because interrupts go to the first cores.

    Args:
        cores: the known facts of the device's cores, by number.
        allowed: cores that the agent may use (its affinity).
        threads: number of threads of the job; 0 if unknown. Then it gets whole kinds, from the
            fastest, until these are a third of the cores: a single prime core would be too few.
        quota: the tightest CPU quota; a job on more cores than the quota allows would be throttled.
    """
    known = {number: cores.get(number, Core(number)) for number in dict.fromkeys(allowed)}
    if not known:
        return CoreChoice((), "this system does not let a process choose its cores")
    kinds = core_kinds(known)
    rank = {core.number: place for place, kind in enumerate(kinds) for core in kind}
    thread_of = _hardware_threads(known)
    order = sorted(
        known.values(),
        key=lambda core: (
            thread_of[core.number],
            rank[core.number],
            -(core.speed or 0),
            -core.number,
        ),
    )
    wanted = threads
    if threads <= 0:
        order.sort(key=lambda core: rank[core.number])
        sizes = accumulate(len(kind) for kind in kinds)
        wanted = next(size for size in sizes if 3 * size >= len(known))
    limit = len(known) if quota is None else min(len(known), quota.whole_cores)
    chosen = {core.number for core in order[: min(wanted, limit)]}
    found = tuple(
        CoreKind(kind[0].design, numbers)
        for kind in kinds
        if (numbers := tuple(sorted(core.number for core in kind if core.number in chosen)))
    )
    return CoreChoice(found, _why(threads, wanted, found, quota, len(known)))


def other_cores(allowed: Sequence[int], choice: CoreChoice, cores: Mapping[int, Core]) -> list[int]:
    """Return the cores for all other processes, preferably without physical cores of the job."""
    chosen = set(choice.cores)
    left = sorted(set(allowed) - chosen)
    busy = {_physical(cores, number) for number in chosen}
    apart = [number for number in left if _physical(cores, number) not in busy]
    return apart or left or sorted(set(allowed))


def _order(cluster: Sequence[Core]) -> tuple[int, int]:
    """Return a cluster's sort key: by speed, else by number, as most devices count upward."""
    return -max(core.speed or 0 for core in cluster), -max(core.number for core in cluster)


def _is_one_kind(kind: Sequence[Core], cluster: Sequence[Core]) -> bool:
    """Return whether a cluster that is not faster than a kind belongs to it."""
    first, other = kind[0], cluster[0]
    if first.design != other.design:
        return False
    fastest, speed = (max(core.speed or 0 for core in group) for group in (kind, cluster))
    if not fastest or not speed:
        return fastest == speed
    tolerance = ARM_TOLERANCE if first.is_arm else OTHER_TOLERANCE
    return speed >= (1 - tolerance) * fastest


def _hardware_threads(cores: Mapping[int, Core]) -> dict[int, int]:
    """Assign numbers from 0 to the hardware threads of each physical core."""
    places: dict[int, int] = {}
    seen: dict[int, int] = {}
    for number in sorted(cores):
        physical = _physical(cores, number)
        places[number] = seen.get(physical, 0)
        seen[physical] = places[number] + 1
    return places


def _physical(cores: Mapping[int, Core], number: int) -> int:
    core = cores.get(number)
    return number if core is None or core.physical is None else core.physical


def _why(
    threads: int, wanted: int, kinds: Sequence[CoreKind], quota: CpuQuota | None, allowed: int
) -> str:
    count = sum(len(kind.cores) for kind in kinds)
    what = "its threads are not known" if threads <= 0 else _counted(threads, "thread")
    if count < wanted:
        if quota is not None and quota.whole_cores < min(wanted, allowed):
            limit = f"the CPU quota of {quota.group} is {quota.cores:g} cores"
        else:
            limit = "the agent may use no others"
        return f"{what}, {_counted(count, 'core')}: {limit}"
    if threads <= 0:
        return f"{what}: all cores of the fastest kinds"
    if len(kinds) > 1:
        return f"{what}: the fastest kind has fewer physical cores"
    return f"{what}, as many cores"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
