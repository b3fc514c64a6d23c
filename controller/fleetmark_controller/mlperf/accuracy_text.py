"""Parser of `accuracy.txt`, with the patterns of the submission checkers.

Source: `ACC_PATTERN`, `check_accuracy_dir` and `check_compliance_acc_dir` of the checkers v5.0 and
v5.1, `AccuracyCheck` of v6.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fleetmark_controller.mlperf.benchmark_terms import AccuracyTarget

_PATTERNS = {
    "acc": r"^(?:\{\"accuracy|accuracy)[\": ]*=?\s*([\d\.]+).*",
    "AUC": r"^AUC=([\d\.]+).*",
    "mAP": r".*(?:mAP=|'Total':)\s*([\d.]+)",
    "F1": r"^{[\"\']exact_match[\"\']\:\s*[\d\.]+,\s*[\"\']f1[\"\']\:\s*([\d\.]+)}",
    "ACCURACY": r"Word Error Rate\:.*, accuracy=([0-9\.]+)%",
    "DICE": r"Accuracy\:\s*mean\s*=\s*([\d\.]+).*",
    "ROUGE1": r".*'rouge1':\s+'?([\d.]+)'?.*",
    "ROUGE2": r".*'rouge2':\s+'?([\d.]+)'?.*",
    "ROUGEL": r".*'rougeL':\s+'?([\d.]+)'?.*",
    "ROUGELSUM": r".*'rougeLsum':\s+'?([\d.]+)'?.*",
    "GEN_LEN": r".*'gen_len':\s([\d.]+).*",
    "TOKENS_PER_SAMPLE": r".*'tokens_per_sample':\s([\d.]+).*",
    "CLIP_SCORE": r".*'CLIP_SCORE':\s+'?([\d.]+).*",
    "FID_SCORE": r".*'FID_SCORE':\s+'?([\d.]+).*",
    "gsm8k_accuracy": r".*'gsm8k':\s([\d.]+).*",
    "mbxp_accuracy": r".*'mbxp':\s([\d.]+).*",
    "exact_match": r".*'exact_match':\s([\d.]+).*",
}
_COMPILED = {metric: re.compile(pattern) for metric, pattern in _PATTERNS.items()}
_HASH = re.compile(r"hash=([\w\d]+)")
_LONGEST_LINE = 4096
_ALLOWED_PERCENT = {"CLIP_SCORE": 1.0, "FID_SCORE": 2.0}


@dataclass(frozen=True)
class Figures:
    """The figures by metric, and the sha256 of the whole accuracy log; empty if it is missing."""

    by_metric: dict[str, tuple[float, ...]]
    sha256: str


def read_figures(text: str, targets: Sequence[AccuracyTarget]) -> Figures:
    """Return all figures of the metrics of `targets`."""
    found: dict[str, tuple[float, ...]] = {}
    sha256 = ""
    for line in text.splitlines():
        hashed = _HASH.fullmatch(line)
        sha256 = hashed.group(1) if hashed else sha256
        # Patterns that begin with `.*` take quadratic time in the length of the line.
        if len(line) > _LONGEST_LINE:
            continue
        for target in targets:
            match = _COMPILED[target.metric].match(line)
            value = _number(match.group(1)) if match else None
            if value is not None:
                found[target.metric] = (*found.get(target.metric, ()), value)
    return Figures(found, sha256)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def shortfalls(figures: Figures, targets: Sequence[AccuracyTarget]) -> Iterator[str]:
    """Yield the reasons why the closed division rejects the figures."""
    for metric, least, most in targets:
        values = figures.by_metric.get(metric, ())
        if not values:
            yield f"tells no {metric}"
        for value in values:
            if value < least:
                yield f"{metric} {value:g} is below the closed division's {least:.6g}"
            if most is not None and value > most:
                yield f"{metric} {value:g} is above the closed division's {most:.6g}"


def differences(
    baseline: str, tested: str, targets: Sequence[AccuracyTarget], benchmark: str
) -> Iterator[str]:
    """Yield where the accuracy of TEST01 differs too much, if its answers are not identical.

    "Accuracy can fail for TEST01" in the checkers: a system that is not deterministic passes if the
    accuracy of the logged answers differs by at most 1 percent, or 0.1 percent in benchmarks that
    require 99.9 percent (`get_delta_perc`).
    """
    before, after = read_figures(baseline, targets), read_figures(tested, targets)
    for metric in (target.metric for target in targets):
        one, other = before.by_metric.get(metric, ()), after.by_metric.get(metric, ())
        if not one or not other or not one[-1] or not other[-1]:
            yield f"its accuracy texts tell no {metric}"
            continue
        allowed = _ALLOWED_PERCENT.get(metric, 0.1 if "99.9" in benchmark else 1.0)
        percent = abs(1 - one[-1] / other[-1]) * 100
        if percent > allowed:
            yield f"{metric} differs by {percent:.3g} %, may by {allowed:g} %"
