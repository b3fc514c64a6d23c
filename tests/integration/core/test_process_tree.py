"""Processes below a process are found, and ended, whatever session they chose."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from fleetmark_core import process_tree

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")

# A child, and a grandchild in a session of its own; each says its number.
TREE = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"],
                         start_new_session=True)
print(os.getpid(), child.pid, flush=True)
time.sleep(600)
"""
REAPER = """
import os, sys
sys.path[:0] = sys.argv[1:]
from fleetmark_core import process_tree
process_tree.become_subreaper()
import subprocess
child = subprocess.Popen([sys.executable, "-c", {tree!r}], stdout=subprocess.PIPE)
pids = [int(word) for word in child.stdout.readline().split()]
assert sorted(process_tree.descendants(os.getpid())) == sorted(pids)
assert process_tree.children_of(os.getpid()) == [pids[0]]
process_tree.kill_group(pids[0]) if os.getpgid(pids[0]) == pids[0] else os.kill(pids[0], 9)
assert process_tree.kill_descendants()
assert not process_tree.kill_descendants()
print(*pids)
"""


def until(look: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not look():
        assert time.monotonic() < end
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_orphans_in_other_sessions_are_ended_too() -> None:
    folder = os.path.dirname(os.path.dirname(process_tree.__file__))
    done = subprocess.run(
        [sys.executable, "-c", REAPER.format(tree=TREE), folder],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 2
    until(lambda: all(is_gone(pid) for pid in pids))


def test_a_group_that_is_gone_is_no_error() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"], start_new_session=True)
    child.wait()
    process_tree.kill_group(child.pid)
    assert process_tree.descendants(child.pid) == []
