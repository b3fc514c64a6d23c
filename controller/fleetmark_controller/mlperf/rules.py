"""MLPerf Inference's requirements on a result, by round and benchmark.

Sources: inference_rules.adoc (scenarios, durations, quality targets), submission_rules.adoc
(fields, divisions), the README of each compliance test, mlperf.conf of each round's LoadGen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fleetmark_controller.loadgen import rules as loadgen_rules
from fleetmark_controller.loadgen.rules import Seeds
from fleetmark_controller.mlperf import benchmarks
from fleetmark_controller.mlperf.benchmark_terms import Benchmark

CLOSED, OPEN = "closed", "open"
DIVISIONS = (CLOSED, OPEN)
NETWORK = "network"
CHECKED_DIVISIONS = (*DIVISIONS, NETWORK)
"""Divisions of the official checkers. Fleetmark checks `network`, but does not export to it."""
ROUNDS = ("v5.1", "v6.1")
"""Rounds that can be measured and exported."""
CHECKED_ROUNDS = tuple(benchmarks.ROUNDS)
"""Rounds whose trees can be checked."""
TESTS = ("TEST01", "TEST04")
EDGE, DATACENTER = "edge", "datacenter"
SYSTEM_TYPES = (EDGE, DATACENTER, "datacenter,edge", "edge,datacenter")
INTERACTIVE = ("Server", "Interactive")
STATUSES = ("available", "preview", "rdi")
ACCURACY_LOG_BYTES = 10 * 1024
"""Size from which on an accuracy log must be cut."""
LARGEST_FILE_BYTES = 50 << 20
TEST_TOLERANCE = 0.10
"""Allowed relative difference: TEST01 may be slower or faster than the result, TEST04 faster."""
QUICK_TOLERANCE = 0.20
"""The same tolerance for latencies up to `QUICK_NS`, which vary more."""
QUICK_NS = {"SingleStream": 200_000, "MultiStream": 1_600_000}
SAME_INDEX = 3
"""Index of the sample that TEST04 issues repeatedly."""
TEST01_TARGET = 4096
"""Approximate number of answers that TEST01 logs for an image classifier."""


@dataclass(frozen=True)
class Rules:
    """The rules for one benchmark in one round; `terms` are the benchmark's own.

    Figures that tests and rehearsals reduce are separate fields.
    """

    round: str
    benchmark: str
    seeds: Seeds
    terms: Benchmark
    dataset_samples: int
    performance_samples: int
    offline_min_samples: int
    min_duration_ms: int = loadgen_rules.MIN_DURATION_MS

    @property
    def scenarios(self) -> tuple[str, ...]:
        """The scenarios that the closed division requires of edge systems."""
        return self.terms.edge

    @property
    def accuracy_target_percent(self) -> float:
        """The minimum accuracy in the closed division, for a benchmark with one target."""
        return self.terms.targets[0].least

    def required(self, system_type: str) -> tuple[str, ...]:
        """Return the scenarios that the closed division requires of a type of system.

        Empty: the benchmark is not for such systems. `Server` or `Interactive` may be required in
        addition, see `needs_interactive`.
        """
        if system_type == EDGE:
            return self.terms.edge
        return self.terms.datacenter if system_type == DATACENTER else self.terms.both

    def needs_interactive(self, system_type: str) -> bool:
        """Return whether Server or Interactive is required of a type of system."""
        return self.terms.interactive and system_type != EDGE

    def allowed(self, system_type: str) -> tuple[str, ...]:
        """Return the scenarios that the closed division accepts of a type of system."""
        more = INTERACTIVE if self.needs_interactive(system_type) else ()
        return (*self.required(system_type), *more)


FindRules = Callable[[str, str], Rules]
BENCHMARKS = ("resnet",)
"""Benchmarks that can be exported: image classification."""


def rules(round_name: str, benchmark: str) -> Rules:
    """Return the rules of a round for a benchmark.

    Raises:
        KeyError: the round or the benchmark is unknown.
    """
    terms = benchmarks.ROUNDS[round_name][benchmark]
    return Rules(
        round_name,
        benchmark,
        loadgen_rules.ROUND_SEEDS[round_name],
        terms,
        terms.dataset_samples,
        terms.performance_samples,
        terms.offline_samples or loadgen_rules.OFFLINE_MIN_SAMPLES,
    )
