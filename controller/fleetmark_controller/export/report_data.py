"""Compute the report's content from rows of views `runs` and `results`. Pure."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Row = Mapping[str, Any]

MAX_PLOTS = 200
"""Maximum number of configurations with plots; it limits the page to about 10 MB."""
MAX_ROWS = 1000
"""Maximum number of configurations that are listed."""
MAX_BARS = 24
"""Maximum number of bars in one comparison."""

LOWER_IS_BETTER = ("SingleStream", "MultiStream")
_SCENARIOS = ("SingleStream", "MultiStream", "Server", "Offline")
_UNITS = {
    "early_stopping_latency_p90_ms": ("ms", "90th percentile latency"),
    "early_stopping_query_latency_p99_ms": ("ms", "99th percentile latency of a query"),
    "samples_per_s": ("samples/s", "throughput"),
    "completed_samples_per_s": ("samples/s", "completed throughput"),
}


@dataclass
class Configuration:
    """One row of `results`, ready to be shown. Texts are plain: the template escapes them."""

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
    latency_ms: dict[str, float | None]
    validity: str
    condition: str
    reasons: list[str]
    codes: list[str]
    submittable: bool
    run_id: str | None
    duration_s: float | None
    query_count: int | None
    bar_percent: float = 0.0
    best: bool = False

    @property
    def anchor(self) -> str:
        """The id of its figure on the page."""
        return f"c{self.number}"

    @property
    def title(self) -> str:
        """Return the model, precision and runtime."""
        return " · ".join(part for part in (self.model, self.precision, self.runtime) if part)

    @property
    def unit(self) -> str:
        """Return the unit of the official metric."""
        return _UNITS.get(self.metric_name, ("", ""))[0]

    @property
    def has_latency(self) -> bool:
        """Return whether its latencies are of inferences; in Offline they are waiting times."""
        return self.scenario != "Offline"


@dataclass
class Comparison:
    """Configurations of one benchmark and scenario, best first."""

    benchmark: str
    scenario: str
    metric: str
    unit: str
    lower_is_better: bool
    bars: list[Configuration]
    left_out: int = 0


@dataclass
class Device:
    """A device, its facts, and the configurations that ran on it."""

    name: str
    facts: list[tuple[str, str]]
    configurations: list[Configuration]


@dataclass
class Report:
    """Everything on the page except the plots."""

    configurations: list[Configuration]
    left_out: int
    devices: list[Device]
    comparisons: list[Comparison]
    runs: int
    invalid: int
    suspicious: int
    quick: bool
    started: str
    ended: str
    campaigns: list[str] = field(default_factory=list)

    @property
    def benchmarks(self) -> list[str]:
        """Return the names of all benchmarks."""
        return sorted({c.benchmark for c in self.configurations})

    @property
    def accuracies(self) -> list[float]:
        """Return all known accuracies, lowest first."""
        return sorted(c.accuracy for c in self.configurations if c.accuracy is not None)


def build(runs: Iterable[Row], results: Iterable[Row]) -> Report:
    """Return the report's content; each row is read once."""
    all_runs = list(runs)
    by_id = {str(row.get("run_id")): row for row in all_runs}
    rows = list(results)
    varying = _varying(rows)
    configurations = [
        _configuration(number, row, by_id, varying) for number, row in enumerate(rows[:MAX_ROWS])
    ]
    configurations.sort(key=_order)
    times = sorted(str(row["started_at"]) for row in all_runs if row.get("started_at"))
    return Report(
        configurations=configurations,
        left_out=len(rows) - len(configurations),
        comparisons=list(_comparisons(configurations)),
        devices=list(_devices(configurations, all_runs)),
        runs=len(all_runs),
        invalid=sum(row.get("loadgen_validity") == "INVALID" for row in all_runs),
        suspicious=sum(row.get("condition") == "suspicious" for row in all_runs),
        quick=any(c.profile == "quick" for c in configurations),
        started=times[0] if times else "",
        ended=times[-1] if times else "",
        campaigns=sorted({str(r["campaign_id"]) for r in all_runs if r.get("campaign_id")}),
    )


