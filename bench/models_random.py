"""The section of `make bench-models` on random models: which ones, their goals, and the report.

The models are those of the tests that check the harness under a clock of their own
(tests/support/random_models.py), drawn with a fixed seed, and larger and longer. Every second one
has at least the work `LEAST_WORK`, so that a sample takes 0.1 ms and more, and the
goal of Offline applies to it. Here a bare loop times them. Models whose graph fixes a batch above
one are left out, because no bare loop computes one sample of them.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markdown import table
from models_subject import MODEL_MS, P50_GOAL, RATE_GOAL, Subject

ROOT = Path(__file__).resolve().parent.parent
SEED = 20
COUNTS = {"onnxruntime": 7, "tflite": 7, "openvino": 6}
LARGEST, LONGEST = 16, 40
"""Largest size of an axis of a sample, and factor of the number of nodes.

Up to 4,096 values, and 160 nodes (LiteRT) or 240. The output has as many values as the sample, and
the answer reads all of them.
"""
LARGE_LARGEST, LARGE_LONGEST = 24, 150
"""The same limits of every second model: up to 13,824 values, and 600 nodes (LiteRT) or 900."""
LEAST_WORK = 4_000_000
"""Least product of values and nodes of every second model.

A runtime needs about 0.05 ns or more for a value of a node, which makes 0.2 ms a sample.
"""
MOST_ROUNDS, MOST_SECONDS = 5, 0.1
"""Rounds and length of a block, so that all 20 models take less than three minutes."""
LOADGEN_US, OWN_US = 2.0, 1.5
"""For small models: what LoadGen itself and the harness may add to a query, in µs.

The answer, the program's own work on the output, is not counted.
"""


@dataclass(frozen=True)
class RandomSubject(Subject):
    """A random model on one runtime. The goals have no allowance for the machine's variation."""

    @property
    def added_us(self) -> float:
        """Time that adapter, harness and LoadGen add to a query of the bare loop, in µs."""
        return self.own_us + self.difference_us("loadgen", "harness")

    @property
    def sample_ms(self) -> float:
        """The time of a sample in the bare loop over batches, in ms."""
        return 1e3 / self.median("bare rate")

    @property
    def missed(self) -> list[str]:
        """The goals that are not met, as texts."""
        found = []
        p50 = self.ratio("loadgen", "bare")
        if self.is_large and abs(p50 - 1) > P50_GOAL:
            found.append(f"p50 is {p50:.3f} of a bare loop's, not within {P50_GOAL:.0%}")
        if not self.is_large and abs(self.added_us) > LOADGEN_US + OWN_US:
            found.append(f"added are {self.added_us:+.2f} µs, not within {LOADGEN_US + OWN_US} µs")
        if self.has_offline_goal and not self.meets_offline_goal:
            rate = self.ratio("rate", "bare rate")
            found.append(f"Offline has {rate:.3f} of a bare loop's rate, not {RATE_GOAL}")
        return found

    @property
    def has_offline_goal(self) -> bool:
        """True if a sample takes so long that the goal of Offline applies."""
        return self.sample_ms >= MODEL_MS

    @property
    def meets_offline_goal(self) -> bool:
        """True if Offline reaches its share of the bare loop's rate."""
        return self.ratio("rate", "bare rate") >= RATE_GOAL


def random_models(runtime: str, folder: Path) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """Write the random models of a runtime; yield title, file and table of each."""
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))
    from tests.support.random_models import random_model

    choose = random.Random(f"{SEED} {runtime}")
    for number in range(1, COUNTS.get(runtime, 0) + 1):
        limits = (LARGEST, LONGEST, 0)
        if number % 2 == 0:
            limits = (LARGE_LARGEST, LARGE_LONGEST, LEAST_WORK)
        model = random_model(runtime, choose, *limits)
        while model.batch > 1:
            model = random_model(runtime, choose, *limits)
        path = folder / f"random-{runtime}-{number}.{'tflite' if runtime == 'tflite' else 'onnx'}"
        path.write_bytes(model.data)
        described = {"input": {"name": "x", "shape": list(model.shape), "dtype": model.dtype}}
        sizes = "×".join(map(str, model.shape))
        yield f"{number}: {model.dtype} {sizes}, {model.layout}", path, model.table or described


def report(found: Sequence[RandomSubject]) -> str:
    """Return the section as Markdown."""
    rows = [
        [
            f"{one.runtime}, {one.title}",
            f"{one.median('bare') / 1e6:.4f}",
            f"{one.ratio('loadgen', 'bare'):.3f}",
            f"{one.ratio('bare again', 'bare'):.3f}",
            f"{one.difference_us('answer', 'adapter'):+.2f}",
            f"{one.added_us:+.2f}",
            f"{one.sample_ms:.4f}",
            f"{one.ratio('rate', 'bare rate'):.3f}",
            "unmet" if one.missed else "met",
        ]
        for one in found
    ]
    heads = ["random model", "bare p50 ms", "p50 ratio", "machine", "answer µs", "added µs"]
    heads += ["bare ms a sample", "Offline ratio", "goals"]
    met = sum(not one.missed for one in found)
    timed = [one for one in found if one.has_offline_goal]
    offline = sum(one.meets_offline_goal for one in timed)
    lines = [
        f"## {len(found)} random models",
        "",
        table(heads, rows),
        "",
        "added: what adapter, harness and LoadGen add to a query, without the answer.",
        f"Goals: from {MODEL_MS} ms on, p50 within {P50_GOAL:.0%}; below, added within"
        f" {LOADGEN_US + OWN_US} µs (LoadGen {LOADGEN_US}, harness {OWN_US}). From {MODEL_MS} ms a"
        f" sample on, Offline at least {RATE_GOAL}. Met by {met} of {len(found)}.",
        f"Offline goal: met by {offline} of {len(timed)} with at least {MODEL_MS} ms a sample; the"
        f" other {len(found) - len(timed)} have no goal in Offline.",
        *(f"UNMET: {one.runtime}, {one.title}: {text}" for one in found for text in one.missed),
    ]
    return "\n".join(lines)
