"""What the board's files say of its condition: every source, by itself and changing."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetmark_agent.runner.telemetry.device_condition import Condition
from tests.support.board_tree import BoardTree
from tests.unit.agent import test_device_condition as unit

# Fixtures of the unit tests.
board = unit.board


def test_the_program_of_a_raspberry_pi_is_asked_rarely(tmp_path: Path) -> None:
    board = BoardTree(tmp_path / "root")
    asked = tmp_path / "asked"
    program = board.put(
        "usr/bin/vcgencmd", f"#!/bin/sh\necho $1 >> {asked}\necho throttled=0x50005"
    )
    program.chmod(0o755)
    watched = Condition(board.root)
    assert [watched.sample().throttled for _ in range(5)] == [5] * 5
    assert asked.read_text() == "get_throttled\n"


@pytest.mark.parametrize("said", ["nonsense", "", "throttled=", "throttled=0xzz"])
def test_a_program_that_answers_nonsense(tmp_path: Path, said: str) -> None:
    board = BoardTree(tmp_path / "root")
    board.put("usr/bin/vcgencmd", f"#!/bin/sh\necho '{said}'\nexit 0").chmod(0o755)
    assert Condition(board.root).sample().throttled == 0
    board.put("usr/bin/vcgencmd", "#!/bin/sh\nexit 1").chmod(0o755)
    assert Condition(board.root).sample().throttled == 0
