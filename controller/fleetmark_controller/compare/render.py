"""Format a comparison as rows, sentences, Markdown and JUnit XML."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from fleetmark_controller.compare.statistics import LEVEL
from fleetmark_controller.compare.verdict import Bound, ComparisonRow
from fleetmark_controller.evaluation.metrics.names import LOWER_IS_BETTER

COLUMNS = ("device", "configuration", "A", "B", "B takes", "interval", "answer", "runs", "accuracy")

_UNITS = {
    "early_stopping_latency_p90_ms": "ms (p90)",
    "early_stopping_query_latency_p99_ms": "ms (p99)",
    "samples_per_s": "samples/s",
    "completed_samples_per_s": "samples/s",
    "throughput_samples_per_s": "samples/s",
}


def figure(value: object, metric: object) -> str | None:
    """Return a figure with its unit, such as `0.104 ms (p90)`."""
    if not isinstance(value, (int, float)):
        return None
    number = f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
    name = str(metric or "")
    return f"{number} {_UNITS.get(name, 'ms' if name.endswith('_ms') else name)}"


def row(verdict: ComparisonRow) -> tuple[str | None, ...]:
    """Return the cells of a verdict, in the order of `COLUMNS`."""
    effect = verdict.effect
    return (
        verdict.device or (f"{verdict.devices} devices" if verdict.devices > 1 else "any device"),
        verdict.configuration,
        figure(verdict.a, verdict.metric),
        figure(verdict.b, verdict.metric),
        None if verdict.change is None else f"{_percent(verdict.change)} time",
        None if effect is None else f"{_percent(effect.low - 1)} to {_percent(effect.high - 1)}",
        verdict.answer.value + (f": {verdict.why}" if verdict.why else ""),
        _runs(verdict),
        _accuracy(verdict),
    )


def notes(
    verdicts: Sequence[ComparisonRow], only_a: Sequence[str], only_b: Sequence[str]
) -> list[str]:
    """Return notes that a reader needs besides the table."""
    lines = []
    decided = sum(verdict.effect is not None for verdict in verdicts)
    if decided:
        chance = f"{decided * (1 - LEVEL):.2g}"
        lines.append(
            f"The column B takes shows the change in time from A to B, with {LEVEL:.0%} intervals."
            f" Of {_count(decided, 'comparison')}, about {chance} would show faster or slower by"
            " chance alone."
        )
    if left_out := sum(verdict.left_out for verdict in verdicts):
        lines.append(f"{_count(left_out, 'run')} left out: not VALID, or the figure is missing.")
    if doubtful := sum(verdict.doubtful for verdict in verdicts):
        lines.append(
            f"{_count(doubtful, 'run')} in suspicious condition: see `results list --runs`."
        )
    shown = {verdict.accuracy_metric for verdict in verdicts if _accuracy(verdict) is not None}
    lower = [metric for metric in LOWER_IS_BETTER if metric in shown]
    if lower:
        lines.append(f"Accuracy: lower is better with {' and '.join(lower)}.")
    for name, only in (("A", only_a), ("B", only_b)):
        if only:
            more = f" and {len(only) - 3} more" if len(only) > 3 else ""
            lines.append(f"Only {name} has {'; '.join(only[:3])}{more}.")
    return lines


def plain(verdict: ComparisonRow, bounds: Sequence[Bound]) -> dict[str, object]:
    """Return a verdict as a table for `--json`."""
    effect = verdict.effect
    return {
        "device": verdict.device or None,
        "devices": verdict.devices,
        "configuration": verdict.configuration,
        "metric_name": verdict.metric,
        "answer": verdict.answer.value,
        "why": verdict.why or None,
        "a": verdict.a,
        "b": verdict.b,
        "time_ratio": verdict.ratio,
        "time_ratio_low": None if effect is None else effect.low,
        "time_ratio_high": None if effect is None else effect.high,
        "level": LEVEL,
        "runs_a": verdict.runs_a,
        "runs_b": verdict.runs_b,
        "paired": verdict.paired,
        "left_out": verdict.left_out,
        "doubtful": verdict.doubtful,
        "accuracy_a": verdict.accuracy_a,
        "accuracy_b": verdict.accuracy_b,
        "accuracy_metric": verdict.accuracy_metric or None,
        "accuracy_better": _better(verdict.accuracy_metric),
        "failed": any(bound.broken_by(verdict) for bound in bounds),
    }


def markdown(title: str, verdicts: Sequence[ComparisonRow], notes: Sequence[str]) -> str:
    """Return a table for a merge request or a report."""
    lines = [f"## {_cell(title)}", "", f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    lines += [f"| {' | '.join(_cell(cell or '–') for cell in row(v))} |" for v in verdicts]
    return "\n".join([*lines, "", *(f"{_cell(line)}  " for line in notes), ""])


def junit(title: str, verdicts: Sequence[ComparisonRow], bounds: Sequence[Bound]) -> bytes:
    """Return JUnit XML with one test case per verdict.

    A test case fails if a bound is broken, and is skipped if there is no effect to show.
    """
    broken = [v for v in verdicts if any(bound.broken_by(v) for bound in bounds)]
    undecided = [v for v in verdicts if v.effect is None]
    suite = ElementTree.Element(
        "testsuite",
        name=_printable(title),
        tests=str(len(verdicts)),
        failures=str(len(broken)),
        errors="0",
        skipped=str(len(undecided)),
    )
    for verdict in verdicts:
        cells = dict(zip(COLUMNS, row(verdict), strict=True))
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=_printable(str(cells["device"])),
            name=_printable(verdict.configuration),
        )
        interval = cells["interval"] or "no interval"
        text = f"{cells['answer']}: {cells['B takes'] or '–'} ({interval})"
        if verdict in broken:
            ElementTree.SubElement(case, "failure", message=text)
        elif verdict.effect is None:
            ElementTree.SubElement(case, "skipped", message=text)
        ElementTree.SubElement(case, "system-out").text = _printable(
            "; ".join(f"{name} {cell}" for name, cell in cells.items() if cell)
        )
    return bytes(ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)) + b"\n"


def _percent(share: float) -> str:
    return f"{100 * share:+.1f} %" if abs(share) < 1 else f"{100 * share:+.0f} %"


def _runs(verdict: ComparisonRow) -> str:
    if verdict.paired:
        return f"{verdict.runs_a} pairs"
    return f"{verdict.runs_a} + {verdict.runs_b}"


def _better(metric: str) -> str | None:
    if not metric:
        return None
    return "lower" if metric in LOWER_IS_BETTER else "higher"


def _accuracy(verdict: ComparisonRow) -> str | None:
    if verdict.accuracy_a is None or verdict.accuracy_b is None:
        return None
    # The usual metric needs no name.
    name = "" if verdict.accuracy_metric in ("", "top-1") else f" {verdict.accuracy_metric}"
    if verdict.accuracy_a == verdict.accuracy_b:
        return f"{verdict.accuracy_a:.4g}{name}"
    return f"{verdict.accuracy_a:.4g} → {verdict.accuracy_b:.4g}{name}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _cell(text: str) -> str:
    escaped = _printable(text).replace("\\", "\\\\").replace("|", "\\|")
    return escaped.replace("<", "&lt;").replace("`", "\\`")


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
