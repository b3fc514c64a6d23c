"""The HTML report: one self-contained page that a newcomer can read.

No script, no outside reference, the same bytes for the same rows. What comes from devices is text
to the template, which escapes it; figures hold numbers only.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetmark_controller.export import report_data
from fleetmark_controller.export.atomic import atomic
from fleetmark_controller.export.report_model import Configuration, Report
from fleetmark_controller.export.rows import RowSource
from fleetmark_core.resource_model import size

if TYPE_CHECKING:
    from fleetmark_controller.evaluation.samples import Samples

    FetchSamples = Callable[[str], Samples | None]


def write_report(
    runs: RowSource,
    results: RowSource,
    out: Path,
    *,
    jobs: RowSource | None = None,
    campaigns: RowSource | None = None,
    samples: FetchSamples | None = None,
    title: str = "",
) -> int:
    """Write the report; returns the number of configurations in it.

    Args:
        runs: rows of view `runs`.
        results: rows of view `results`.
        jobs: rows of view `jobs`; None: failed jobs are not listed.
        campaigns: rows of view `campaigns`; None: health checks are not known.
        out: the file, which appears whole or not at all.
        samples: gives the samples of a run by its id, or None if it has none.
        title: of the page; by default what was measured.

    Raises:
        FleetmarkError: USAGE, DISK_FULL, BAD_MESSAGE.
    """
    report = report_data.build(
        runs.dictionaries("runs"),
        results.dictionaries("results"),
        jobs.dictionaries("jobs") if jobs else (),
        campaigns.dictionaries("campaigns") if campaigns else (),
    )
    with atomic(out) as partial:
        partial.write_text(render(report, samples, title), encoding="utf-8")
    return len(report.configurations)


def render(report: Report, samples: FetchSamples | None = None, title: str = "") -> str:
    """The page."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(figure=_figure, brief=_brief, day=_day, clock=_clock, size=_size)
    source = files("fleetmark_controller.export") / "templates" / "report.html.j2"
    plots: dict[str, list[dict[str, Any]]] = {}
    drawn = report.configurations[: report_data.MAX_PLOTS]
    for configuration in drawn:
        panels = _panels(configuration, samples) if samples else []
        plots[configuration.anchor] = [
            # Ours, of numbers alone: the one thing on the page that is not escaped.
            {"svg": Markup(svg), "caption": caption}  # noqa: S704
            for svg, caption in panels
        ]
    benchmarks = report.benchmarks
    shown = ", ".join(benchmarks[:3]) + (" and more" if len(benchmarks) > 3 else "")
    return environment.from_string(source.read_text(encoding="utf-8")).render(
        report=report,
        title=title or (shown or "Nothing measured yet"),
        plots=plots,
        drawn=drawn,
        not_drawn=len(report.configurations) - len(drawn),
    )


def _panels(configuration: Configuration, samples: FetchSamples) -> list[tuple[str, str]]:
    """SVG and caption of each plot of a configuration."""
    from fleetmark_controller.export import figures

    taken = samples(configuration.run_id) if configuration.run_id else None
    if taken is None or taken.size == 0:
        return []
    anchor = configuration.anchor
    count = f"{taken.size:,}"
    if configuration.scenario == "Offline":
        return [
            (
                figures.completion(taken, f"{anchor}a"),
                f"How the {count} samples, issued all at once, were completed over time. "
                "A straight line is a steady pace.",
            ),
            (
                figures.rate(taken, f"{anchor}b"),
                "Pace of the run. The dashed line is its mean.",
            ),
        ]
    panels = [
        (
            figures.distribution(taken, f"{anchor}a"),
            f"Distribution of {count} latencies, as timed in the job; the lines are percentiles.",
        )
    ]
    if configuration.scenario == "SingleStream":
        panels.append(
            (
                figures.over_time(taken, f"{anchor}b"),
                "The same over the run: median (line), middle 80 % (band), slowest of each "
                "moment (dots).",
            )
        )
    return panels


def _figure(value: float | None, unit: str = "") -> str:
    """A number for people: three significant digits, thousands separated; a dash for None."""
    if value is None:
        return "–"
    if unit == "%":
        return f"{100 * value:.2f} %"
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")
    if "e" in text:
        text = f"{value:.3g}"
    return f"{text} {unit}" if unit else text


def _size(count_bytes: float | None) -> str:
    """Bytes in a unit that suits them; a dash for None."""
    return "–" if count_bytes is None else size(count_bytes)


def _brief(value: float) -> str:
    """Three significant digits at most."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _day(moment: str) -> str:
    """Date of an ISO time."""
    return moment[:10]


def _clock(moment: str) -> str:
    """Hours and minutes of an ISO time."""
    return moment[11:16]
