"""The modes that a benchmark may run in: what it says itself, and what follows from that. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PERFORMANCE, ACCURACY = "performance", "accuracy"
FIND = "find-performance"
"""Short tests find what LoadGen is to be told in a performance run, where the program has it."""


def modes_of(benchmark: Mapping[str, Any], program: Mapping[str, Any]) -> tuple[str, ...]:
    """Every mode of a benchmark with a program, by their tables.

    Those that the benchmark says are run without a word; compliance tests and FIND only on request.
    """
    said = tuple(benchmark.get("modes", ()))
    tests = tuple(benchmark.get("compliance", {}))
    finds = (FIND,) if program.get("find_performance") and PERFORMANCE in said else ()
    return (*said, *tests, *finds)
