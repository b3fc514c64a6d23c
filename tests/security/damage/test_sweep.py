"""Every file of both homes, damaged in every way: the program serves, or says what is wrong.

It never hangs, crashes, shows a traceback, makes a new CA or serves an empty store.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import pytest

from tests.security.damage import sweep
from tests.security.damage.programs import Homes
from tests.security.damage.sweep import End

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(7200),
    pytest.mark.xdist_group("damages"),
]


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Homes:
    """Record homes of real programs."""
    return sweep.record(tmp_path_factory.mktemp("recorded") / "fleet")


def test_a_controller_starts_or_says_what_is_damaged(homes: Homes, tmp_path: Path) -> None:
    """Each file of its home, in each damage."""
    check(sweep.sweep(homes.controller, tmp_path, sweep.start_controller))


def test_an_agent_connects_or_says_what_is_damaged(homes: Homes, tmp_path: Path) -> None:
    """Each file of its home, in each damage."""
    with sweep.served(homes.controller, tmp_path) as address:
        check(sweep.sweep(homes.agent, tmp_path, partial(sweep.start_agent, address=address)))


def check(starts: Iterable[tuple[str, End]]) -> None:
    """Fail with all faults at once."""
    ends = dict(starts)
    faults = [
        f"{what}: {end.fault}: {end.output[-600:]}" for what, end in ends.items() if end.fault
    ]
    served = sum(end.code is None for end in ends.values())
    slowest = max(end.seconds for end in ends.values())
    print(f"{len(ends)} starts, {served} served, slowest {slowest:.1f} s")
    assert not faults, f"{len(faults)} of {len(ends)}:\n" + "\n".join(faults)
