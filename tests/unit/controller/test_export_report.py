"""The HTML report: whole, self-contained, safe, the same every time."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_controller.export import report_data
from fleetmark_controller.export.report import render
from fleetmark_controller.export.rows import RowSource
from fleetmark_controller.export.write import write
from fleetmark_controller.store.jobs import campaigns as stored_campaigns
from tests.support.export_cases import HOSTILE, Campaign, source

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """Elements, attributes and text of a page; open elements must be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.unclosed: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.unclosed.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.unclosed.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def written(tmp_path: Path, campaign: Campaign, **options: Any) -> str:
    out = tmp_path / "report.html"
    count = write(
        "html",
        source("runs", campaign.runs),
        out,
        results=source("results", campaign.results),
        samples=campaign.samples,
        **options,
    )
    assert count == min(len(campaign.results), report_data.MAX_ROWS)
    return out.read_text("utf-8")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(tmp_path_factory.mktemp("report"), Campaign(), title="Fleet A")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_it_is_well_formed(page: Page) -> None:
    assert page.unclosed == []
    assert page.count("html") == page.count("h1") == page.count("main") == 1


def test_it_needs_nothing_from_outside(text: str, page: Page) -> None:
    assert page.count("script") == 0
    assert "://" not in text
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "xlink:href"):
                assert (value or "").startswith(("#", "data:")), (tag, value)
    assert "@import" not in text
    assert set(re.findall(r"url\(([^)]{3})", text)) <= {"#c0", "#c1", "#c2", "#c3", "#c4"}


