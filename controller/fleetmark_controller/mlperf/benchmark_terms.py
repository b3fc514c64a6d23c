"""MLPerf's requirements on a result, by benchmark.

Sources: inference_rules.adoc of mlcommons/inference_policies (tables of benchmarks and required
scenarios) and the configuration of the submission checkers of mlcommons/inference
(`MODEL_CONFIG`, `OFFLINE_MIN_SPQ_SINCE_V4`, `LLM_LATENCY_LIMITS`,
`RESULT_FIELD_BENCHMARK_OVERWRITE`), tags v5.0.1 and v5.1.1 and, for v6.1, commit b66003e1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

MS_NS = 1_000_000
S_NS = 1_000_000_000
_BOTH_TESTS = ("TEST01", "TEST04")


class AccuracyTarget(NamedTuple):
    """Bounds on a metric of `accuracy.txt`; `most` is None without an upper bound."""

    metric: str
    least: float
    most: float | None = None


class TokenLimit(NamedTuple):
    """Bounds on the 99th percentiles of the time to the first token and per further token."""

    first_token_ns: int
    per_token_ns: int


@dataclass(frozen=True)
class Benchmark:
    """Requirements of a round on a benchmark.

    Args:
        dataset_samples: number of samples in an accuracy run.
        performance_samples: minimum number of samples that a performance run holds in memory.
        targets: accuracy, for the closed division.
        edge: required scenarios of edge systems; empty: not a benchmark for edge systems.
        datacenter: the same for data centers.
        both: the same for systems that are both.
        interactive: Server or Interactive is also required, except of edge systems.
        tests: the compliance tests of the closed division.
        offline_samples: minimum number of samples in an Offline query; None: not in Offline.
        server_latency_ns: the upper bound of a Server run's target latency.
        token_limits: by scenario; for language models whose latencies are measured per token.
        token_latencies: LoadGen must measure tokens (`use_token_latencies`).
        figures: the key of the official figure by scenario, if it differs from the default.
        equal_issue: each sample is issued equally often (`sample_concatenate_permutation`).
        percentile: latency percentile of SingleStream, between 0 and 1.
        images: names, without suffix, of the files that `accuracy/images` must contain, with
            captions.
    """

    dataset_samples: int
    performance_samples: int
    targets: tuple[AccuracyTarget, ...]
    edge: tuple[str, ...] = ()
    datacenter: tuple[str, ...] = ()
    both: tuple[str, ...] = ()
    interactive: bool = False
    tests: tuple[str, ...] = ()
    offline_samples: int | None = None
    server_latency_ns: int | None = None
    token_limits: Mapping[str, TokenLimit] = field(default_factory=dict)
    token_latencies: bool = False
    figures: Mapping[str, str] = field(default_factory=dict)
    equal_issue: bool = False
    percentile: float | None = None
    images: tuple[str, ...] = ()


_TOKENS = {
    "Offline": "result_tokens_per_second",
    "Server": "result_completed_tokens_per_second",
}
_STREAMS = ("SingleStream", "MultiStream", "Offline")
_SINGLE = ("SingleStream", "Offline")
SERVER = ("Server", "Offline")
OFFLINE = ("Offline",)


def token_limits(**limits_ms: tuple[int, int]) -> Mapping[str, TokenLimit]:
    """Return limits by scenario from milliseconds: `server=(first token, each further token)`."""
    return {
        name.capitalize(): TokenLimit(first * MS_NS, each * MS_NS)
        for name, (first, each) in limits_ms.items()
    }


def summaries(share: float, references: tuple[float, float, float], words: float) -> Benchmark:
    """Return a text summary benchmark (GPT-J), which is measured in inferred tokens."""
    names = ("ROUGE1", "ROUGE2", "ROUGEL")
    return Benchmark(
        13_368,
        13_368,
        (
            *(AccuracyTarget(name, of * share) for name, of in zip(names, references, strict=True)),
            AccuracyTarget("GEN_LEN", words * 0.9),
        ),
        edge=_SINGLE,
        datacenter=SERVER,
        both=("SingleStream", "Offline", "Server"),
        tests=(),
        offline_samples=13_368,
        server_latency_ns=20 * S_NS,
        figures={
            "Offline": "result_inferred_tokens_per_second",
            "Server": "result_inferred_completed_tokens_per_second",
        },
        equal_issue=True,
    )


def llama2(share: float) -> Benchmark:
    """Return the benchmark Llama 2 70B that requires a share of the reference accuracy."""
    references = (("ROUGE1", 44.4312), ("ROUGE2", 22.0352), ("ROUGEL", 28.6162))
    return Benchmark(
        24_576,
        24_576,
        (
            *(AccuracyTarget(name, of * share) for name, of in references),
            AccuracyTarget("TOKENS_PER_SAMPLE", 294.45 * 0.9, 294.45 * 1.1),
        ),
        datacenter=OFFLINE,
        both=OFFLINE,
        interactive=True,
        tests=("TEST06",),
        offline_samples=24_576,
        server_latency_ns=20 * S_NS,
        token_limits=token_limits(server=(2000, 200), interactive=(450, 40)),
        token_latencies=True,
        figures=_TOKENS,
        equal_issue=True,
    )


def recommendation(share: float) -> Benchmark:
    """Return the benchmark DLRM v2 that requires a share of the reference accuracy."""
    return Benchmark(
        330_067,
        204_800,
        (AccuracyTarget("AUC", 80.31 * share),),
        datacenter=SERVER,
        both=SERVER,
        tests=("TEST01",),
        offline_samples=24_576,
        server_latency_ns=60 * MS_NS,
    )


def segmentation(share: float) -> Benchmark:
    """Return the benchmark 3D-UNet that requires a share of the reference accuracy."""
    return Benchmark(
        43,
        43,
        (AccuracyTarget("DICE", 0.86170 * share),),
        edge=_SINGLE,
        datacenter=OFFLINE,
        both=_SINGLE,
        tests=("TEST01",),
        offline_samples=43,
        equal_issue=True,
    )


def bert(share: float) -> Benchmark:
    """Return the benchmark BERT that requires a share of the reference accuracy."""
    return Benchmark(
        10_833,
        10_833,
        (AccuracyTarget("F1", 90.874 * share),),
        edge=_SINGLE,
        both=_SINGLE,
        tests=("TEST01",),
        offline_samples=10_833,
    )


def detection(least: float) -> Benchmark:
    """Return the benchmark YOLO with a minimum mAP."""
    return Benchmark(
        1525,
        64,
        (AccuracyTarget("mAP", least),),
        edge=_STREAMS,
        both=_STREAMS,
        tests=("TEST01",),
        offline_samples=1525,
    )


RESNET = Benchmark(
    50_000,
    1024,
    (AccuracyTarget("acc", 76.46 * 0.99),),
    edge=_STREAMS,
    both=(*_STREAMS, "Server"),
    tests=_BOTH_TESTS,
    offline_samples=24_576,
    server_latency_ns=15 * MS_NS,
)
RETINANET = Benchmark(
    24_781,
    64,
    (AccuracyTarget("mAP", 37.55 * 0.99),),
    edge=_STREAMS,
    datacenter=SERVER,
    both=(*_STREAMS, "Server"),
    tests=("TEST01",),
    offline_samples=24_576,
    server_latency_ns=100 * MS_NS,
)
DIFFUSION = Benchmark(
    5000,
    5000,
    (
        AccuracyTarget("CLIP_SCORE", 31.68631873, 31.81331801),
        AccuracyTarget("FID_SCORE", 23.01085758, 23.95007626),
    ),
    edge=_SINGLE,
    datacenter=SERVER,
    both=("SingleStream", "Offline", "Server"),
    tests=_BOTH_TESTS,
    offline_samples=5000,
    server_latency_ns=20 * S_NS,
)
MIXTRAL = Benchmark(
    15_000,
    15_000,
    (
        AccuracyTarget("ROUGE1", 45.5989 * 0.99),
        AccuracyTarget("ROUGE2", 23.3526 * 0.99),
        AccuracyTarget("ROUGEL", 30.4608 * 0.99),
        AccuracyTarget("TOKENS_PER_SAMPLE", 144.84 * 0.9, 145.9 * 1.1),
        AccuracyTarget("gsm8k_accuracy", 73.66 * 0.99),
        AccuracyTarget("mbxp_accuracy", 60.16 * 0.99),
    ),
    datacenter=SERVER,
    both=SERVER,
    tests=("TEST06",),
    offline_samples=15_000,
    server_latency_ns=20 * S_NS,
    token_limits=token_limits(server=(2000, 200)),
    token_latencies=True,
    figures=_TOKENS,
    equal_issue=True,
)
LLAMA_405B = Benchmark(
    8313,
    8313,
    (
        AccuracyTarget("ROUGEL", 21.6666 * 0.99),
        AccuracyTarget("exact_match", 90.1335 * 0.99),
        AccuracyTarget("TOKENS_PER_SAMPLE", 684.68 * 0.9, 684.68 * 1.1),
    ),
    datacenter=OFFLINE,
    both=OFFLINE,
    interactive=True,
    tests=("TEST06",),
    offline_samples=8313,
    server_latency_ns=60 * S_NS,
    token_limits=token_limits(server=(6000, 175), interactive=(4500, 80)),
    token_latencies=True,
    figures=_TOKENS,
    equal_issue=True,
)
LLAMA_8B = Benchmark(
    13_368,
    13_368,
    (
        AccuracyTarget("ROUGE1", 38.7792 * 0.99),
        AccuracyTarget("ROUGE2", 15.9075 * 0.99),
        AccuracyTarget("ROUGEL", 24.4957 * 0.99),
        AccuracyTarget("ROUGELSUM", 35.793 * 0.99),
        AccuracyTarget("GEN_LEN", 8_167_644 * 0.9, 8_167_644 * 1.1),
    ),
    datacenter=OFFLINE,
    both=OFFLINE,
    interactive=True,
    tests=("TEST06",),
    offline_samples=13_368,
    server_latency_ns=20 * S_NS,
    token_limits=token_limits(server=(2000, 100), interactive=(500, 30)),
    token_latencies=True,
    figures=_TOKENS,
    equal_issue=True,
)
LLAMA_8B_EDGE = Benchmark(
    5000,
    5000,
    (
        AccuracyTarget("ROUGE1", 39.06 * 0.99),
        AccuracyTarget("ROUGE2", 16.1147 * 0.99),
        AccuracyTarget("ROUGEL", 24.6375 * 0.99),
        AccuracyTarget("ROUGELSUM", 36.124 * 0.99),
        AccuracyTarget("GEN_LEN", 3_051_113 * 0.9, 3_051_113 * 1.1),
    ),
    edge=_SINGLE,
    both=_SINGLE,
    offline_samples=5000,
    token_latencies=True,
    figures={
        "Offline": "result_tokens_per_second",
        "SingleStream": "result_90.00_percentile_latency_ns",
    },
    equal_issue=True,
)
GRAPH = Benchmark(
    788_379,
    788_379,
    (AccuracyTarget("acc", 0.7286 * 0.99),),
    datacenter=OFFLINE,
    both=OFFLINE,
    tests=("TEST01",),
    offline_samples=788_379,
    equal_issue=True,
)
POINTPAINTING = Benchmark(
    39_987,
    1024,
    (AccuracyTarget("mAP", 0.5425 * 0.999),),
    edge=("SingleStream",),
    both=("SingleStream",),
    tests=_BOTH_TESTS,
    percentile=0.999,
)
DEEPSEEK = Benchmark(
    4388,
    4388,
    (
        AccuracyTarget("exact_match", 81.3582 * 0.99),
        AccuracyTarget("TOKENS_PER_SAMPLE", 3886.2274 * 0.9, 3886.2274 * 1.1),
    ),
    datacenter=SERVER,
    both=("SingleStream", "Server", "Offline"),
    tests=("TEST06",),
    offline_samples=4388,
    server_latency_ns=60 * S_NS,
    token_limits=token_limits(server=(2000, 80)),
    token_latencies=True,
    figures=_TOKENS,
    equal_issue=True,
)
WHISPER = Benchmark(
    1633,
    1633,
    (AccuracyTarget("ACCURACY", 97.9329 * 0.99),),
    edge=OFFLINE,
    datacenter=OFFLINE,
    both=OFFLINE,
    tests=("TEST01",),
    offline_samples=1633,
    figures={"Offline": "result_tokens_per_second"},
    equal_issue=True,
)
