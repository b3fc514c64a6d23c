"""The benchmarks of each round, and their names in the official checkers.

Sources: inference_rules.adoc of mlcommons/inference_policies (tables of benchmarks and required
scenarios) and `MODEL_CONFIG` of the submission checkers of mlcommons/inference, tags v5.0.1 and
v5.1.1 and, for v6.1, commit b66003e1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fleetmark_controller.mlperf.benchmark_terms import (
    DEEPSEEK,
    DIFFUSION,
    GRAPH,
    LLAMA_8B,
    LLAMA_8B_EDGE,
    LLAMA_405B,
    MIXTRAL,
    OFFLINE,
    POINTPAINTING,
    RESNET,
    RETINANET,
    SERVER,
    WHISPER,
    Benchmark,
    bert,
    detection,
    llama2,
    recommendation,
    segmentation,
    summaries,
    token_limits,
)

_ALWAYS = {
    "resnet": RESNET,
    "bert-99": bert(0.99),
    "bert-99.9": bert(0.999),
    "3d-unet-99": segmentation(0.99),
    "3d-unet-99.9": segmentation(0.999),
    "llama2-70b-99.9": llama2(0.999),
    "stable-diffusion-xl": DIFFUSION,
    "rgat": GRAPH,
}
_V5 = {
    **_ALWAYS,
    "retinanet": RETINANET,
    "dlrm-v2-99": recommendation(0.99),
    "dlrm-v2-99.9": recommendation(0.999),
    "llama2-70b-99": llama2(0.99),
    "mixtral-8x7b": MIXTRAL,
    "llama3.1-405b": LLAMA_405B,
}


def _with_server(benchmark: Benchmark, **limits_ms: tuple[int, int]) -> Benchmark:
    """Return the benchmark as in v5.0, which had no scenario Interactive and required Server."""
    limits = token_limits(**limits_ms) if limits_ms else benchmark.token_limits
    return replace(
        benchmark, datacenter=SERVER, both=SERVER, interactive=False, token_limits=limits
    )


_IMAGES_V5_1 = (*("2747", "2235", "2165", "1515", "1538", "1367", "2419", "4629", "3657", "4532"),)
"""`REQUIRED_ACC_BENCHMARK` of the checker v5.1.1; those of v5.0 and v6.1 require no images."""
_GPTJ = (42.9865, 20.1235, 29.9881)
ROUNDS: Mapping[str, Mapping[str, Benchmark]] = {
    "v5.0": {
        **_V5,
        "resnet": replace(RESNET, datacenter=SERVER),
        "gptj-99": summaries(0.99, _GPTJ, 4_016_878),
        "gptj-99.9": summaries(0.999, _GPTJ, 4_016_878),
        "llama2-70b-99": _with_server(llama2(0.99)),
        "llama2-70b-99.9": _with_server(llama2(0.999)),
        "llama2-70b-interactive-99": _with_server(llama2(0.99), server=(450, 40)),
        "llama2-70b-interactive-99.9": _with_server(llama2(0.999), server=(450, 40)),
        "llama3.1-405b": _with_server(LLAMA_405B),
    },
    "v5.1": {
        **_V5,
        "stable-diffusion-xl": replace(DIFFUSION, images=_IMAGES_V5_1),
        "pointpainting": POINTPAINTING,
        "llama3.1-8b": LLAMA_8B,
        "llama3.1-8b-edge": LLAMA_8B_EDGE,
        "deepseek-r1": DEEPSEEK,
        "whisper": WHISPER,
    },
    "v6.1": {
        **{name: replace(benchmark, equal_issue=False) for name, benchmark in _ALWAYS.items()},
        "stable-diffusion-xl": replace(DIFFUSION, datacenter=()),
        "llama3.1-8b": replace(LLAMA_8B, equal_issue=False),
        "llama3.1-8b-edge": replace(LLAMA_8B_EDGE, equal_issue=False),
        "deepseek-r1": replace(
            DEEPSEEK,
            datacenter=OFFLINE,
            both=OFFLINE,
            interactive=True,
            token_limits=token_limits(server=(2000, 80), interactive=(1500, 15)),
            equal_issue=False,
        ),
        "whisper": replace(WHISPER, equal_issue=False),
        "yolo-95": detection(50.73),
        "yolo-99": detection(52.866),
    },
}
"""Benchmarks by round.

For v6.1 only those that use LoadGen and that edge systems or `datacenter` systems share with v5.1;
a result of another benchmark is reported as not checked.
"""

NAMES: Mapping[str, str] = {
    "ssd-resnet34": "retinanet",
    "mobilenet": "resnet",
    "resnet50": "resnet",
    "llama3_1-405b": "llama3.1-405b",
    "llama3_1-8b": "llama3.1-8b",
    "llama3_1-8b-edge": "llama3.1-8b-edge",
}
"""Alternative names of benchmarks in the checkers (`model_mapping`)."""
_PARTS = (
    (("mobilenet", "efficientnet", "resnet50"), "resnet"),
    (("bert-99.9",), "bert-99.9"),
    (("bert-99",), "bert-99"),
    (("llama3_1-405b",), "llama3.1-405b"),
)


def official_name(round_name: str, model: str, mapping: Mapping[str, object]) -> str:
    """Return the benchmark of a model, in the way of the checkers.

    The first match counts: the benchmark's name; an alternative name known to the checkers; the
    submitter's `model_mapping.json`; a part of the name (`get_mlperf_model` of the checkers). A
    name without a match is returned unchanged.
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
