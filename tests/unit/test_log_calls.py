"""Log calls of the two programs: an event that is a literal, and data only in fields."""

from __future__ import annotations

import ast
import re

import pytest

from tests.unit.test_layout import sources

LEVELS = {"debug": 1, "info": 1, "warning": 1, "error": 1, "failure": 2}
"""Methods of `FieldLogger`, each with the number of its positional arguments."""
_EVENT = re.compile(r"[a-z][^=%{}]*[A-Za-z]")
_MAX_EVENT = 60
SEES_STANDARD_LOGGING = {"fleetmark_core.log", "fleetmark_cli.logging_setup"}


def is_logger(node: ast.expr) -> bool:
    """Whether an expression is a logger, by its name or as the result of a logger's method."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Attribute) and (
            node.func.attr == "bind" or is_logger(node.func.value)
        )
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name in ("log", "logs", "bound", "logger", "logging", "_log", "_logs", "_attempt_log")


def faults(source: str) -> list[str]:
    """What is wrong with the log calls of a module."""
    tree = ast.parse(source)
    constants = {
        target.id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found = []
    for node in ast.walk(tree):
        if not (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in {*LEVELS, "exception", "critical", "log"}
            and is_logger(node.func.value)
        ):
            continue
        where = f"line {node.lineno}: "
        wanted = LEVELS.get(node.func.attr)
        if wanted is None:
            found.append(f"{where}{node.func.attr} is not a method of FieldLogger")
            continue
        if len(node.args) != wanted:
            found.append(f"{where}{len(node.args)} positional arguments")
            continue
        event = node.args[0]
        if isinstance(event, ast.Name):
            event = constants.get(event.id, event)
        events = [event.body, event.orelse] if isinstance(event, ast.IfExp) else [event]
        for each in events:
            if isinstance(each, ast.Attribute) and each.attr in ("_event", "_more_event"):
                continue  # the two events of a burst, which its logger composes once
            if not isinstance(each, ast.Constant) or not isinstance(each.value, str):
                found.append(f"{where}the event is not a literal")
            elif not _EVENT.fullmatch(each.value) or len(each.value) > _MAX_EVENT:
                found.append(f"{where}{each.value!r} is not a short event in lower case")
    return found


@pytest.mark.parametrize(
    "name", sorted(n for n in sources() if not n.startswith("fleetmark_harness"))
)
def test_log_calls_are_events_with_fields(name: str) -> None:
    source = sources()[name].read_text()
    assert faults(source) == []
    if name not in SEES_STANDARD_LOGGING:
        assert not re.search(r"^\s*(import logging|from logging import)\b", source, re.MULTILINE)


@pytest.mark.parametrize(
    "line",
    [
        'log.info(f"attempt {key} settled")',
        'log.info("attempt %s settled", key)',
        'log.info("attempt %s settled" % key)',
        'log.info("attempt {} settled".format(key))',
        'log.info("attempt settled " + key)',
        'log.info("attempt settled job=1")',
        'log.info("Attempt settled", job=key)',
        'log.info("attempt settled.", job=key)',
        'log.info("")',
        "log.info(text)",
        'log.failure("attempt failed")',
        'log.exception("attempt failed")',
        'self._log.warning(f"{reason}; retrying")',
        'log.bind(job=key).error("Attempt failed")',
        'self._logs.get(key).info("attempt settled", key)',
        'log.info("controller found" if here else f"found {there}")',
    ],
)
def test_other_log_calls_are_found(line: str) -> None:
    assert len(faults(line)) == 1


def test_the_calls_of_both_programs_are_seen() -> None:
    """A lint that sees no call would never fail."""
    text = {n: path.read_text() for n, path in sources().items()}
    for program in ("fleetmark_agent", "fleetmark_controller"):
        seen = sum(
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in LEVELS
            and is_logger(node.func.value)
            for name, source in text.items()
            if name.startswith(program)
            for node in ast.walk(ast.parse(source))
        )
        assert seen > 25, program
