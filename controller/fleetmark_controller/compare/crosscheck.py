"""Explanation of a run's figure by the parts that a cross-check measured. Pure.

A part is the difference of two measured levels, such as the bare loop with and without the answer.
A level is the median over the rounds. The interval of a part is that of the median of the rounds'
differences, from the sign test (order statistics; no assumption about the distribution). If it
includes 0, the noise is larger than the part, and nothing can be said about it.

In Server the figure is the 99th percentile of the latency, which LoadGen compares with the limit:
the official figure, queries per second, is decided by the arrival of queries. Percentiles do not
add up over the queries, so a part is the difference of one percentile of two durations.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleetmark_core.errors import ErrorKind, FleetmarkError

LEVEL, PART = "level", "part"
CANNOT_TELL = "cannot tell"
CONFIDENCE = 0.95
FEWEST_ROUNDS = 6
"""Fewer rounds have no interval: all differences of 5 rounds have one sign in 1 of 16 cases."""
_SERVER = "Server"
_PERCENTILES = {"SingleStream": "p90", "MultiStream": "p99", _SERVER: "p99"}
_SHOWN_PERCENTILES = ("p50", "p90", "p95", "p99")
_BUSY = 0.8
"""From this share on, a queue needs longer than a block to reach its usual length."""
_RATE_SLACK = 0.03


@dataclass(frozen=True)
class Row:
    """One line of the explanation. Times are microseconds, shares are of the official figure.

    `kind` is LEVEL for a measured latency, PART for the difference between the levels around it.
    `low_us` and `high_us` are None if the figure is exact or there are too few rounds. `answer` is
    CANNOT_TELL, or empty.
    """

    name: str
    kind: str
    us: float
    share: float
    low_us: float | None = None
    high_us: float | None = None
    answer: str = ""


@dataclass(frozen=True)
class Explanation:
    """All lines, from the innermost level to the official figure, with notes for operators."""

    unit: str
    figure_us: float
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


def median_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % interval of the median of `values` by the sign test.

    Returns:
        None for fewer than `FEWEST_ROUNDS` values.
    """
    ordered, count = sorted(values), len(values)
    tail, rank = 0.0, 0
    # The largest rank whose value and all below it are on one side in at most 5 % of the cases.
    while rank < count:
        tail += 2 * math.comb(count, rank) / 2**count
        if tail > 1 - CONFIDENCE:
            break
        rank += 1
    return (ordered[rank - 1], ordered[count - rank]) if rank else None


def explain(check: Mapping[str, Any], run: Mapping[str, Any]) -> Explanation:
    """Return the parts of the official figure of `run`, in Server of its 99th percentile.

    Args:
        check: the stored cross-check (`evaluation.crosscheck`).
        run: the run's row of the view `runs`.

    Raises:
        FleetmarkError: NOT_ALLOWED: the run has no figure, or is of another scenario.
    """
    scenario, rounds = str(check["scenario"]), list(check["rounds"])
    if run.get("scenario") != scenario:
        raise FleetmarkError(
            ErrorKind.NOT_ALLOWED,
            f"the cross-check is of {scenario}, and the run of {run.get('scenario')}",
        )
    offline = scenario == "Offline"
    own_us, figure_us = _figures(run, scenario)
    series = {name: [one[name] / 1e3 for one in rounds] for name in rounds[0]}
    builder = _Rows(figure_us)
    loop = "loop_mean_ns" if offline else "loop_p50_ns"
    native = check.get("native")
    loop_name = "mean" if offline else "p50"
    if native is not None:
        statistic = str(native["statistic"])
        like = f"loop_{statistic}_ns"
        builder.level(f"{native['tool']} ({statistic})", series["native_ns"])
        builder.part("Python interface, other build", series["native_ns"], series[like])
        if like != loop:
            builder.part(f"{loop_name} instead of {statistic}", series[like], series[loop])
    builder.level(f"bare loop ({loop_name})", series[loop])
    builder.part("answer", series[loop], series["answer_ns"])
    now = series["loadgen_ns" if offline else "official_ns"]
    if scenario == _SERVER:
        _add_queue(builder, series)
    else:
        builder.part("harness", series["answer_ns"], series["harness_ns"])
        builder.part("LoadGen", series["harness_ns"], series["loadgen_ns"])
        if not offline:
            builder.part(f"{_PERCENTILES[scenario]} instead of p50", series["loadgen_ns"], now)
    builder.level("this cross-check", now)
    builder.run(now, own_us, run.get("interval_percent"))
    if figure_us != own_us:
        builder.exact("early stopping of LoadGen", figure_us - own_us)
    given = run.get("metric_value") or offline
    name = "official figure" if given else "figure, without early stopping"
    builder.figure("p99 of the run" if scenario == _SERVER else name, figure_us)
    notes = _notes(check, run, series[loop])
    if scenario == _SERVER:
        notes = [*_server_notes(check, run, series), *notes]
    return Explanation(
        "µs per sample" if offline else "µs per query",
        figure_us,
        tuple(builder.rows),
        tuple(notes),
    )


def _add_queue(builder: _Rows, series: Mapping[str, Sequence[float]]) -> None:
    """Add the parts of Server, from the answer of a bare loop to LoadGen's 99th percentile.

    They end at LoadGen's own figure: from scheduled arrival to completion. What the queue adds is
    the difference of the 99th percentiles with and without it, over the same queries.
    """
    builder.part("harness", series["answer_ns"], series["service_p50_ns"])
    builder.part("p99 instead of p50", series["service_p50_ns"], series["service_p99_ns"])
    builder.part("queue", series["service_p99_ns"], series["harness_p99_ns"])
    builder.part("LoadGen", series["harness_p99_ns"], series["official_ns"])


