"""Commands find each controller of this user that runs, however many started after it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_cli import paths
from fleetmark_controller.client import credentials
from fleetmark_controller.client.credentials import homes_here, kept_homes, note_home
from fleetmark_controller.home.endpoint import write_endpoint
from fleetmark_core.errors import ErrorKind, FleetmarkError


@given(st.lists(st.sampled_from("abcdefghijklmnopqrstuvwxyz")), st.sets(st.sampled_from("afkpuz")))
def test_a_controller_that_runs_is_never_dropped(homes: list[str], running: set[str]) -> None:
    kept = kept_homes(homes, running.__contains__)
    assert running & set(homes) <= set(kept)
    assert len(kept) == len(set(kept))
    assert len([home for home in kept if home not in running]) == min(8, len(set(homes) - running))
    assert kept == [home for home in dict.fromkeys(homes) if home in kept]


def test_a_running_controller_is_known_after_many_newer_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("FLEETMARK_CONTROLLER_HOME", raising=False)
    homes = [tmp_path / f"home-{number}" for number in range(30)]
    for number, home in enumerate(homes):
        home.mkdir()
        if number in (0, 3):  # this process stands for theirs
            write_endpoint(home, f"127.0.0.1:{number + 1}", "")
        note_home(home)
    known = list(homes_here())[1:]
    assert known == [*reversed(homes[22:]), homes[3], homes[0]]


def test_without_a_home_folder_nothing_is_noted_and_the_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "FLEETMARK_CONTROLLER_HOME"):
        monkeypatch.delenv(name, raising=False)

    def no_entry(uid: int) -> object:
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", no_entry)
    note_home(tmp_path)
    assert list(homes_here()) == []
    assert credentials.user_file() is None
    with pytest.raises(FleetmarkError, match="HOME is not set") as caught:
        paths.home_folder("controller", None)
    assert caught.value.kind is ErrorKind.CONFIGURATION
    assert paths.home_folder("controller", str(tmp_path)) == tmp_path
