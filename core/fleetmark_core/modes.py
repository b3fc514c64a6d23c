"""The modes in which a benchmark may run, from its component and its program. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PERFORMANCE, ACCURACY = "performance", "accuracy"
FIND = "find-performance"
"""Short tests find the settings for a performance run, if the program supports this mode."""
CROSSCHECK = "crosscheck"
"""Short blocks explain the figure of a performance run (`controller crosscheck`)."""


def modes_of(benchmark: Mapping[str, Any], program: Mapping[str, Any]) -> tuple[str, ...]:
    """Return all modes of a benchmark with a program, from their component tables.

    The modes that the benchmark declares run by default. Compliance tests and FIND run only on
    request, and CROSSCHECK only for a stored run.
    """
    named = tuple(benchmark.get("modes", ()))
    tests = tuple(benchmark.get("compliance", {}))
    finds = (FIND,) if program.get("find_performance") and PERFORMANCE in named else ()
    checks = (CROSSCHECK,) if program.get("crosscheck") and PERFORMANCE in named else ()
    return (*named, *tests, *finds, *checks)
