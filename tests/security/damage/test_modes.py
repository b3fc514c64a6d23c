"""Keys that others may read, and homes that they may write: warned of, and corrected."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.security.damage.programs import End, Homes, last_line, start
from tests.support.log_lines import parse_log

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("damages")]
NO_FLAGS = "" if os.geteuid() == 0 and shutil.which("chattr") else "needs root and chattr"

CONTROLLER = ("ca.pem", "orders.pem", "catalog-key.json", "admin.json")
Wide = tuple[str, str, int]
FILES: list[Wide] = [
    *(("controller", f"identity/{name}", 0o644) for name in CONTROLLER),
    ("controller", "identity/ca.pem", 0o640),
    ("controller", "identity/ca.pem", 0o602),
    ("agent", "identity/key.pem", 0o644),
    ("agent", "identity/key.pem", 0o660),
]
FOLDERS: list[Wide] = [
    ("controller", ".", 0o777),
    ("controller", "identity", 0o720),
    ("agent", ".", 0o702),
    ("agent", "identity", 0o770),
]


def mode(path: Path) -> int:
    """Return the permission bits of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def warnings(end: End) -> list[str]:
    """Return the warnings of a program's log that tell of modes."""
    return [
        line.fields["reason"]
        for line in parse_log(end.output)
        if (line.level, line.event) == ("warning", "access restricted")
    ]


def warned_of(program: str, home: Path, name: str, wide: int) -> str:
    """Start a program whose file or folder has this mode; return its one warning."""
    (home / name).chmod(wide)
    end = start(program, home)
    assert end.code in (None, 5), end
    (line,) = warnings(end)
    assert str(home / name) in line
    return line


@pytest.mark.parametrize(("program", "name", "wide"), FILES)
def test_a_key_that_others_may_use_is_reported_and_closed(
    program: str, name: str, wide: int, homes: Homes
) -> None:
    """And the program serves, with one line that names the file and both modes."""
    home: Path = getattr(homes, program)
    line = warned_of(program, home, name, wide)
    assert f"{wide:04o}" in line
    assert "0600" in line
    assert mode(home / name) == 0o600
    assert warnings(start(program, home)) == []


@pytest.mark.parametrize(("program", "name", "wide"), FOLDERS)
def test_a_home_that_others_may_write_is_reported_and_closed(
    program: str, name: str, wide: int, homes: Homes
) -> None:
    """What others may read of it stays as the operator set it."""
    home: Path = getattr(homes, program)
    warned_of(program, home, name, wide)
    assert mode(home / name) == wide & ~0o022


@pytest.fixture
def fixed() -> Iterator[Callable[[Path], None]]:
    """Make files immutable until the end of the test, so that their mode cannot be set."""
    paths: list[Path] = []

    def fix(path: Path) -> None:
        done = subprocess.run(["chattr", "+i", str(path)], capture_output=True, check=False)
        if done.returncode:
            pytest.skip("the file system has no immutable files")
        paths.append(path)

    yield fix
    for path in paths:
        subprocess.run(["chattr", "-i", str(path)], check=True)


@pytest.mark.skipif(bool(NO_FLAGS), reason=NO_FLAGS)
@pytest.mark.parametrize(
    ("program", "name"), [("controller", "identity/ca.pem"), ("agent", "identity/key.pem")]
)
def test_a_key_that_cannot_be_closed_is_refused(
    program: str, name: str, homes: Homes, fixed: Callable[[Path], None]
) -> None:
    """In one line that names it and the mode that it should have."""
    path = getattr(homes, program) / name
    path.chmod(0o644)
    fixed(path)
    end = start(program, getattr(homes, program))
    assert end.code == 2, end
    line = last_line(end, program)
    assert str(path) in line
    assert "0600" in line
