"""Computation of the report's content from rows of views `runs` and `results`. Pure."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fleetmark_controller.export.repetitions import (
    ESTIMATE,
    Repetitions,
    grouped,
    row_validity,
    several_campaigns,
)
from fleetmark_controller.export.report_model import (
    UNITS,
    FailedJob,
    Report,
    ReportComparison,
    ReportConfiguration,
    ReportDevice,
)
from fleetmark_core.ids import SHORT_ID

Row = Mapping[str, Any]

MAX_PLOTS = 200
"""Maximum number of configurations with plots; it limits the page to about 10 MB."""
MAX_ROWS = 1000
"""Maximum number of configurations that are listed."""
MAX_BARS = 24
"""Maximum number of bars in one comparison."""
MAX_FAILED = 100
"""Maximum number of failed jobs that are listed."""
HEALTH_CHECK = "health check"
"""Submitter name of the controller's own campaigns; the report leaves them out."""

LOWER_IS_BETTER = ("SingleStream", "MultiStream")
_SCENARIOS = ("SingleStream", "MultiStream", "Server", "Offline")


def build(
    runs: Iterable[Row],
    results: Iterable[Row],
    jobs: Iterable[Row] = (),
    campaigns: Iterable[Row] = (),
) -> Report:
    """Return the report's content. Rows are read once.

    Args:
        runs: rows of view `runs`.
        results: rows of view `results`.
        jobs: rows of view `jobs`: those that failed are listed.
        campaigns: rows of view `campaigns`: those of health checks are left out.
    """
    checks = {
        row.get("campaign_id") for row in campaigns if row.get("submitted_by") == HEALTH_CHECK
    }

    def without_checks(rows: Iterable[Row]) -> list[Row]:
        return [row for row in rows if row.get("campaign_id") not in checks]

    every_run = list(runs)
    all_runs = without_checks(every_run)
    by_id = {str(row.get("run_id")): row for row in all_runs}
    groups = grouped(without_checks(results))
    varying = _varying([group.first for group in groups])
    with_campaign = several_campaigns(groups)
    configurations = [
        _configuration(number, group, by_id, varying, with_campaign)
        for number, group in enumerate(groups[:MAX_ROWS])
    ]
    configurations.sort(key=_order)
    failed = [
        row
        for row in without_checks(jobs)
        if row.get("state") == "FAILED" and not row["retried_as"]
    ]
    times = sorted(str(row["started_at"]) for row in all_runs if row.get("started_at"))
    return Report(
        configurations=configurations,
        left_out=len(groups) - len(configurations),
        comparisons=list(_comparisons(configurations)),
        devices=list(_devices(configurations, all_runs)),
        runs=len(all_runs),
        invalid=sum(row_validity(row) == "INVALID" for row in all_runs),
        estimates=sum(row_validity(row) == ESTIMATE for row in all_runs),
        suspicious=sum(row.get("condition") == "suspicious" for row in all_runs),
        unchecked=sum(row.get("condition") == "unchecked" for row in all_runs),
        failed=len(failed),
        failed_jobs=[_failed(row) for row in failed[:MAX_FAILED]],
        health_checks=len(every_run) - len(all_runs),
        quick=any(c.profile == "quick" for c in configurations),
        started=times[0] if times else "",
        ended=times[-1] if times else "",
        campaigns=sorted({str(r["campaign_id"]) for r in all_runs if r.get("campaign_id")}),
    )


def _order(configuration: ReportConfiguration) -> tuple[Any, ...]:
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


def _failed(row: Row) -> FailedJob:
    return FailedJob(
        job=_text(row.get("job_id")),
        device=_text(row.get("device")) or "any device",
        configuration=_text(row.get("configuration")),
        reason=_text(row.get("reason")),
        finished=_text(row.get("finished_at")),
    )


def _configuration(
    number: int,
    group: Repetitions,
    runs: Mapping[str, Row],
    varying: set[str],
    with_campaign: bool,
) -> ReportConfiguration:
    row = group.median_row()
    parameters = _json(row.get("parameters"))
    detail = []
    if isinstance(parameters, dict):
        detail = [f"{name}={parameters[name]}" for name in sorted(varying & set(parameters))]
    if with_campaign:
        detail.append(f"campaign {_text(row.get('campaign_id'))[-SHORT_ID:]}")
    runtime = " ".join(_text(row.get(k)) for k in ("runtime", "runtime_version") if row.get(k))
    reasons = [
        reason
        for repetition in group.rows
        if isinstance(found := _json(repetition.get("condition_reasons")), list)
        for reason in found
    ]
    figures = group.values("metric_value")
    run_id = _text(row.get("performance_run_id")) or None
    run = runs.get(run_id or "", {})
    return ReportConfiguration(
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
        metric_value=group.median("metric_value"),
        accuracy=group.accuracy,
        accuracy_metric=_text(row.get("accuracy_metric")),
        latency_ms={
            name: group.median(f"latency_{name}_ms")
            for name in ("mean", "p50", "p90", "p95", "p99", "p999")
        },
        validity=group.validity,
        condition=group.condition,
        reasons=_unique(_text(r.get("text")) if isinstance(r, dict) else _text(r) for r in reasons),
        codes=[
            _text(r.get("code")).replace("_", " ") if isinstance(r, dict) else _text(r)
            for r in reasons
        ],
        submittable=all(bool(repetition.get("submittable")) for repetition in group.rows),
        run_id=run_id,
        duration_s=_real(run.get("duration_s")),
        query_count=run.get("query_count"),
        repetitions=len(group.measured),
        valid=group.valid,
        peak_memory_bytes=group.median("peak_memory_bytes"),
        low=min(figures, default=None),
        high=max(figures, default=None),
    )


def _unique(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _comparisons(configurations: list[ReportConfiguration]) -> Iterator[ReportComparison]:
    groups: dict[tuple[str, str, str], list[ReportConfiguration]] = defaultdict(list)
    for found in configurations:
        if found.metric_value is not None:
            groups[found.benchmark, found.scenario, found.metric_name].append(found)
    for (benchmark, scenario, name), members in groups.items():
        largest = max(c.high or 0 for c in members)
        for member in members if largest > 0 else ():
            member.bar_percent = 100 * (member.metric_value or 0) / largest
            member.low_percent = 100 * (member.low or 0) / largest
            member.high_percent = 100 * (member.high or 0) / largest
        valid = [member for member in members if member.validity == "VALID"]
        if valid:
            valid[0].best = True
        unit, metric = UNITS.get(name, ("", name))
        yield ReportComparison(
            benchmark,
            scenario,
            metric,
            unit,
            scenario in LOWER_IS_BETTER,
            members[:MAX_BARS],
            max(0, len(members) - MAX_BARS),
        )


def _devices(configurations: list[ReportConfiguration], runs: list[Row]) -> Iterator[ReportDevice]:
    of_device: dict[str, list[Row]] = defaultdict(list)
    for row in runs:
        of_device[_text(row.get("device"))].append(row)
    names = sorted({c.device for c in configurations} | set(of_device))
    for name in names:
        rows = of_device[name]
        facts = [
            (title, value)
            for title, key in (
                ("Board model", "board"),
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
        yield ReportDevice(name, facts, [c for c in configurations if c.device == name])