class _Rows:
    def __init__(self, figure_us: float) -> None:
        self.rows: list[Row] = []
        self._figure_us = figure_us

    def level(self, name: str, values: Sequence[float]) -> None:
        low, high = median_interval(values) or (None, None)
        us = statistics.median(values)
        self.rows.append(Row(name, LEVEL, us, us / self._figure_us, low, high))

    def part(self, name: str, inner: Sequence[float], outer: Sequence[float]) -> None:
        us = statistics.median(outer) - statistics.median(inner)
        found = median_interval([b - a for a, b in zip(inner, outer, strict=True)])
        self._part(name, us, found)

    def run(self, now: Sequence[float], own_us: float, interval_percent: object) -> None:
        """Add the difference between the run and the blocks of this cross-check."""
        us = own_us - statistics.median(now)
        found = median_interval(now)
        if found is not None:
            percent = interval_percent if isinstance(interval_percent, (int, float)) else 0.0
            slack_us = own_us * float(percent) / 100
            found = (own_us - slack_us - found[1], own_us + slack_us - found[0])
        self._part("the run instead of now", us, found)

    def exact(self, name: str, us: float) -> None:
        self.rows.append(Row(name, PART, us, us / self._figure_us))

    def figure(self, name: str, us: float) -> None:
        self.rows.append(Row(name, LEVEL, us, 1.0))

    def _part(self, name: str, us: float, interval: tuple[float, float] | None) -> None:
        share = us / self._figure_us
        if interval is None:
            self.rows.append(Row(name, PART, us, share, answer=CANNOT_TELL))
            return
        # The difference of two medians may lie beside the interval of the median difference.
        low, high = min(interval[0], us), max(interval[1], us)
        answer = CANNOT_TELL if low <= 0 <= high else ""
        self.rows.append(Row(name, PART, us, share, low, high, answer))


def _figures(run: Mapping[str, Any], scenario: str) -> tuple[float, float]:
    """Return the run's own percentile and its official figure, both in microseconds.

    They differ in SingleStream and MultiStream, where LoadGen estimates the percentile by early
    stopping. In Offline both are the time of a sample, in Server both are the percentile.

    Raises:
        FleetmarkError: NOT_ALLOWED: the run has no figure.
    """
    figure = _positive(run.get("metric_value"))
    if scenario == "Offline":
        per_sample = 1e6 / figure if figure else None
        own, official = per_sample, per_sample
    else:
        ms = _positive(run.get(f"latency_{_PERCENTILES[scenario]}_ms"))
        own = ms * 1e3 if ms else None
        if scenario == _SERVER:
            figure = None  # a rate
        # Without enough queries for an estimate, LoadGen has no official figure.
        official = figure * 1e3 if figure else own
    if own is None or official is None:
        raise FleetmarkError(ErrorKind.NOT_ALLOWED, "the run has no figure that could be explained")
    return own, official


def _positive(value: object) -> float | None:
    usable = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if usable and 0 < value < math.inf else None  # type: ignore[arg-type, operator]


def _server_notes(
    check: Mapping[str, Any], run: Mapping[str, Any], series: Mapping[str, Sequence[float]]
) -> list[str]:
    rate = float(check["target_qps"])
    service_us = statistics.median(series["service_mean_ns"])
    busy = rate * service_us / 1e6
    notes = [
        "The figure is the 99th percentile of the latency. The official figure of Server, the"
        " completed samples per second, follows the arrival of the queries",
        f"{rate:.6g} queries arrived per second and took {service_us:.2f} µs each on average,"
        f" without the queue: this load keeps the device busy for {100 * busy:.0f} % of the time",
    ]
    if busy >= _BUSY:
        notes.append(
            "At this load the queue grows for longer than a block lasts, so that the run waits"
            " longer than this cross-check"
        )
    completed, count = (_positive(run.get(name)) for name in ("metric_value", "query_count"))
    # Arrivals are a Poisson process: the rate of n queries varies by 1/√n.
    slack = _RATE_SLACK + 4 / math.sqrt(count or 1)
    if completed is not None and abs(completed / rate - 1) > slack:
        notes.append(
            f"The run completed {completed:.6g} queries per second, unlike the rate of arrival in"
            " this cross-check: its queue grew, or its rate was another one"
        )
    bare_us = statistics.median(series["loop_p50_ns"])
    latencies = ((name, _positive(run.get(f"latency_{name}_ms"))) for name in _SHOWN_PERCENTILES)
    shown = [f"{ms * 1e3 / bare_us:.2f} at {name}" for name, ms in latencies if ms is not None]
    notes.append(f"Latency of the run as a multiple of the bare loop's: {', '.join(shown)}")
    return notes


def _notes(check: Mapping[str, Any], run: Mapping[str, Any], loop: Sequence[float]) -> list[str]:
    notes = []
    if check.get("native") is None:
        notes.append(f"No native tool: {check.get('native_unavailable')}")
    elif not check["native"].get("version"):
        notes.append(
            f"{check['native']['tool']} does not report its version, which may differ from the"
            " runtime's. It gives the model random inputs"
        )
    interval = median_interval(loop)
    if interval is None:
        notes.append(
            f"Only {len(loop)} rounds fit into the time limit; intervals need {FEWEST_ROUNDS}"
        )
    else:
        middle = statistics.median(loop)
        percent = 100 * max(middle - interval[0], interval[1] - middle) / middle
        notes.append(
            f"Noise of the device: the bare loop is known to ± {percent:.1f} %"
            f" ({len(loop)} rounds of {check['block_ms']} ms)"
        )
    if run.get("condition") != "good":
        notes.append(f"The condition of the run is {run.get('condition')}")
    if run.get("loadgen_validity") != "VALID":
        notes.append(f"LoadGen's verdict on the run is {run.get('loadgen_validity')}")
    return notes
