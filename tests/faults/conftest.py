"""Faults run only when they are asked for (`-m faults`); their table is printed at the end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.table import TABLE

HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "faults: real processes, struck by faults (`make faults`)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    ours = [item for item in items if HERE in item.path.parents]
    for item in ours:
        item.add_marker(pytest.mark.faults)
    if "faults" not in str(config.getoption("markexpr")):
        items[:] = [item for item in items if item not in ours]
        config.hook.pytest_deselected(items=ours)


def pytest_runtest_logfinish() -> None:
    target = os.environ.get("FAULT_TABLE")
    if target and TABLE.rows:
        Path(target).write_text(TABLE.text())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TABLE.rows:
        terminalreporter.section("faults")
        terminalreporter.write(TABLE.text())
