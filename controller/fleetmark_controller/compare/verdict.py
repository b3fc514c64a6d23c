"""The answer: faster, slower, or cannot tell, for each board and over all of them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from fleetmark_controller.compare import statistics
from fleetmark_controller.compare.pairing import Found, Matched
from fleetmark_controller.compare.statistics import Effect
from fleetmark_core.errors import ErrorKind, FleetmarkError


class Answer(Enum):
    """What may be said of B against A."""

    FASTER = "faster"
    SLOWER = "slower"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class Verdict:
    """One row of the answer; of a fleet, `device` is empty and `boards` counts them.

    `ratio` is B's time over A's, `effect` has its interval; both None where runs are too few or
    none are valid, which `why` says.
    """

    device: str
    configuration: str
    metric: str
    answer: Answer
    ratio: float | None
    effect: Effect | None
    runs_a: int
    runs_b: int
    a: float | None = None
    b: float | None = None
    paired: bool = False
    boards: int = 1
    why: str = ""
    accuracy_a: float | None = None
    accuracy_b: float | None = None
    left_out: int = 0
    doubtful: int = 0

    @property
    def change(self) -> float | None:
        """How much longer B takes, as a share: 0.03 is 3 % slower, -0.03 takes 3 % less time."""
        return None if self.ratio is None else self.ratio - 1.0


@dataclass(frozen=True)
class Bound:
    """What is not accepted: an answer, and from which change on (a share, above or equal 0)."""

    answer: Answer
    share: float

    def broken_by(self, verdict: Verdict) -> bool:
        """Whether a verdict is of that answer, and its change as large.

        The interval proves the direction, the estimate has the size: a tiny slowdown that is
        beyond doubt is accepted, and a large one that may be chance is no failure either.
        """
        change = verdict.change
        return verdict.answer is self.answer and change is not None and abs(change) >= self.share


_BOUND = re.compile(r"(faster|slower)(?:=([0-9]+(?:\.[0-9]+)?)%)?")


def parse_bound(text: str) -> Bound:
    """`slower=3%`, `slower`, `faster=10%`.

    Raises:
        FleetmarkError: USAGE: it is none.
    """
    match = _BOUND.fullmatch(text.replace(" ", ""))
    if match is None:
        raise FleetmarkError(
            ErrorKind.USAGE, f"{text!r} is no bound", "--fail-if", "Like slower=3%, or slower"
        )
    return Bound(Answer(match[1]), float(match[2] or 0) / 100)


def judge(matched: Matched) -> list[Verdict]:
    """A verdict on each board and configuration; after those of several boards, one on them all."""
    by_configuration: dict[tuple[str, str], list[Found]] = defaultdict(list)
    for found in matched.found:
        by_configuration[found.configuration, found.metric.name].append(found)
    verdicts = []
    for group in by_configuration.values():
        verdicts += [_of_board(found) for found in group]
        fleet = [found for found in group if found.side.enough]
        if len(fleet) > 1:
            verdicts.append(_of_fleet(fleet))
    return verdicts


def _of_board(found: Found) -> Verdict:
    side = found.side
    effect = statistics.effect([side])
    both = bool(side.a and side.b)
    return Verdict(
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
        left_out=found.left_out,
        doubtful=found.doubtful,
    )


def _of_fleet(group: Sequence[Found]) -> Verdict:
    sides = [found.side for found in group]
    effect = statistics.effect(sides)
    return Verdict(
        device="",
        configuration=group[0].configuration,
        metric=group[0].metric.name,
        answer=_answer(effect),
        ratio=statistics.point(sides),
        effect=effect,
        runs_a=sum(len(side.a) for side in sides),
        runs_b=sum(len(side.b) for side in sides),
        paired=all(side.paired for side in sides),
        boards=len(group),
    )


def _answer(effect: Effect | None) -> Answer:
    if effect is None or not (effect.slower or effect.faster):
        return Answer.CANNOT_TELL
    return Answer.SLOWER if effect.slower else Answer.FASTER


def _typical(values: Sequence[float]) -> float | None:
    """The geometric mean: its ratios are the effects."""
    return statistics.geometric_mean(values) if values else None


def _why(found: Found) -> str:
    if found.side.enough:
        return ""
    if not (found.a and found.b):
        return f"no valid run of {'A' if not found.a else 'B'}"
    least = statistics.LEAST_RUNS
    return f"needs {least} runs of each: --repeat {least}"
