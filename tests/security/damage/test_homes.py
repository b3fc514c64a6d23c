"""The table of damages: what a program reports about a home that was damaged.

Of each: it ends by itself, with a code that is no crash, in one line that names the file or folder;
or it starts. Never does a controller make a new CA beside its store, or a device a new id.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.security.damage import damages
from tests.security.damage.programs import Homes, last_line, start
from tests.support.processes import BIN, environment

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("damages")]


@dataclass(frozen=True)
class Damage:
    """What happened to a home, and what its program says: texts that must stand in the line."""

    what: str
    do: Callable[[Path], object]
    code: int
    says: tuple[str, ...]


def empty(name: str) -> Callable[[Path], object]:
    """Make a damage: the file is empty."""
    return lambda home: damages.truncate(home / name)


def half(name: str) -> Callable[[Path], object]:
    """Make a damage: the file is cut in half."""
    return lambda home: damages.halve(home / name)


def gone(name: str) -> Callable[[Path], object]:
    """Make a damage: the file or folder is removed."""
    return lambda home: damages.remove(home / name)


def folder(name: str) -> Callable[[Path], object]:
    """Make a damage: a folder stands in the file's place."""
    return lambda home: damages.replace_by_folder(home / name)


def fifo(name: str) -> Callable[[Path], object]:
    """Make a damage: a FIFO stands in the file's place."""
    return lambda home: damages.replace_by_fifo(home / name)


def text(name: str, written: str) -> Callable[[Path], object]:
    """Make a damage: the file has this content."""
    return lambda home: (home / name).write_text(written)


def both(*several: Callable[[Path], object]) -> Callable[[Path], object]:
    """Make several damages at once."""
    return lambda home: [damage(home) for damage in several]


def a_file(home: Path) -> None:
    """Make a damage: the home itself is a file."""
    shutil.rmtree(home)
    home.write_text("")


CONFIGURATION = "config.toml"
STORE = "results.db"
CONTROLLER = [
    Damage("the store is empty", empty(STORE), 4, (STORE, "empty", "backup")),
    Damage("the store is gone", gone(STORE), 4, (STORE, "missing", "backup")),
    Damage("the store is cut", half(STORE), 4, (STORE, "backup")),
    Damage("the store is no database", text(STORE, "hello" * 999), 4, (STORE, "backup")),
    Damage("the CA is gone", gone("identity/ca.pem"), 2, ("ca.pem", "missing", "backup")),
    Damage("identity/ is gone", gone("identity"), 2, ("ca.pem", "missing", "backup")),
    Damage(
        "CA and generation are gone",
        both(gone("identity/ca.pem"), gone("generation")),
        2,
        ("ca.pem", "missing", "backup"),
    ),
    Damage("the CA is empty", empty("identity/ca.pem"), 2, ("ca.pem", "damaged", "backup")),
    Damage("the CA is cut", half("identity/ca.pem"), 2, ("ca.pem", "damaged", "backup")),
    Damage("the CA is a folder", folder("identity/ca.pem"), 2, ("ca.pem", "directory")),
    Damage("the home is a file", a_file, 2, ("controller", "File exists", "--home")),
    Damage("the settings are a folder", folder(CONFIGURATION), 2, (CONFIGURATION, "directory")),
    Damage("the settings are a FIFO", fifo(CONFIGURATION), 2, (CONFIGURATION, "regular file")),
    Damage("a setting of 5,000 digits", text(CONFIGURATION, f"lease_s = {'9' * 5000}"), 2, ()),
    *(
        Damage(f"{line} in the settings", text(CONFIGURATION, line), 2, (line.split()[0], "config"))
        for line in (
            *(f"heartbeat_idle_s = {value}" for value in ("nan", "inf", "0", "-1", "1e300")),
            *(f"lease_s = {value}" for value in ("nan", "inf", "0", "-1")),
            *(f"certificate_life_s = {value}" for value in ("nan", "inf", "0", "-1")),
            *(f"release_life_s = {value}" for value in ("nan", "0")),
            *(f"credit_bytes = {value}" for value in ("0", "-1", "9223372036854775808")),
            *(f"device_bytes_per_day = {value}" for value in ("0", "-1")),
            *(f"refusals_per_minute = {value}" for value in ("0", "-1")),
            *(f"handshake_timeout_s = {value}" for value in ("nan", "inf", "0", "-1")),
            *(f"calls_per_device = {value}" for value in ("0", "-1")),
            *(f"calls_per_operator = {value}" for value in ("0", "-1")),
            *(f"entry_port = {value}" for value in ("-1", "65536")),
            *(f"ageing_s = {value}" for value in ("nan", "0")),
            *(f"cool_down_s = {value}" for value in ("nan", "-1")),
            *(f"health_check_retry_s = {value}" for value in ("nan", "0")),
            *(f"power_cycle_timeout_s = {value}" for value in ("inf", "0")),
            "quarantine_after = -1",
            "power_cycle = [1]",
            "lease_s = 10.0",  # shorter than the heartbeats are apart
        )
    ),
]  # fmt: skip
AGENT = [
    *(
        Damage(f"{name} is {how}", damage(f"identity/{name}"), 2, (name, says, "enrollment token"))
        for name in ("key.pem", "certificate.pem", "ca.pem")
        for how, damage, says in (
            ("empty", empty, "empty"),
            ("cut", half, "damaged"),
            ("a folder", folder, "directory"),
            ("a FIFO", fifo, "regular file"),
        )
    ),
    Damage("the id is gone", gone("identity/device.json"), 2, ("device.json", "missing")),
    Damage("the id is empty", empty("identity/device.json"), 2, ("device.json",)),
    Damage("the enrollment is empty", empty("identity/enrolment.json"), 2, ("enrolment.json",)),
    Damage("the home is a file", a_file, 4, ("agent", "--home")),
    Damage("the settings are a FIFO", fifo(CONFIGURATION), 2, (CONFIGURATION, "regular file")),
]