def test_ids_are_unique_and_every_reference_has_its_target(text: str, page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert [name for name, count in Counter(ids).items() if count > 1] == []
    wanted = {
        (attributes["href"] or "")[1:]
        for _, attributes in page.elements
        if (attributes.get("href") or "").startswith("#")
    } | set(re.findall(r"url\(#([^)]+)\)", text))
    assert wanted - set(ids) == set()


def test_every_configuration_has_its_row_and_its_plot(page: Page) -> None:
    assert page.count("tr") == 1 + 5
    # Two panels for SingleStream and Offline, one for the others.
    assert page.count("svg") == page.count("figure") == page.count("figcaption") == 8
    for word in ("SingleStream", "MultiStream", "Offline", "Server", "93.70 %", "INVALID"):
        assert word in page.words
    assert "p50" in page.words
    assert "Fleet A" in page.words


def test_text_in_figures_is_text(text: str) -> None:
    figure = text[text.index("<svg") : text.index("</svg>")]
    assert ">latency (ms)<" in figure
    assert "system-ui" in figure
    assert "var(--data)" in figure


def test_reasons_and_hints_are_shown(page: Page) -> None:
    assert "Ran out of generated queries" in page.words
    assert "never an MLPerf submission" in page.words
    assert "loadgen errors" in page.words


def test_the_same_rows_give_the_same_bytes(tmp_path: Path, text: str) -> None:
    assert written(tmp_path, Campaign(), title="Fleet A") == text


def test_hostile_names_are_only_text(tmp_path: Path) -> None:
    names = ("model", "precision", "runtime", "benchmark", "os", "board", "metric_name")
    changes: dict[str, Any] = dict.fromkeys(names, HOSTILE)
    changes["parameters"] = '{"<b>": "<i>"}'
    changes["condition_reasons"] = '[{"code": "<u>", "text": "<script>x</script>"}, 5]'
    changes["campaign_id"] = "</title><script>"
    campaign = Campaign((HOSTILE,), **changes)
    campaign.results[0]["parameters"] = "{}"
    text = written(tmp_path, campaign, title=HOSTILE)
    page = Page(text)
    assert page.count("script") == page.count("b") - text.count("<b>") == 0
    assert page.count("i") == 2, "ours"
    assert "49" not in re.findall(r"\{\{.*?\}\}", text)
    assert "<script>alert(1)</script>" in page.words
    assert "<i>" in page.words


def test_hostile_words_stay_within_their_attribute(tmp_path: Path) -> None:
    evil = '"><img src=x onerror=alert(1)>'
    page = Page(written(tmp_path, Campaign(condition=evil, loadgen_validity=evil, scenario=evil)))
    assert page.count("img") == 0
    assert all("onerror" not in attributes for _, attributes in page.elements)


def test_nothing_measured_yet(tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    write("html", RowSource([], []), out)
    page = Page(out.read_text("utf-8"))
    assert "No results yet" in page.words
    assert page.unclosed == []


def test_rows_of_nulls(tmp_path: Path) -> None:
    campaign = Campaign()
    campaign.runs = [{}]
    campaign.results = [{}, {"device": "d", "performance_run_id": "gone"}]
    assert "No samples are stored" in Page(written(tmp_path, campaign)).words


def test_a_run_without_samples(tmp_path: Path) -> None:
    campaign = Campaign()
    campaign.blobs.clear()
    page = Page(written(tmp_path, campaign))
    assert page.count("svg") == 0
    assert page.words.count("No samples are stored for it.") == 5


@pytest.mark.parametrize(
    "samples",
    [[1], [0], [0, 0], [5] * 100, [1, 10**15], [0, 10**9], list(range(2000)), [10**6, 10**6 + 1]],
)
def test_odd_samples_are_drawn(tmp_path: Path, samples: list[int]) -> None:
    campaign = Campaign()
    campaign.samples = lambda _: np.array(samples, dtype=np.int64)  # type: ignore[method-assign]
    text = written(tmp_path, campaign)
    assert Page(text).count("svg") == 8
    assert "nan" not in re.sub(r"[a-z]nan|nan[a-z]", "", text.lower())


def test_many_configurations_are_limited_and_it_is_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_data, "MAX_PLOTS", 3)
    monkeypatch.setattr(report_data, "MAX_ROWS", 8)
    monkeypatch.setattr(report_data, "MAX_BARS", 1)
    page = Page(written(tmp_path, Campaign(("a", "b"))))
    assert page.count("tr") == 2 + 8
    assert "2 more configurations are not listed" in page.words
    assert "5 more configurations are not plotted" in page.words
    assert "more are in the tables below" in page.words


def test_different_parameters_distinguish_configurations() -> None:
    rows = [
        {"device": "d", "scenario": "SingleStream", "parameters": f'{{"threads": {n}, "x": 1}}'}
        for n in (1, 2)
    ]
    details = [c.detail for c in report_data.build([], rows).configurations]
    assert details == ["threads=1", "threads=2"]


def test_best_first_and_only_valid_ones_are_best() -> None:
    def row(value: float, scenario: str, validity: str) -> dict[str, Any]:
        return {
            "device": "d",
            "benchmark": "b",
            "scenario": scenario,
            "metric_name": "m",
            "metric_value": value,
            "loadgen_validity": validity,
            "parameters": f'{{"threads": {value}}}',
        }

    report = report_data.build(
        [],
        [
            row(3.0, "SingleStream", "VALID"),
            row(1.0, "SingleStream", "INVALID"),
            row(2.0, "SingleStream", "VALID"),
            row(10.0, "Offline", "VALID"),
            row(20.0, "Offline", "VALID"),
        ],
    )
    bars = {c.scenario: [(b.metric_value, b.best) for b in c.bars] for c in report.comparisons}
    assert bars["SingleStream"] == [(1.0, False), (2.0, True), (3.0, False)]
    assert bars["Offline"] == [(20.0, True), (10.0, False)]


def repeated(figures: list[tuple[float, str]], **changes: Any) -> list[dict[str, Any]]:
    """Rows of view `results`: one a repetition."""
    return [
        {
            "campaign_id": "campaign-1",
            "device": "d",
            "benchmark": "b",
            "scenario": "SingleStream",
            "metric_name": "early_stopping_latency_p90_ms",
            "metric_value": figure,
            "latency_p50_ms": figure / 2,
            "peak_memory_bytes": 1_000_000 * number,
            "loadgen_validity": validity,
            "condition": "good",
            "repetition": number,
            "performance_run_id": f"run-{number}",
            **changes,
        }
        for number, (figure, validity) in enumerate(figures, 1)
    ]


def test_repetitions_are_one_bar_with_their_median_and_spread() -> None:
    slow = repeated([(5.0, "VALID"), (3.0, "VALID"), (4.0, "VALID")], precision="fp32")
    # Its fastest repetition is the fastest of all, and its median is not.
    lucky = repeated([(1.0, "VALID"), (9.0, "VALID"), (8.0, "VALID")], precision="int8")
    report = report_data.build([], [*lucky, *slow])
    ((first, second),) = [comparison.bars for comparison in report.comparisons]
    assert (first.precision, first.metric_value, first.low, first.high) == ("fp32", 4.0, 3.0, 5.0)
    assert (second.precision, second.metric_value, second.best) == ("int8", 8.0, False)
    assert first.best and first.repetitions == 3 and first.run_id == "run-3"
    assert first.latency_ms["p50"] == 2.0
    assert first.peak_memory_bytes == 2e6
    assert (first.bar_percent, first.low_percent, first.high_percent) == pytest.approx(
        (100 * 4 / 9, 100 * 3 / 9, 100 * 5 / 9)
    )
    words = Page(render(report)).words
    assert "median of 3, 3.00 to 5.00" in words, "of the best"
    assert "median of 3, 1.00–9.00" in words
    assert "2.0 MB" in words


def test_an_accuracy_that_is_not_a_share_is_no_percentage() -> None:
    rows = repeated([(3.0, "VALID"), (4.0, "VALID")], accuracy=0.25, accuracy_metric="mae")
    report = report_data.build([], rows)
    (only,) = report.configurations
    assert (only.accuracy_unit, report.accuracies) == ("mae (lower is better)", [])
    for metric, lower in (("f1", ""), ("map", ""), ("cosine", ""), ("wer", " (lower is better)")):
        rows = repeated([(3.0, "VALID")], accuracy=0.25, accuracy_metric=metric)
        report = report_data.build([], rows)
        unit = f"{metric}{lower}"
        assert (report.configurations[0].accuracy_unit, report.accuracies) == (unit, [])
    rows = repeated([(3.0, "VALID")], accuracy=0.25, accuracy_metric="top-5")
    report = report_data.build([], rows)
    assert (report.configurations[0].accuracy_unit, report.accuracies) == ("%", [0.25])


def test_a_repetition_without_a_performance_run_belongs_to_its_configuration() -> None:
    rows = repeated([(3.0, "VALID"), (4.0, "VALID"), (5.0, "VALID")], accuracy=0.9)
    lost = dict.fromkeys(("metric_name", "metric_value", "loadgen_validity", "performance_run_id"))
    report = report_data.build([], [{**rows[0], **lost, "accuracy": 0.7}, *rows[1:], rows[0]])
    (only,) = report.configurations
    assert (only.metric_value, only.repetitions, only.accuracy) == (4.0, 3, pytest.approx(0.9))
    (alone,) = report_data.build([], [{**rows[0], **lost}]).configurations
    assert (alone.metric_value, alone.accuracy) == (None, 0.9)


def test_repetitions_that_are_not_all_valid_are_never_best() -> None:
    some = repeated([(1.0, "INVALID"), (2.0, "VALID"), (2.5, "VALID")], precision="int8")
    none = repeated([(0.5, "INVALID"), (0.7, "INVALID")], precision="fp16")
    good = repeated([(9.0, "VALID")], precision="fp32")
    report = report_data.build([], [*some, *none, *good])
    shown = {c.precision: (c.metric_value, c.validity_text, c.best) for c in report.configurations}
    assert shown == {
        "int8": (2.25, "2 of 3 VALID", False),
        "fp16": (pytest.approx(0.6), "INVALID", False),
        "fp32": (9.0, "VALID", True),
    }
    assert "2 of 3 VALID" in Page(render(report)).words


def test_the_worst_condition_of_the_repetitions_and_all_reasons_are_reported() -> None:
    hot = {"condition": "suspicious", "condition_reasons": '[{"code": "hot", "text": "too hot"}]'}
    rows = repeated([(1.0, "VALID"), (2.0, "VALID")])
    rows[0] |= hot
    (configuration,) = report_data.build([], rows).configurations
    assert (configuration.condition, configuration.reasons) == ("suspicious", ["too hot"])


def test_one_configuration_in_two_campaigns_is_reported_apart() -> None:
    rows = [*repeated([(1.0, "VALID")]), *repeated([(2.0, "VALID")], campaign_id="campaign-2")]
    assert [c.detail for c in report_data.build([], rows).configurations] == [
        "campaign mpaign-1",
        "campaign mpaign-2",
    ]


RUN = {"run_id": "r", "campaign_id": "campaign-1", "device": "d", "loadgen_validity": "VALID"}


def job(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "job_id": f"01a20a35-3cdd-70c9-8062-00000000{number:04}",
        "campaign_id": "campaign-1",
        "configuration": f"toy {number}",
        "state": "FAILED",
        "reason": f"no such file {number}",
        "device": "d",
        "retried_as": None,
        **changes,
    }


@pytest.mark.parametrize(
    ("runs", "jobs", "verdict", "output"),
    [
        ([{**RUN, "condition": "good"}], [], "all sound", "no reason to doubt a figure"),
        (
            [{**RUN, "condition": "suspicious"}],
            [],
            "1 suspicious",
            "1 run is suspicious: see below",
        ),
        ([{**RUN, "condition": "unchecked"}] * 2, [], "2 unchecked", "2 runs were not watched"),
        ([{**RUN, "condition": "good"}], [job(1)], "1 failed", "1 job failed: see below"),
        (
            [{**RUN, "condition": "suspicious", "loadgen_validity": "INVALID"}],
            [job(1), job(2)],
            "1 invalid",
            "1 run is INVALID, 2 jobs failed, 1 run is suspicious: see below",
        ),
    ],
)
def test_all_is_sound_only_where_nothing_is_wrong(
    runs: list[dict[str, Any]], jobs: list[dict[str, Any]], verdict: str, output: str
) -> None:
    report = report_data.build(runs, repeated([(1.0, "VALID")]), jobs)
    assert report.verdict == verdict
    words = Page(render(report)).words
    assert f"Verdicts {verdict} {output}" in words
    assert ("all sound" in words) == (verdict == "all sound")


def test_failed_jobs_are_listed_with_their_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [
        *(job(number) for number in range(1, 5)),
        job(5, retried_as="job-6"),
        job(6, state="SUCCEEDED"),
        job(7, reason=HOSTILE, configuration=HOSTILE, device=HOSTILE),
    ]
    page = Page(render(report_data.build([], [], jobs)))
    assert page.unclosed == [] and page.count("script") == 0
    assert "5 jobs gave no result" in page.words and "No results yet" in page.words
    for number in range(1, 5):
        assert f"toy {number} no such file {number} 0000000{number}" in page.words
    assert "toy 5" not in page.words and "toy 6" not in page.words
    monkeypatch.setattr(report_data, "MAX_FAILED", 2)
    assert "3 more:" in Page(render(report_data.build([], [], jobs))).words


def test_health_checks_are_left_out_and_it_is_output() -> None:
    check = {"campaign_id": "check"}
    rows = [*repeated([(1.0, "VALID")]), *repeated([(2.0, "VALID")], **check, precision="int8")]
    campaigns = [
        {"campaign_id": "campaign-1", "submitted_by": "anna"},
        {"campaign_id": "check", "submitted_by": report_data.HEALTH_CHECK},
    ]
    runs = [RUN, {**RUN, **check, "condition": "suspicious"}]
    report = report_data.build(runs, rows, [job(1, **check)], campaigns)
    assert [c.metric_value for c in report.configurations] == [1.0]
    assert (report.runs, report.failed, report.suspicious) == (1, 0, 0)
    assert report.campaigns == ["campaign-1"]
    assert "1 run of a health check is left out." in Page(render(report)).words
    assert report_data.HEALTH_CHECK == stored_campaigns.HEALTH_CHECK, "as the store has it"


@given(
    st.lists(
        st.tuples(st.floats(0.1, 1e6), st.sampled_from(["VALID", "INVALID"])),
        min_size=1,
        max_size=9,
    )
)
def test_a_bar_lies_within_its_spread(figures: list[tuple[float, str]]) -> None:
    (c,) = report_data.build([], repeated(figures)).configurations
    assert c.metric_value is not None and c.low is not None and c.high is not None
    assert c.low <= c.metric_value <= c.high
    assert 0 <= c.low_percent <= c.high_percent <= 100.0000001
    valid = [figure for figure, validity in figures if validity == "VALID"]
    assert {c.low, c.high} <= set(valid or [figure for figure, _ in figures])
    assert c.best == (len(valid) == len(figures))


CHROMIUM = next(
    (
        path
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (path := shutil.which(name))
    ),
    None,
)
