"""Decide whether B is faster or slower than A, per device and over all of them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from fleetmark_controller.compare import statistics
from fleetmark_controller.compare.pairing import PairedSamples, Pairing
from fleetmark_controller.compare.statistics import Effect
from fleetmark_core.errors import ErrorKind, FleetmarkError


class ComparisonResult(Enum):
    """The possible answers about B compared with A."""

    FASTER = "faster"
    SLOWER = "slower"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class ComparisonRow:
    """One row of the answer. For a fleet, `device` is empty and `devices` counts the devices.

    `ratio` is B's time over A's, and `effect` has its interval. Both are None if there are too few
    runs or no valid ones, for which `why` has the reason.
    """

    device: str
    configuration: str
    metric: str
    answer: ComparisonResult
    ratio: float | None
    effect: Effect | None
    runs_a: int
    runs_b: int
    a: float | None = None
    b: float | None = None
    paired: bool = False
    devices: int = 1
    why: str = ""
    accuracy_a: float | None = None
    accuracy_b: float | None = None
    accuracy_metric: str = ""
    left_out: int = 0
    doubtful: int = 0

    @property
    def change(self) -> float | None:
        """The relative change of time: 0.03 is 3 % slower, -0.03 takes 3 % less time."""
        return None if self.ratio is None else self.ratio - 1.0


@dataclass(frozen=True)
class Bound:
    """An answer that is not accepted, and the smallest change (fraction ≥ 0) that counts."""

    answer: ComparisonResult
    share: float

    def broken_by(self, verdict: ComparisonRow) -> bool:
        """Return whether a verdict has the bound's answer with a change at least as large.

        The interval proves the direction, the estimate has the size. A tiny slowdown is accepted
        even if it is certain, and a large one that may be chance does not fail either.
        """
        change = verdict.change
        return verdict.answer is self.answer and change is not None and abs(change) >= self.share


_BOUND = re.compile(r"(faster|slower)(?:=([0-9]+(?:\.[0-9]+)?)%)?")


def parse_bound(text: str) -> Bound:
    """Parse a bound: `slower=3%`, `slower`, `faster=10%`.

    Raises:
        FleetmarkError: USAGE: it is not a bound.
    """
    match = _BOUND.fullmatch(text.replace(" ", ""))
    if match is None:
        raise FleetmarkError(
            ErrorKind.USAGE,
            f"{text!r} is not a valid bound",
            "--fail-if",
            "Examples: slower=3%, slower",
        )
    return Bound(ComparisonResult(match[1]), float(match[2] or 0) / 100)


def compare_pairings(matched: Pairing) -> list[ComparisonRow]:
    """Return a verdict for each device and configuration.

    A configuration with enough runs on several devices also gets a verdict over all of these.
    """
    by_configuration: dict[tuple[str, str], list[PairedSamples]] = defaultdict(list)
    for found in matched.found:
        by_configuration[found.configuration, found.metric.name].append(found)
    verdicts = []
    for group in by_configuration.values():
        verdicts += [_of_device(found) for found in group]
        fleet = [found for found in group if found.side.enough]
        if len(fleet) > 1:
            verdicts.append(_of_fleet(fleet))
    return verdicts


def _of_device(found: PairedSamples) -> ComparisonRow:
    side = found.side
    effect = statistics.effect([side])
    both = bool(side.a and side.b)
    return ComparisonRow(
        device=found.device,
        configuration=found.configuration,
        metric=found.metric.name,
        answer=_answer(effect),
        ratio=statistics.point([side]) if both else None,
        effect=effect,
        runs_a=len(found.a),
        runs_b=len(found.b),
        a=_typical(found.a),
        b=_typical(found.b),
        paired=found.paired,
        why=_why(found),
        accuracy_a=found.accuracy_a,
        accuracy_b=found.accuracy_b,
        accuracy_metric=found.accuracy_metric,
        left_out=found.left_out,
        doubtful=found.doubtful,
    )


def _of_fleet(group: Sequence[PairedSamples]) -> ComparisonRow:
    sides = [found.side for found in group]
    effect = statistics.effect(sides)
    return ComparisonRow(
        device="",
        configuration=group[0].configuration,
        metric=group[0].metric.name,
        answer=_answer(effect),
        ratio=statistics.point(sides),
        effect=effect,
        runs_a=sum(len(side.a) for side in sides),
        runs_b=sum(len(side.b) for side in sides),
        paired=all(side.paired for side in sides),
        devices=len(group),
    )


def _answer(effect: Effect | None) -> ComparisonResult:
    if effect is None or not (effect.slower or effect.faster):
        return ComparisonResult.CANNOT_TELL
    return ComparisonResult.SLOWER if effect.slower else ComparisonResult.FASTER


def _typical(values: Sequence[float]) -> float | None:
    """Return the geometric mean, because ratios of geometric means are the effects."""
    return statistics.geometric_mean(values) if values else None


def _why(found: PairedSamples) -> str:
    if found.side.enough:
        return ""
    if not (found.a and found.b):
        return f"no valid run of {'A' if not found.a else 'B'}"
    least = statistics.LEAST_RUNS
    return f"needs {least} runs of each: --repeat {least}"
