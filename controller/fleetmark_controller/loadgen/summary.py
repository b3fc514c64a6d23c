"""Parser of LoadGen's summary log, `mlperf_log_summary.txt`, a text with few figures per line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from fleetmark_controller.loadgen import limits
from fleetmark_controller.loadgen.errors import IngestError
from fleetmark_controller.loadgen.estimate_text import estimates_ns
from fleetmark_core.regular_file import open_regular

_VALIDITY = re.compile(r"^Result is : (VALID|INVALID)\s*$", re.MULTILINE)
_SCENARIO = re.compile(r"^Scenario : (\w{1,40})\s*$", re.MULTILINE)
_RATE = re.compile(
    r"^(?:Samples|Completed samples) per second\s*: ([\d.e+]{1,30})\s*$", re.MULTILINE
)
_LATENCY = re.compile(
    r"^(Min latency|Max latency|\d\d\.\d\d percentile latency) \(ns\)\s*: (\d{1,19})\s*$",
    re.MULTILINE,
)
_LABELS = {"Min latency": "minimum", "Max latency": "maximum"}


@dataclass(frozen=True)
class Summary:
    """Contents of a summary; missing facts are empty or None.

    `validity` is VALID or INVALID; INVALID if the summary states both. `latencies_ns` are by name
    (minimum, p90, …), the first of each; `estimate_ns` is early stopping's, by percentile ("90.0").
    `rounding_per_s` is the maximum rounding error of `samples_per_s`: LoadGen prints the rate of
    Server with two decimals.
    """

    validity: str | None
    scenario: str
    samples_per_s: float | None
    latencies_ns: dict[str, int]
    estimate_ns: dict[str, int]
    rounding_per_s: float = 0.0


def read_summary(path: Path) -> Summary:
    """Read a summary.

    Raises:
        IngestError: the file cannot be read or is too large.
    """
    try:
        with open_regular(path) as file:
            data = file.read(limits.MAX_SUMMARY_BYTES + 1)
    except OSError as error:
        raise IngestError(f"cannot be read: {error.strerror}", path.name) from error
    if len(data) > limits.MAX_SUMMARY_BYTES:
        raise IngestError(f"larger than {limits.MAX_SUMMARY_BYTES >> 20} MiB", path.name)
    text = data.decode("utf-8", "replace")
    verdicts = set(_VALIDITY.findall(text))
    latencies: dict[str, int] = {}
    for label, value in _LATENCY.findall(text):
        name = _LABELS.get(label) or f"p{float(label.split()[0]):g}"
        latencies.setdefault(name, int(value))
    scenario = _SCENARIO.search(text)
    rate, rounding = _rate(text)
    return Summary(
        validity="INVALID" if len(verdicts) > 1 else next(iter(verdicts), None),
        scenario=scenario[1] if scenario else "",
        samples_per_s=rate,
        latencies_ns=latencies,
        estimate_ns=estimates_ns(text),
        rounding_per_s=rounding,
    )


def _rate(text: str) -> tuple[float | None, float]:
    """Return the rate, and half a unit of its last decimal (0 in scientific notation)."""
    found = _RATE.search(text)
    try:
        rate = float(found[1]) if found else None
    except ValueError:
        rate = None
    if found is None or rate is None:
        return None, 0.0
    decimals = len(found[1].partition(".")[2])
    return rate, 0.0 if "e" in found[1] or not decimals else 0.51 * 10**-decimals
