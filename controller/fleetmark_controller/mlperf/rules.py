"""What MLPerf Inference asks of a result, by round and benchmark.

Sources: inference_rules.adoc (scenarios, durations, quality targets), submission_rules.adoc
(fields, divisions), the README of each compliance test, mlperf.conf of each round's LoadGen.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleetmark_controller.loadgen import rules as loadgen_rules
from fleetmark_controller.loadgen.rules import Seeds

CLOSED, OPEN = "closed", "open"
DIVISIONS = (CLOSED, OPEN)
ROUNDS = ("v5.1", "v6.1")
TESTS = ("TEST01", "TEST04")
STATUSES = ("available", "preview", "rdi")
ACCURACY_LOG_BYTES = 10 * 1024
"""A longer accuracy log must be cut."""
LARGEST_FILE_BYTES = 50 << 20
TEST_TOLERANCE = 0.10
"""TEST01 may be this much slower or faster than the result, TEST04 this much faster."""
QUICK_TOLERANCE = 0.20
"""The same for latencies up to `QUICK_NS`, which vary more."""
QUICK_NS = {"SingleStream": 200_000, "MultiStream": 1_600_000}
SAME_INDEX = 3
"""The sample that TEST04 issues over and over."""
TEST01_TARGET = 4096
"""How many answers of an image classifier TEST01 logs, about."""


@dataclass(frozen=True)
class Rules:
    """The rules for one benchmark of an edge system in one round.

    `accuracy_target_percent` binds in the closed division.
    """

    round: str
    benchmark: str
    seeds: Seeds
    dataset_samples: int
    performance_samples: int
    accuracy_target_percent: float
    scenarios: tuple[str, ...] = ("SingleStream", "MultiStream", "Offline")
    min_duration_ms: int = loadgen_rules.MIN_DURATION_MS
    offline_min_samples: int = loadgen_rules.OFFLINE_MIN_SAMPLES


# Image classification: ResNet-50 v1.5 on ImageNet, 99 % of 76.46 % in top-1.
_BENCHMARKS = {"resnet": (50_000, 1024, 0.99 * 76.46)}
BENCHMARKS = tuple(_BENCHMARKS)


def rules(round_name: str, benchmark: str) -> Rules:
    """The rules of a round for a benchmark.

    Raises:
        KeyError: no such round or benchmark.
    """
    if round_name not in ROUNDS:
        raise KeyError(round_name)
    samples, performance, target = _BENCHMARKS[benchmark]
    return Rules(
        round_name, benchmark, loadgen_rules.ROUND_SEEDS[round_name], samples, performance, target
    )
