"""Runtimes send no telemetry: packets are counted in a network with a route to the outside."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleetmark_agent.runner.prepare import NO_TELEMETRY
from fleetmark_catalog.resolve import Configuration
from tests.support.namespaces import namespace_skip_reason, packets_sent

PYTHON = getattr(sys, "_base_executable", sys.executable)
SPEAK = "import socket; socket.socket(2, socket.SOCK_DGRAM).sendto(b'x', ('198.51.100.7', 9))"
RUN = """
import importlib, sys, time
sys.path.insert(0, sys.argv[1])
importlib.import_module(sys.argv[2])
if sys.argv[2] == "onnxruntime":
    import onnxruntime
    try:
        onnxruntime.InferenceSession(b"no model")
    except Exception:
        pass
time.sleep(1)
"""

pytestmark = pytest.mark.skipif(
    bool(namespace_skip_reason()), reason=namespace_skip_reason() or "there are"
)


@pytest.fixture
def quiet(tmp_path: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **NO_TELEMETRY}


def test_the_counter_counts_what_is_sent(quiet: dict[str, str]) -> None:
    assert packets_sent(quiet, PYTHON, "-I", "-c", SPEAK) >= 1
    assert packets_sent(quiet, PYTHON, "-I", "-c", "import time; time.sleep(1)") == 0


@pytest.mark.parametrize(
    ("variations", "module"), [((), "onnxruntime"), (("tflite",), "ai_edge_litert.interpreter")]
)
def test_a_runtime_sends_nothing(
    bench: Any,
    quick: Callable[..., Configuration],
    quiet: dict[str, str],
    variations: tuple[str, ...],
    module: str,
) -> None:
    lock = bench.lock(quick("SingleStream", "performance", *variations))
    folder = bench.environment(lock.environment.wheels)
    assert packets_sent(quiet, PYTHON, "-I", "-S", "-c", RUN, str(folder), module) == 0
