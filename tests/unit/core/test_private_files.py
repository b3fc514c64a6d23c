"""Private files and homes are closed to other users."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.private_files import protect_files, protect_folders


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("wide", [0o644, 0o640, 0o604, 0o610, 0o777, 0o606])
def test_a_file_that_others_may_use_is_closed(wide: int, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("secret")
    path.chmod(wide)
    (line,) = protect_files([path, tmp_path / "absent"])
    assert str(path) in line
    assert f"mode {wide:04o}" in line
    assert mode(path) == 0o600
    assert protect_files([path]) == []
    assert path.read_text() == "secret"


@pytest.mark.parametrize("narrow", [0o600, 0o400, 0o700])
def test_a_file_of_its_owner_alone_stays_as_it_is(narrow: int, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.touch()
    path.chmod(narrow)
    assert protect_files([path]) == []
    assert mode(path) == narrow


@pytest.mark.parametrize(
    ("wide", "left"), [(0o777, 0o755), (0o775, 0o755), (0o702, 0o700), (0o1777, 0o1755)]
)
def test_a_folder_that_others_may_write_is_closed(wide: int, left: int, tmp_path: Path) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    folder.chmod(wide)
    (line,) = protect_folders([folder, tmp_path / "absent"])
    assert str(folder) in line
    assert mode(folder) == left
    assert protect_folders([folder]) == []


def test_a_mode_that_cannot_be_set_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key"
    path.touch()
    path.chmod(0o644)

    def refuse(self: Path, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted", str(self))

    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(FleetmarkError, match="Operation not permitted") as caught:
        protect_files([path])
    assert caught.value.kind is ErrorKind.CONFIGURATION
    assert str(path) in str(caught.value)
    assert "0600" in str(caught.value)
