"""The content of the report, ready for its template. Pure.

Texts are plain: the template escapes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fleetmark_controller.evaluation.metrics.names import LOWER_IS_BETTER, is_share
from fleetmark_controller.export.repetitions import MIXED
from fleetmark_core.plural import counted

UNITS = {
    "early_stopping_latency_p90_ms": ("ms", "90th percentile latency"),
    "early_stopping_query_latency_p99_ms": ("ms", "99th percentile latency of a query"),
    "samples_per_s": ("samples/s", "throughput"),
    "completed_samples_per_s": ("samples/s", "completed throughput"),
}
"""Unit and meaning of each official metric."""


@dataclass
class ReportConfiguration:
    """A configuration on a device, ready for display. Texts are plain: the template escapes them.

    Figures are medians over `repetitions`; `low` and `high` bound the official figures.
    """

    number: int
    device: str
    benchmark: str
    model: str
    precision: str
    runtime: str
    scenario: str
    profile: str
    detail: str
    metric_name: str
    metric_value: float | None
    accuracy: float | None
    accuracy_metric: str
    """With another metric than top-K, `accuracy` is not a share of right answers."""
    latency_ms: dict[str, float | None]
    validity: str
    condition: str
    reasons: list[str]
    codes: list[str]
    submittable: bool
    run_id: str | None
    duration_s: float | None
    query_count: int | None
    repetitions: int = 1
    valid: int = 0
    peak_memory_bytes: float | None = None
    low: float | None = None
    high: float | None = None
    bar_percent: float = 0.0
    low_percent: float = 0.0
    high_percent: float = 0.0
    best: bool = False

    @property
    def accuracy_unit(self) -> str:
        """The unit of the accuracy: %, or the metric, and if lower is better."""
        if is_share(self.accuracy_metric):
            return "%"
        lower = self.accuracy_metric in LOWER_IS_BETTER
        return f"{self.accuracy_metric}{' (lower is better)' if lower else ''}"

    @property
    def anchor(self) -> str:
        """The id of its figure on the page."""
        return f"c{self.number}"

    @property
    def title(self) -> str:
        """The title: model, precision and runtime."""
        return " · ".join(part for part in (self.model, self.precision, self.runtime) if part)

    @property
    def unit(self) -> str:
        """The unit of the official metric."""
        return UNITS.get(self.metric_name, ("", ""))[0]

    @property
    def validity_text(self) -> str:
        """LoadGen's verdict, with counts if its repetitions differ in it."""
        if self.validity == MIXED:
            return f"{self.valid} of {self.repetitions} VALID"
        return self.validity

    @property
    def has_spread(self) -> bool:
        """Return whether the repetitions have different figures."""
        return self.low is not None and self.low != self.high

    @property
    def has_latency(self) -> bool:
        """Return whether latencies are those of inferences: in Offline they are waiting times."""
        return self.scenario != "Offline"


@dataclass
class ReportComparison:
    """Configurations of one benchmark and scenario, best first."""

    benchmark: str
    scenario: str
    metric: str
    unit: str
    lower_is_better: bool
    bars: list[ReportConfiguration]
    left_out: int = 0


@dataclass
class ReportDevice:
    """A device: its facts and the configurations that ran on it."""

    name: str
    facts: list[tuple[str, str]]
    configurations: list[ReportConfiguration]


@dataclass
class FailedJob:
    """A job that failed."""

    job: str
    device: str
    configuration: str
    reason: str
    finished: str


@dataclass
class Report:
    """The whole content of the page except the plots."""

    configurations: list[ReportConfiguration]
    left_out: int
    devices: list[ReportDevice]
    comparisons: list[ReportComparison]
    runs: int
    invalid: int
    estimates: int
    suspicious: int
    unchecked: int
    failed: int
    failed_jobs: list[FailedJob]
    health_checks: int
    quick: bool
    started: str
    ended: str
    campaigns: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """The most severe problem of the measurements, in two words."""
        for count, word in (
            (self.invalid, "invalid"),
            (self.failed, "failed"),
            (self.estimates, "estimated"),
            (self.suspicious, "suspicious"),
            (self.unchecked, "unchecked"),
        ):
            if count:
                return f"{count:,} {word}"
        return "all sound"

    @property
    def concerns(self) -> list[str]:
        """All problems of the measurements."""
        found = (
            (self.invalid, "run is INVALID", "runs are INVALID"),
            (self.failed, "job failed", "jobs failed"),
            (self.estimates, "run is an estimate", "runs are estimates"),
            (self.suspicious, "run is suspicious", "runs are suspicious"),
            (self.unchecked, "run was not watched", "runs were not watched"),
        )
        return [counted(count, one, many) for count, one, many in found if count]

    @property
    def benchmarks(self) -> list[str]:
        """The names of all benchmarks."""
        return sorted({c.benchmark for c in self.configurations})

    @property
    def accuracies(self) -> list[float]:
        """All known accuracies that are shares, lowest first."""
        return sorted(
            c.accuracy
            for c in self.configurations
            if c.accuracy is not None and is_share(c.accuracy_metric)
        )