@pytest.mark.parametrize("damage", CONTROLLER, ids=lambda damage: damage.what)
def test_a_controller_says_what_is_wrong_with_its_home(damage: Damage, homes: Homes) -> None:
    """And leaves what is there as it is."""
    check("controller", homes.controller, damage)


@pytest.mark.parametrize("damage", AGENT, ids=lambda damage: damage.what)
def test_an_agent_says_what_is_wrong_with_its_home(damage: Damage, homes: Homes) -> None:
    """And leaves what is there as it is."""
    check("agent", homes.agent, damage)


def check(program: str, home: Path, damage: Damage) -> None:
    damage.do(home)
    before = identity(home)
    end = start(program, home)
    line = last_line(end, program)
    assert end.code == damage.code, end
    assert all(output in line for output in damage.says), line
    assert identity(home) == before


def identity(home: Path) -> dict[str, bytes | None]:
    """Return the content of files that must never be created again."""
    places = ("identity/ca.pem", "identity/key.pem", "identity/device.json", STORE)
    found: dict[str, bytes | None] = {}
    for name in places:
        path = home / name
        # The file of a store may change as it is opened; that there is none must not.
        found[name] = (b"" if name == STORE else path.read_bytes()) if path.is_file() else None
    return found


def test_sound_homes_serve(homes: Homes) -> None:
    """What the table's rows end differently from."""
    assert start("controller", homes.controller).code is None
    unanswered = start("agent", homes.agent)
    assert unanswered.code == 5, unanswered


def test_settings_can_be_checked_without_serving(homes: Homes) -> None:
    """`serve --check-config`, as a deployment does before it restarts a controller."""
    words = [str(BIN / "controller"), "serve", "--home", str(homes.controller), "--check-config"]
    done = subprocess.run(words, capture_output=True, text=True, env=environment(), check=False)
    assert (done.returncode, done.stderr) == (0, ""), done
    (homes.controller / CONFIGURATION).write_text("mirror = '/there/is/none'\n")
    done = subprocess.run(words, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 2
    assert "/there/is/none" in done.stderr
