"""Stable runs on a board: what is waited for, what is set, and that it is always set back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_agent.runner.conditioning.cooling import Cooling, cooling
from fleetmark_agent.runner.conditioning.cpufreq import Tuning
from fleetmark_core.order import Order, parse_order
from fleetmark_core.repeat_bounds import Bounds
from tests.support.agent_process import AgentProcess
from tests.support.board_tree import CPU, BoardTree
from tests.support.bundles import GATED, make_lock, make_order
from tests.support.fake_controller import FakeController

BOUNDS = Bounds(start_temperature_c=60, cool_wait_s=300)


# Decisions.


@pytest.mark.parametrize(
    ("looks", "decision"),
    [
        ([(0, None)], Cooling.UNKNOWN),
        ([(0, 60.0)], Cooling.COOL),
        ([(0, 60.1)], Cooling.WAIT),
        ([(0, 80.0), (10, 59.0)], Cooling.COOL),
        ([(0, 80.0), (59, 80.0)], Cooling.WAIT),
        ([(0, 80.0), (60, 80.0)], Cooling.LEVEL),
        ([(0, 80.0), (60, 79.6)], Cooling.LEVEL),
        ([(0, 80.0), (60, 79.4)], Cooling.WAIT),
        ([(0, 80.0), (30, 90.0), (90, 89.9)], Cooling.LEVEL),
        ([(0, 99.0), (60, 97.0), (299, 62.0)], Cooling.WAIT),
        ([(0, 99.0), (60, 97.0), (300, 62.0)], Cooling.TOO_LONG),
        ([(0, 80.0), (10, None)], Cooling.UNKNOWN),
        ([(n * 2.0, 80.0) for n in range(15)], Cooling.WAIT),
        ([(n * 2.0, 80.0) for n in range(16)], Cooling.UNCHANGED),
        ([(n * 2.0, 80.0 - (n == 3)) for n in range(16)], Cooling.WAIT),
    ],
)
def test_cooling(looks: list[tuple[float, float | None]], decision: Cooling) -> None:
    assert cooling(looks, BOUNDS) is decision


@given(st.lists(st.one_of(st.none(), st.floats(-50, 150)), min_size=1, max_size=200))
def test_every_wait_ends_in_time(temperatures: list[float | None]) -> None:
    looks: list[tuple[float, float | None]] = []
    for number in range(1000):
        looks.append((number * 2.0, temperatures[number % len(temperatures)]))
        if cooling(looks, BOUNDS) is not Cooling.WAIT:
            break
    assert looks[-1][0] <= BOUNDS.cool_wait_s


def test_an_order_that_is_not_stable_does_not_speak_of_it() -> None:
    order = Order(1, "d", "c", "j", 1, "0" * 64, 1, 1, "Offline", "performance", "quick", 5.0)
    assert b"stable" not in order.canonical()
    assert parse_order(order.canonical()) == order
    stable = replace(order, stable=True)
    assert parse_order(stable.canonical()) == stable


# Settings, and their journal.


@pytest.fixture
def board(tmp_path: Path) -> BoardTree:
    board = BoardTree(tmp_path / "root").calm()
    board.governor("schedutil", "performance schedutil", policy=4)
    return board


def governors(board: BoardTree) -> list[str]:
    return [board.get(f"{CPU}/cpufreq/policy{n}/scaling_governor") for n in (0, 4)]


def test_governors_are_set_and_set_back(board: BoardTree, tmp_path: Path) -> None:
    tuning = Tuning(tmp_path, board.root)
    assert tuning.apply() == {
        "governor": "performance",
        "governor_before": "powersave+schedutil",
        "not_set": [],
    }
    assert governors(board) == ["performance", "performance"]
    assert tuning.journal.exists()
    for _ in range(2):
        Tuning(tmp_path, board.root).undo()
        assert governors(board) == ["powersave", "schedutil"]
        assert not tuning.journal.exists()


def test_what_somebody_else_has_set_meanwhile_stays(board: BoardTree, tmp_path: Path) -> None:
    tuning = Tuning(tmp_path, board.root)
    tuning.apply()
    board.governor("userspace", policy=4)
    tuning.undo()
    assert governors(board) == ["powersave", "userspace"]


def test_after_a_restart_of_the_board_there_is_nothing_to_set_back(
    board: BoardTree, tmp_path: Path
) -> None:
    board.put("proc/sys/kernel/random/boot_id", "first")
    tuning = Tuning(tmp_path, board.root)
    tuning.apply()
    board.put("proc/sys/kernel/random/boot_id", "second")
    tuning.undo()
    assert governors(board) == ["performance", "performance"]
    assert not tuning.journal.exists()


def test_what_cannot_be_set_is_told(board: BoardTree, tmp_path: Path) -> None:
    board.governor("powersave", choices="powersave ondemand")
    told = Tuning(tmp_path, board.root).apply()
    assert told["governor"] == "performance"
    assert told["not_set"] == [
        f"governor: {CPU}/cpufreq/policy0/scaling_governor does not offer performance"
    ]
    bare = Tuning(tmp_path / "other", tmp_path / "nothing")
    assert bare.apply()["not_set"] == ["governor: the board has no cpufreq"]
    assert not bare.journal.exists()


DAMAGED = ["", "{", "[]", '{"boot": 1}', '{"boot": "", "settings": [{}]}', "[" * 100_000]


@pytest.mark.parametrize("text", DAMAGED, ids=lambda text: text[:20])
def test_a_damaged_journal_is_left_behind(board: BoardTree, tmp_path: Path, text: str) -> None:
    tuning = Tuning(tmp_path, board.root)
    tuning.journal.write_text(text)
    tuning.undo()
    assert governors(board) == ["powersave", "schedutil"]
    assert not tuning.journal.exists()


def test_settings_that_stay_are_tried_again(
    board: BoardTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuning = Tuning(tmp_path, board.root)
    tuning.apply()
    with monkeypatch.context() as patch:

        def refuse(self: Path, text: str) -> int:
            raise PermissionError(13, "Permission denied")

        patch.setattr(Path, "write_text", refuse)
        tuning.undo()
    assert tuning.journal.exists()
    tuning.undo()
    assert governors(board) == ["powersave", "schedutil"]


# The agent as a process.


@pytest.fixture
def tuned(agent: AgentProcess, board: BoardTree) -> AgentProcess:
    with (agent.home / "config.toml").open("a") as config:
        config.write(f'system_root = "{board.root}"\n')
    return agent


def stable_order(controller: FakeController, agent: AgentProcess) -> Order:
    lock = replace(
        make_lock(controller, GATED),
        job={"benchmark": {"condition": {"start_temperature_c": 60}}},
    )
    order = make_order(controller, lock, gate=str(agent.gates / "gate"), threads=1)
    return replace(order, stable=True)


async def running(controller: FakeController, board: BoardTree, agent: AgentProcess) -> None:
    """Wait until the job runs under its settings."""
    for _ in range(600):
        begun = list(agent.home.glob("attempts/*/started.json"))
        if begun and governors(board) == ["performance", "performance"]:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the job did not begin")
