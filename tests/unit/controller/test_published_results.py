"""The table of MLCommons' published results, and the program that compares a checkout with it."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT
from tests.support.third_party_submissions import ROOT as OTHERS
from tests.support.third_party_submissions import SYSTEM, third_party_tree

sys.path.insert(0, str(ROOT / "bench"))
import mlperf_results as published

V5_1 = published.read_table(published.TABLES / "v5.1.tsv.gz")
PLACE = f"{OTHERS}/results/{SYSTEM}/resnet50"


def test_the_table_of_v5_1_has_every_edge_result() -> None:
    results = [row for row in V5_1 if row.kind == "result"]
    logs = [row for row in V5_1 if row.kind == "log"]
    assert Counter((row.note, row.verdict, row.official) for row in results) == {
        ("inferred", "accepted", "accepted"): 537,
        ("measured", "accepted", "accepted"): 323,
        ("measured", "refused", "refused"): 2,
        ("measured", "refused", "accepted"): 1,
    }
    assert len({row.path for row in logs}) == len(logs) == 1822
    assert {len(row.value) for row in logs} == {64}
    assert published.wrongly_refused(V5_1) == []


def test_the_documents_explain_every_disagreement() -> None:
    text = (ROOT / "docs" / "reference" / "mlperf-check.md").read_text()
    for row in published.disagreements(V5_1):
        assert f"`{row.path.split('/')[-2]}`" in text
    for figure in ("863", "537", "1,822"):
        assert figure in text


def arguments(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["mlperf_results.py", *words])


def test_a_checkout_is_compared_with_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, table = third_party_tree(tmp_path), tmp_path / "table.tsv.gz"
    words = ("--results", str(root), "--round", "v5.1", "--table", str(table))
    arguments(monkeypatch, *words, "--write")
    assert published.main() == 0
    assert {row.kind for row in published.read_table(table)} == {"log", "result"}
    arguments(monkeypatch, *words)
    assert published.main() == 0
    assert capsys.readouterr().out.endswith("as expected\n")
    log = root / PLACE / "offline/performance/run_1/mlperf_log_detail.txt"
    log.write_text(log.read_text().replace('"value": "VALID"', '"value": "INVALID"'))
    assert published.main() == 1
    out = capsys.readouterr().out
    assert f"{PLACE}/offline/performance/run_1/mlperf_log_detail.txt: is " in out
    assert "'INVALID'" in out


def test_a_valid_log_that_is_refused_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = third_party_tree(tmp_path, [("singlestream", "singlestream")])
    log = root / PLACE / "singlestream/performance/run_1/mlperf_log_detail.txt"
    key = '"early_stopping_latency_ss", "value": '
    log.write_text(log.read_text().replace(key, f"{key}9"))
    arguments(
        monkeypatch,
        *("--results", str(root), "--round", "v5.1", "--table", str(tmp_path / "t"), "--write"),
    )
    assert published.main() == 1
    assert "VALID, but refused" in capsys.readouterr().out


def test_figures_are_held_against_the_published_ones(tmp_path: Path) -> None:
    root = third_party_tree(tmp_path, [("offline", "singlestream")])
    found = published.examine(root, "v5.1", {})
    (row,) = [row for row in found.rows if row.kind == "result"]

    def publish(**changes: Any) -> list[str]:
        entry = {
            "Location": row.path,
            "Suite": "edge",
            "Performance_Result": float(row.value),
            "inferred": 1,
        }
        path = root / "summary_results.json"
        path.write_text(json.dumps([{**entry, **changes}]))
        return list(published.unpublished(root, found))

    assert publish() == []
    assert "published as" in publish(Performance_Result=2 * float(row.value))[0]
    assert "inferred=0" in publish(inferred=0)[0]
    assert "not in the checkout" in publish(Location="open/x")[0]
