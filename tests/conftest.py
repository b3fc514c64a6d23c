"""What several areas of tests share."""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from fleetmark_core.capabilities import Board, Capabilities, Cpu, Interpreter, Memory, Os, Storage

GIB = 2**30

# In the background of a shell, pytest and with it the programs that tests start ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No test depends on how quick the machine is.
# The same inputs each time, so that results change only with the code. `make fuzz` draws others.
settings.register_profile(
    "fleetmark", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("quick", settings.get_profile("fleetmark"), max_examples=10)
settings.register_profile(
    "fuzz",
    max_examples=int(os.environ.get("INPUTS") or 100),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("fuzz" if os.environ.get("INPUTS") else "fleetmark")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Counts the inputs of a test that is marked `fuzz`."""
    marker = item.get_closest_marker("fuzz")
    handle = getattr(getattr(item, "obj", None), "hypothesis", None)
    if marker is None or handle is None:
        return (yield)
    test, tally = handle.inner_test, [str(marker.args[0]), 0]

    @functools.wraps(test)
    def counted(*args: Any, **values: Any) -> None:
        tally[1] = int(tally[1]) + 1
        test(*args, **values)

    handle.inner_test = counted
    # Reports carry it from the processes of pytest-xdist to the one that sums up.
    item.user_properties.append(("fuzz", tally))
    try:
        return (yield)
    finally:
        handle.inner_test = test


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Parsers and inputs, where that was asked for by INPUTS."""
    if not os.environ.get("INPUTS"):
        return
    counts: dict[str, int] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "call":
                for name, value in report.user_properties:
                    if name == "fuzz":
                        counts[value[0]] = counts.get(value[0], 0) + value[1]
    terminalreporter.section("parsers and inputs")
    for parser, count in sorted(counts.items()):
        terminalreporter.write_line(f"{count:>9}  {parser}")
    terminalreporter.write_line(f"{sum(counts.values()):>9}  in all, {len(counts)} parsers")


@pytest.fixture(scope="session")
def x86_device() -> Capabilities:
    """An x86_64 Debian device with Python 3.11."""
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in range(36, 4, -1)]
    return Capabilities(
        os=Os("linux", "Debian GNU/Linux", "12", "6.1.0", "glibc", "2.36"),
        arch="x86_64",
        board=Board(model="Test device"),
        cpu=Cpu(logical_cores=2, usable_cores=2, model="Test CPU"),
        memory=Memory(total_bytes=4 * GIB, swap_bytes=0),
        storage=Storage(total_bytes=64 * GIB, free_bytes=32 * GIB),
        interpreters=(
            Interpreter(
                "/usr/bin/python3.11",
                "3.11.7",
                "cpython",
                ("cp311",),
                (*platforms, "manylinux2014_x86_64", "linux_x86_64"),
            ),
        ),
        tags=("linux", "x86_64"),
    )
