"""Match the runs of sides A and B: the same configuration on the same device."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from fleetmark_controller.compare.side import ComparisonSide, Row, fact, parameters
from fleetmark_controller.compare.statistics import LEAST_PAIRS, Side

_IDENTITY = ("benchmark", "model", "precision", "runtime", "scenario", "profile")
"""Properties that must agree. Not the versions: operators want to compare newer runtimes."""
_DEVICE_FIELDS = ("arch", "os", "board")

_RATES = ("samples_per_s", "completed_samples_per_s", "throughput_samples_per_s")


@dataclass(frozen=True)
class Metric:
    """The compared figure. Rates are compared as the time per sample."""

    name: str

    @property
    def is_rate(self) -> bool:
        """Return whether a higher value is faster."""
        return self.name in _RATES

    def time(self, value: float) -> float:
        """Return the value as a time: longer is slower."""
        return 1.0 / value if self.is_rate else value


@dataclass(frozen=True)
class PairedSamples:
    """The values of one configuration on one device, for both sides.

    `left_out` counts runs that are no evidence: LoadGen's verdict is not VALID, or the metric or
    start time is missing. `doubtful` counts runs in suspicious condition, which are included.
    """

    device: str
    configuration: str
    metric: Metric
    a: tuple[float, ...]
    b: tuple[float, ...]
    paired: bool
    accuracy_a: float | None = None
    accuracy_b: float | None = None
    accuracy_metric: str = ""
    """Empty if it is unknown, or differs between runs; then both accuracies are unknown, too."""
    left_out: int = 0
    doubtful: int = 0

    @property
    def side(self) -> Side:
        """The values as times."""
        of = self.metric.time
        return Side(tuple(of(v) for v in self.a), tuple(of(v) for v in self.b), self.paired)


@dataclass(frozen=True)
class Pairing:
    """All configurations on both sides, and descriptions of those on one side only."""

    found: tuple[PairedSamples, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]


def match(
    chosen_a: ComparisonSide,
    a: Sequence[Row],
    chosen_b: ComparisonSide,
    b: Sequence[Row],
    metric: str = "",
) -> Pairing:
    """Match the results of both sides.

    Properties by which the sides were narrowed differently differ on purpose, so they need not
    agree. Neither need the model, its precision and the data set of benchmarks that differ on
    purpose. An empty `metric` means LoadGen's official one.
    """
    free = {
        name
        for name in {*chosen_a.must, *chosen_b.must}
        if chosen_a.must.get(name) != chosen_b.must.get(name)
    }
    if free & {"device", *_DEVICE_FIELDS}:
        free |= {"device"}
    if "benchmark" in free:
        free |= _of_benchmark(a, b)
    same_campaign = {row["campaign_id"] for row in a} == {row["campaign_id"] for row in b}
    groups_a, groups_b = _grouped(a, free), _grouped(b, free)
    found = [
        _found(key, groups_a[key], groups_b[key], metric, same_campaign and "device" not in free)
        for key in groups_a
        if key in groups_b
    ]
    return Pairing(
        tuple(sorted(found, key=lambda item: (item.configuration, item.device))),
        tuple(sorted(_words(key) for key in groups_a if key not in groups_b)),
        tuple(sorted(_words(key) for key in groups_b if key not in groups_a)),
    )


Key = tuple[str, str]


def _of_benchmark(a: Sequence[Row], b: Sequence[Row]) -> set[str]:
    """Return the properties that differ with the benchmark: each side has one value of them."""
    return {
        name
        for name in ("model", "precision", "dataset")
        if len({fact(row, name) for row in a}) == len({fact(row, name) for row in b}) == 1
    }


def _grouped(rows: Sequence[Row], free: set[str]) -> Mapping[Key, list[Row]]:
    groups: dict[Key, list[Row]] = defaultdict(list)
    for row in rows:
        words = [fact(row, name) for name in _IDENTITY if name not in free]
        given = sorted(parameters(row).items())
        words += [f"{name}={value}" for name, value in given if name not in free]
        device = "" if "device" in free else str(row["device"])
        groups[device, " ".join(word for word in words if word)].append(row)
    return groups


def _words(key: Key) -> str:
    return f"{key[0]}: {key[1]}" if key[0] else key[1]


def _found(key: Key, a: list[Row], b: list[Row], metric: str, may_pair: bool) -> PairedSamples:
    names = [str(row["metric_name"]) for row in (*a, *b) if row["metric_name"]]
    wanted = Metric(metric or (names[0] if names else ""))
    column = metric or "metric_value"
    good_a, good_b = _evidence(a, column), _evidence(b, column)
    counted = (*good_a, *good_b)
    metrics = {str(row.get("accuracy_metric") or "") for row in (*a, *b)} - {""}
    # Figures of different metrics cannot be compared.
    is_mixed = len(metrics) > 1
    return PairedSamples(
        device=key[0],
        configuration=key[1],
        metric=wanted,
        a=tuple(float(row[column]) for row in good_a),
        b=tuple(float(row[column]) for row in good_b),
        paired=may_pair and _alternate(good_a, good_b),
        accuracy_a=None if is_mixed else _accuracy(a),
        accuracy_b=None if is_mixed else _accuracy(b),
        accuracy_metric="" if is_mixed else "".join(metrics),
        left_out=len(a) + len(b) - len(counted),
        doubtful=sum(row["condition"] == "suspicious" for row in counted),
    )


def _evidence(rows: Sequence[Row], column: str) -> list[Row]:
    good = [
        row
        for row in rows
        if row["loadgen_validity"] == "VALID"
        and not row["estimate_reason"]
        and _positive(row[column])
        and row["started_at"]
    ]
    return sorted(good, key=lambda row: str(row["started_at"]))


def _positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and value > 0


def _accuracy(rows: Sequence[Row]) -> float | None:
    measured = [float(row["accuracy"]) for row in rows if row["accuracy"] is not None]
    return sum(measured) / len(measured) if measured else None


def _alternate(a: Sequence[Row], b: Sequence[Row]) -> bool:
    """Return whether enough runs of A and B alternated, so that the n-th runs form a pair."""
    if len(a) != len(b) or len(a) < LEAST_PAIRS:
        return False
    begins = [(str(row["started_at"]), side) for side, rows in (("a", a), ("b", b)) for row in rows]
    order = sorted(begins)
    return all(first[1] != second[1] for first, second in pairwise(order))