def _order(configuration: Configuration) -> tuple[Any, ...]:
    scenario = configuration.scenario
    place = _SCENARIOS.index(scenario) if scenario in _SCENARIOS else len(_SCENARIOS)
    value = configuration.metric_value
    if value is None:
        value = float("inf")
    elif scenario not in LOWER_IS_BETTER:
        value = -value
    return (configuration.benchmark, place, value, configuration.number)


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _real(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _json(value: object) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return None


def _varying(rows: list[Row]) -> set[str]:
    """Return the parameters whose values differ: only these distinguish configurations."""
    seen: dict[str, set[str]] = defaultdict(set)
    tables = [found for row in rows if isinstance(found := _json(row.get("parameters")), dict)]
    for table in tables:
        for name, value in table.items():
            seen[name].add(json.dumps(value, sort_keys=True))
    return {
        name
        for name, values in seen.items()
        if len(values) > 1 or any(name not in table for table in tables)
    }


def _configuration(
    number: int, row: Row, runs: Mapping[str, Row], varying: set[str]
) -> Configuration:
    parameters = _json(row.get("parameters"))
    detail = []
    if isinstance(parameters, dict):
        detail = [f"{name}={parameters[name]}" for name in sorted(varying & set(parameters))]
    if isinstance(row.get("repetition"), int) and row["repetition"] > 1:
        detail.append(f"repetition {row['repetition']}")
    runtime = " ".join(_text(row.get(k)) for k in ("runtime", "runtime_version") if row.get(k))
    reasons = _json(row.get("condition_reasons"))
    reasons = reasons if isinstance(reasons, list) else []
    run_id = _text(row.get("performance_run_id")) or None
    run = runs.get(run_id or "", {})
    return Configuration(
        number=number,
        device=_text(row.get("device")),
        benchmark=_text(row.get("benchmark")),
        model=_text(row.get("model")) or _text(row.get("benchmark")),
        precision=_text(row.get("precision")),
        runtime=runtime,
        scenario=_text(row.get("scenario")),
        profile=_text(row.get("profile")),
        detail=", ".join(detail),
        metric_name=_text(row.get("metric_name")),
        metric_value=_real(row.get("metric_value")),
        accuracy=_real(row.get("accuracy")),
        accuracy_metric=_text(row.get("accuracy_metric")),
        latency_ms={
            name: _real(row.get(f"latency_{name}_ms"))
            for name in ("mean", "p50", "p90", "p95", "p99", "p999")
        },
        validity=_text(row.get("loadgen_validity")),
        condition=_text(row.get("condition")),
        reasons=[_text(r.get("text")) if isinstance(r, dict) else _text(r) for r in reasons],
        codes=[
            _text(r.get("code")).replace("_", " ") if isinstance(r, dict) else _text(r)
            for r in reasons
        ],
        submittable=bool(row.get("submittable")),
        run_id=run_id,
        duration_s=_real(run.get("duration_s")),
        query_count=run.get("query_count"),
    )


def _comparisons(configurations: list[Configuration]) -> Iterator[Comparison]:
    groups: dict[tuple[str, str, str], list[Configuration]] = defaultdict(list)
    for found in configurations:
        if found.metric_value is not None:
            groups[found.benchmark, found.scenario, found.metric_name].append(found)
    for (benchmark, scenario, name), members in groups.items():
        largest = max(c.metric_value or 0 for c in members)
        for member in members:
            member.bar_percent = 100 * (member.metric_value or 0) / largest if largest else 0
        valid = [member for member in members if member.validity == "VALID"]
        if valid:
            valid[0].best = True
        unit, metric = _UNITS.get(name, ("", name))
        yield Comparison(
            benchmark,
            scenario,
            metric,
            unit,
            scenario in LOWER_IS_BETTER,
            members[:MAX_BARS],
            max(0, len(members) - MAX_BARS),
        )


def _devices(configurations: list[Configuration], runs: list[Row]) -> Iterator[Device]:
    of_device: dict[str, list[Row]] = defaultdict(list)
    for row in runs:
        of_device[_text(row.get("device"))].append(row)
    names = sorted({c.device for c in configurations} | set(of_device))
    for name in names:
        rows = of_device[name]
        facts = [
            (title, value)
            for title, key in (
                ("Board", "board"),
                ("Processor", "arch"),
                ("System", "os"),
                ("LoadGen", "loadgen_version"),
                ("Agent", "agent_version"),
            )
            if (value := ", ".join(sorted({_text(r.get(key)) for r in rows} - {""})))
        ]
        hottest = [t for r in rows if (t := _real(r.get("temperature_max_c"))) is not None]
        facts.append(
            ("Highest temperature", f"{max(hottest):.0f} °C" if hottest else "unavailable")
        )
        yield Device(name, facts, [c for c in configurations if c.device == name])
