"""The benchmarks of each round: what MLPerf asks of a result, as tables.

Sources: inference_rules.adoc of mlcommons/inference_policies (tables of benchmarks and required
scenarios) and the configuration of the submission checkers of mlcommons/inference
(`MODEL_CONFIG`, `OFFLINE_MIN_SPQ_SINCE_V4`, `LLM_LATENCY_LIMITS`,
`RESULT_FIELD_BENCHMARK_OVERWRITE`), tags v5.0.1 and v5.1.1 and, for v6.1, commit b66003e1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

MS_NS = 1_000_000
S_NS = 1_000_000_000
_BOTH_TESTS = ("TEST01", "TEST04")


class Target(NamedTuple):
    """A bound on a metric of `accuracy.txt`; `most` only where there is one."""

    metric: str
    least: float
    most: float | None = None


class TokenLimit(NamedTuple):
    """Bounds on the 99th percentiles up to the first token, and for each further token."""

    first_token_ns: int
    per_token_ns: int


@dataclass(frozen=True)
class Benchmark:
    """What a round asks of a benchmark.

    Args:
        dataset_samples: how many samples an accuracy run covers.
        performance_samples: how many samples a performance run holds in memory at least.
        targets: accuracy, for the closed division.
        edge: required scenarios of edge systems; empty: no benchmark of edge systems.
        datacenter: the same for data centers.
        both: the same for systems that are both.
        interactive: Server or Interactive is required, too, outside of edge systems.
        tests: the compliance tests of the closed division.
        offline_samples: how many samples an Offline query holds at least; None: not in Offline.
        server_latency_ns: the bound on the latency that a Server run aims at.
        token_limits: by scenario; language models whose latencies are those of tokens.
        token_latencies: LoadGen must measure tokens (`use_token_latencies`).
        figures: the key of the official figure by scenario, where it is not the usual one.
        equal_issue: each sample is issued equally often (`sample_concatenate_permutation`).
        percentile: by which SingleStream is judged, between 0 and 1.
        images: names, without their ending, of what `accuracy/images` must hold, with captions.
    """

    dataset_samples: int
    performance_samples: int
    targets: tuple[Target, ...]
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
_SERVER = ("Server", "Offline")
_OFFLINE = ("Offline",)


def _limits(**limits_ms: tuple[int, int]) -> Mapping[str, TokenLimit]:
    return {
        name.capitalize(): TokenLimit(first * MS_NS, each * MS_NS)
        for name, (first, each) in limits_ms.items()
    }


def _summaries(share: float, references: tuple[float, float, float], words: float) -> Benchmark:
    """Return the benchmark of a text summary (GPT-J), measured in tokens that are inferred."""
    names = ("ROUGE1", "ROUGE2", "ROUGEL")
    return Benchmark(
        13_368,
        13_368,
        (
            *(Target(name, of * share) for name, of in zip(names, references, strict=True)),
            Target("GEN_LEN", words * 0.9),
        ),
        edge=_SINGLE,
        datacenter=_SERVER,
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


def _llama2(share: float) -> Benchmark:
    references = (("ROUGE1", 44.4312), ("ROUGE2", 22.0352), ("ROUGEL", 28.6162))
    return Benchmark(
        24_576,
        24_576,
        (
            *(Target(name, of * share) for name, of in references),
            Target("TOKENS_PER_SAMPLE", 294.45 * 0.9, 294.45 * 1.1),
        ),
        datacenter=_OFFLINE,
        both=_OFFLINE,
        interactive=True,
        tests=("TEST06",),
        offline_samples=24_576,
        server_latency_ns=20 * S_NS,
        token_limits=_limits(server=(2000, 200), interactive=(450, 40)),
        token_latencies=True,
        figures=_TOKENS,
        equal_issue=True,
    )


def _recommendation(share: float) -> Benchmark:
    return Benchmark(
        330_067,
        204_800,
        (Target("AUC", 80.31 * share),),
        datacenter=_SERVER,
        both=_SERVER,
        tests=("TEST01",),
        offline_samples=24_576,
        server_latency_ns=60 * MS_NS,
    )


def _segmentation(share: float) -> Benchmark:
    return Benchmark(
        43,
        43,
        (Target("DICE", 0.86170 * share),),
        edge=_SINGLE,
        datacenter=_OFFLINE,
        both=_SINGLE,
        tests=("TEST01",),
        offline_samples=43,
        equal_issue=True,
    )


def _bert(share: float) -> Benchmark:
    return Benchmark(
        10_833,
        10_833,
        (Target("F1", 90.874 * share),),
        edge=_SINGLE,
        both=_SINGLE,
        tests=("TEST01",),
        offline_samples=10_833,
    )


def _detection(least: float) -> Benchmark:
    """Return the benchmark of YOLO."""
    return Benchmark(
        1525,
        64,
        (Target("mAP", least),),
        edge=_STREAMS,
        both=_STREAMS,
        tests=("TEST01",),
        offline_samples=1525,
    )


_RESNET = Benchmark(
    50_000,
    1024,
    (Target("acc", 76.46 * 0.99),),
    edge=_STREAMS,
    both=(*_STREAMS, "Server"),
    tests=_BOTH_TESTS,
    offline_samples=24_576,
    server_latency_ns=15 * MS_NS,
)
_RETINANET = Benchmark(
    24_781,
    64,
    (Target("mAP", 37.55 * 0.99),),
    edge=_STREAMS,
    datacenter=_SERVER,
    both=(*_STREAMS, "Server"),
    tests=("TEST01",),
    offline_samples=24_576,
    server_latency_ns=100 * MS_NS,
)
_DIFFUSION = Benchmark(
    5000,
    5000,
    (
        Target("CLIP_SCORE", 31.68631873, 31.81331801),
        Target("FID_SCORE", 23.01085758, 23.95007626),
    ),
    edge=_SINGLE,
    datacenter=_SERVER,
    both=("SingleStream", "Offline", "Server"),
    tests=_BOTH_TESTS,
    offline_samples=5000,
    server_latency_ns=20 * S_NS,
)
_MIXTRAL = Benchmark(
    15_000,
    15_000,
    (
        Target("ROUGE1", 45.5989 * 0.99),
        Target("ROUGE2", 23.3526 * 0.99),
        Target("ROUGEL", 30.4608 * 0.99),
        Target("TOKENS_PER_SAMPLE", 144.84 * 0.9, 145.9 * 1.1),
        Target("gsm8k_accuracy", 73.66 * 0.99),
        Target("mbxp_accuracy", 60.16 * 0.99),
    ),
    datacenter=_SERVER,
    both=_SERVER,
    tests=("TEST06",),
    offline_samples=15_000,
    server_latency_ns=20 * S_NS,
    token_limits=_limits(server=(2000, 200)),
    token_latencies=True,
    figures=_TOKENS,
    equal_issue=True,
)
_LLAMA_405B = Benchmark(
    8313,
    8313,
    (
        Target("ROUGEL", 21.6666 * 0.99),
        Target("exact_match", 90.1335 * 0.99),
        Target("TOKENS_PER_SAMPLE", 684.68 * 0.9, 684.68 * 1.1),
    ),
    datacenter=_OFFLINE,
    both=_OFFLINE,
    interactive=True,
    tests=("TEST06",),
    offline_samples=8313,
    server_latency_ns=60 * S_NS,
    token_limits=_limits(server=(6000, 175), interactive=(4500, 80)),
    token_latencies=True,
    figures=_TOKENS,
    equal_issue=True,
)
_LLAMA_8B = Benchmark(
    13_368,
    13_368,
    (
        Target("ROUGE1", 38.7792 * 0.99),
        Target("ROUGE2", 15.9075 * 0.99),
        Target("ROUGEL", 24.4957 * 0.99),
        Target("ROUGELSUM", 35.793 * 0.99),
        Target("GEN_LEN", 8_167_644 * 0.9, 8_167_644 * 1.1),
    ),
    datacenter=_OFFLINE,
    both=_OFFLINE,
    interactive=True,
    tests=("TEST06",),
    offline_samples=13_368,
    server_latency_ns=20 * S_NS,
    token_limits=_limits(server=(2000, 100), interactive=(500, 30)),
    token_latencies=True,
    figures=_TOKENS,
    equal_issue=True,
)
_LLAMA_8B_EDGE = Benchmark(
    5000,
    5000,
    (
        Target("ROUGE1", 39.06 * 0.99),
        Target("ROUGE2", 16.1147 * 0.99),
        Target("ROUGEL", 24.6375 * 0.99),
        Target("ROUGELSUM", 36.124 * 0.99),
        Target("GEN_LEN", 3_051_113 * 0.9, 3_051_113 * 1.1),
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
_GRAPH = Benchmark(
    788_379,
    788_379,
    (Target("acc", 0.7286 * 0.99),),
    datacenter=_OFFLINE,
    both=_OFFLINE,
    tests=("TEST01",),
    offline_samples=788_379,
    equal_issue=True,
)
_POINTPAINTING = Benchmark(
    39_987,
    1024,
    (Target("mAP", 0.5425 * 0.999),),
    edge=("SingleStream",),
    both=("SingleStream",),
    tests=_BOTH_TESTS,
    percentile=0.999,
)
_DEEPSEEK = Benchmark(
    4388,
    4388,
    (
        Target("exact_match", 81.3582 * 0.99),
        Target("TOKENS_PER_SAMPLE", 3886.2274 * 0.9, 3886.2274 * 1.1),
    ),
    datacenter=_SERVER,
    both=("SingleStream", "Server", "Offline"),
    tests=("TEST06",),
    offline_samples=4388,
    server_latency_ns=60 * S_NS,
    token_limits=_limits(server=(2000, 80)),
    token_latencies=True,
    figures=_TOKENS,
    equal_issue=True,
)
_WHISPER = Benchmark(
    1633,
    1633,
    (Target("ACCURACY", 97.9329 * 0.99),),
    edge=_OFFLINE,
    datacenter=_OFFLINE,
    both=_OFFLINE,
    tests=("TEST01",),
    offline_samples=1633,
    figures={"Offline": "result_tokens_per_second"},
    equal_issue=True,
)

_ALWAYS = {
    "resnet": _RESNET,
    "bert-99": _bert(0.99),
    "bert-99.9": _bert(0.999),
    "3d-unet-99": _segmentation(0.99),
    "3d-unet-99.9": _segmentation(0.999),
    "llama2-70b-99.9": _llama2(0.999),
    "stable-diffusion-xl": _DIFFUSION,
    "rgat": _GRAPH,
}
_V5 = {
    **_ALWAYS,
    "retinanet": _RETINANET,
    "dlrm-v2-99": _recommendation(0.99),
    "dlrm-v2-99.9": _recommendation(0.999),
    "llama2-70b-99": _llama2(0.99),
    "mixtral-8x7b": _MIXTRAL,
    "llama3.1-405b": _LLAMA_405B,
}


def _with_server(benchmark: Benchmark, **limits_ms: tuple[int, int]) -> Benchmark:
    """Return it as in v5.0, which had no scenario Interactive: Server was required."""
    limits = _limits(**limits_ms) if limits_ms else benchmark.token_limits
    return replace(
        benchmark, datacenter=_SERVER, both=_SERVER, interactive=False, token_limits=limits
    )


_IMAGES_V5_1 = (*("2747", "2235", "2165", "1515", "1538", "1367", "2419", "4629", "3657", "4532"),)
"""`REQUIRED_ACC_BENCHMARK` of the checker v5.1.1; those of v5.0 and v6.1 name none."""
_GPTJ = (42.9865, 20.1235, 29.9881)
ROUNDS: Mapping[str, Mapping[str, Benchmark]] = {
    "v5.0": {
        **_V5,
        "resnet": replace(_RESNET, datacenter=_SERVER),
        "gptj-99": _summaries(0.99, _GPTJ, 4_016_878),
        "gptj-99.9": _summaries(0.999, _GPTJ, 4_016_878),
        "llama2-70b-99": _with_server(_llama2(0.99)),
        "llama2-70b-99.9": _with_server(_llama2(0.999)),
        "llama2-70b-interactive-99": _with_server(_llama2(0.99), server=(450, 40)),
        "llama2-70b-interactive-99.9": _with_server(_llama2(0.999), server=(450, 40)),
        "llama3.1-405b": _with_server(_LLAMA_405B),
    },
    "v5.1": {
        **_V5,
        "stable-diffusion-xl": replace(_DIFFUSION, images=_IMAGES_V5_1),
        "pointpainting": _POINTPAINTING,
        "llama3.1-8b": _LLAMA_8B,
        "llama3.1-8b-edge": _LLAMA_8B_EDGE,
        "deepseek-r1": _DEEPSEEK,
        "whisper": _WHISPER,
    },
    "v6.1": {
        **{name: replace(benchmark, equal_issue=False) for name, benchmark in _ALWAYS.items()},
        "stable-diffusion-xl": replace(_DIFFUSION, datacenter=()),
        "llama3.1-8b": replace(_LLAMA_8B, equal_issue=False),
        "llama3.1-8b-edge": replace(_LLAMA_8B_EDGE, equal_issue=False),
        "deepseek-r1": replace(
            _DEEPSEEK,
            datacenter=_OFFLINE,
            both=_OFFLINE,
            interactive=True,
            token_limits=_limits(server=(2000, 80), interactive=(1500, 15)),
            equal_issue=False,
        ),
        "whisper": replace(_WHISPER, equal_issue=False),
        "yolo-95": _detection(50.73),
        "yolo-99": _detection(52.866),
    },
}
"""Benchmarks by round. In v6.1 only those that are measured with LoadGen and that edge systems or
`datacenter` systems share with v5.1; a result of another benchmark is reported as not checked."""

NAMES: Mapping[str, str] = {
    "ssd-resnet34": "retinanet",
    "mobilenet": "resnet",
    "resnet50": "resnet",
    "llama3_1-405b": "llama3.1-405b",
    "llama3_1-8b": "llama3.1-8b",
    "llama3_1-8b-edge": "llama3.1-8b-edge",
}
"""Other names that the checkers know for a benchmark (`model_mapping`)."""
_PARTS = (
    (("mobilenet", "efficientnet", "resnet50"), "resnet"),
    (("bert-99.9",), "bert-99.9"),
    (("bert-99",), "bert-99"),
    (("llama3_1-405b",), "llama3.1-405b"),
)


def official_name(round_name: str, model: str, mapping: Mapping[str, object]) -> str:
    """Return the benchmark that a model is measured by, as the checkers find it.

    In this order: it is the benchmark's name; another name that the checkers know; the
    submitter's `model_mapping.json`; a part of the name (`get_mlperf_model` of the checkers). A
    name that says nothing is returned as it is.
    """
    if model in ROUNDS[round_name]:
        return model
    for known in (NAMES, mapping):
        found = known.get(model)
        if isinstance(found, str) and found:
            return found
    for parts, benchmark in _PARTS:
        if any(part in model for part in parts):
            return benchmark
    return model
