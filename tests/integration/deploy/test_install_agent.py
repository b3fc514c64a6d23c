"""install-agent.sh, really run: into scratch roots and into a user's home."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetmark_protos.token import EnrollmentToken
from tests.support.kits import DEPLOY, Installer, another_wheel, copy_kit, listing, wheel_of
from tests.support.noop_benchmark import NAME as TOY
from tests.support.noop_benchmark import make_catalog
from tests.support.processes import Fleet, environment, fleet_in, until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("deploy")]


@pytest.fixture(scope="module", params=[pytest.param("root", marks=pytest.mark.slow), "user"])
def installer(
    request: pytest.FixtureRequest, kit: Path, python: str, tmp_path_factory: pytest.TempPathFactory
) -> Installer:
    """An agent that is installed; the tests of this module build upon each other."""
    user = request.param == "user"
    if not user and os.geteuid() != 0:
        python = sys.executable
    made = Installer(kit, tmp_path_factory.mktemp("a device"), python, user=user)
    made.install("--controller", "127.0.0.1:20001", "--name", "bench-09", "--label", "site=lab 1")
    return made


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A real controller."""
    folder = tmp_path_factory.mktemp("fleet")
    with fleet_in(folder) as made:
        made.start_controller("--catalog", str(make_catalog(folder / "catalog")))
        yield made


def test_it_installs_what_the_unit_needs_with_the_right_modes(installer: Installer) -> None:
    assert installer.settings.read_text() == "FLEETMARK_CONTROLLER=127.0.0.1:20001\n"
    config = installer.home / "config.toml"
    assert config.read_text() == 'name = "bench-09"\n\n[labels]\nsite = "lab 1"\n'
    assert config.stat().st_mode & 0o777 == 0o600
    assert installer.home.stat().st_mode & 0o777 == 0o700
    # The agent's user passes through the folders above its home, and reads the programs.
    assert installer.home.parent.stat().st_mode & 0o777 == 0o755
    assert (installer.prefix / "current").resolve().stat().st_mode & 0o777 == 0o755
    if not installer.user:
        units = installer.place / "etc/systemd/system"
        assert [path.name for path in units.iterdir()] == ["fleetmark-agent.service"]
    assert not list(installer.prefix.glob("current/bin/pip*"))


def test_a_second_call_changes_nothing(installer: Installer) -> None:
    before = listing(installer.place)
    assert "is already installed" in installer.install()
    assert listing(installer.place) == before


def test_one_option_changes_and_the_others_stay(installer: Installer) -> None:
    config = installer.home / "config.toml"
    config.write_text("# mine\ncache_limit_bytes = 1000000000\n" + config.read_text())
    with installer.settings.open("a") as settings:
        settings.write("MINE=1\n")
    installer.install("--label", "rack=7")
    assert config.read_text() == (
        '# mine\ncache_limit_bytes = 1000000000\nname = "bench-09"\n\n'
        '[labels]\nsite = "lab 1"\nrack = "7"\n'
    )
    installer.install("--controller", "127.0.0.1:20002")
    assert installer.settings.read_text() == "MINE=1\nFLEETMARK_CONTROLLER=127.0.0.1:20002\n"


def test_the_installed_agent_does_a_job_and_an_upgrade_keeps_what_it_holds(
    installer: Installer, fleet: Fleet, tmp_path: Path
) -> None:
    name = "user" if installer.user else "root"
    installer.install("--name", name, "--controller", fleet.address)
    # Of its own: what the jobs of root's agent leave is not open to those of a user's.
    marks = fleet.marks / name
    marks.mkdir()
    marks.chmod(0o777)

    def start() -> None:
        settings = dict(line.split("=") for line in installer.settings.read_text().split())
        if not (installer.home / "identity" / "certificate.pem").exists():
            settings["FLEETMARK_TOKEN"] = fleet.token
        with (tmp_path / "agent.log").open("ab") as log:
            fleet.children[name] = subprocess.Popen(
                [
                    *(installer.prefix / "bin/agent", "start", "--home", installer.home),
                    *("--allow-folder", marks),
                ],
                env={**environment(), **settings},
                stdout=log,
                stderr=log,
            )
        until(lambda: fleet.presence(name) == "online", "the installed agent")

    def run_job() -> None:
        done = fleet.run(
            *("schedule", TOY, "--fleet", f"name={name}", "--param", f"marks={marks}", "--wait")
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "1 succeeded" in done.stdout

    ended = len(list(marks.glob("*.end")))
    start()
    run_job()
    refused = installer.run("--uninstall", "--purge")
    assert (refused.returncode, installer.home.is_dir()) == (4, True)
    assert "stop it first" in refused.stderr
    fleet.kill(name, signal.SIGTERM)

    # Results that wait for the controller, as an agent leaves them.
    waiting = installer.home / "spool" / "waiting"
    waiting.write_bytes(b"a record")
    before = listing(installer.home)
    newer = another_wheel(wheel_of(installer.kit), tmp_path / "newer", "0.2.1")
    installer.install("--wheel", str(newer))
    assert installer.version() == "0.2.1"
    assert listing(installer.home) == before
    waiting.unlink()
    start()
    run_job()
    fleet.kill(name, signal.SIGTERM)
    rows = json.loads(fleet.run("fleet", "list", "--json").stdout)
    assert [device["name"] for device in rows].count(name) == 1
    assert len(list(marks.glob("*.end"))) == ended + 2
    # The former version stays, to go back to; a third call that goes back to it builds nothing.
    assert len(list((installer.prefix / "environments").iterdir())) == 2
    assert "is already installed" in installer.install()
    assert installer.version() != "0.2.1"


def test_a_version_that_does_not_start_changes_nothing(
    installer: Installer, tmp_path: Path
) -> None:
    before, version = listing(installer.place), installer.version()
    broken = another_wheel(wheel_of(installer.kit), tmp_path, "0.1.2", broken=True)
    done = installer.run("--wheel", str(broken))
    assert done.returncode == 1
    assert "does not start; the previous installation is unchanged" in done.stderr
    assert (listing(installer.place), installer.version()) == (before, version)


@pytest.mark.slow
def test_a_wheel_that_is_not_the_locked_one_is_refused(
    installer: Installer, tmp_path: Path
) -> None:
    before = listing(installer.place)
    kit = copy_kit(installer.kit, tmp_path / "kit")
    (click,) = (kit / "wheels").glob("click-*.whl")
    another_wheel(click, tmp_path / "evil", click.name.split("-")[1]).replace(click)
    newer = another_wheel(wheel_of(kit), tmp_path / "newer", "0.1.3")
    wheel_of(kit).unlink()
    done = installer.run("--wheel", str(newer), script=kit / "install-agent.sh")
    assert done.returncode == 1
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr
    assert listing(installer.place) == before


@pytest.mark.parametrize(
    ("arguments", "code", "output"),
    [
        (["--name", "a b"], 2, "'a b' is not a name"),
        (["--label", "site"], 2, "'site' does not have the form key=value"),
        (["--label", "a=1\nb=2"], 2, "more than one line"),
        (["--controller", "device"], 2, "'device' is not HOST:PORT"),
        (["--controller"], 2, "--controller needs a value"),
        (["--colour"], 2, "unknown option --colour"),
        (["--purge"], 2, "--purge requires --uninstall"),
        (["--prefix", "/opt/a b"], 2, "--prefix may only contain"),
        (["--wheels", "/nonexistent"], 4, "no such folder: /nonexistent"),
        (["--wheel", "/nonexistent.whl"], 4, "no such file"),
        (["--python", "/bin/sh"], 4, "is not Python 3.10 or newer"),
        (["--token-file", "/nonexistent"], 4, "no token in /nonexistent"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_changed(
    installer: Installer, arguments: list[str], code: int, output: str
) -> None:
    before = listing(installer.place)
    done = installer.run(*arguments)
    assert output in done.stderr
    assert done.returncode == code
    assert listing(installer.place) == before


def test_a_token_goes_into_a_file_of_the_owner_alone_or_is_refused(installer: Installer) -> None:
    """Agents that know no tokens yet must not be given one: their unit would not start."""
    start = [str(installer.prefix / "bin/agent"), "start", "--help"]
    knows = (
        "--token-file" in subprocess.run(start, capture_output=True, text=True, check=True).stdout
    )
    text = EnrollmentToken("00" * 8, b"s" * 20, "11" * 32, "", 7118).text()
    done = installer.run("--token-file", "-", stdin=f"{text}\n")
    assert text not in done.stdout + done.stderr
    token = installer.home / "join-token"
    if knows:
        assert done.returncode == 0, done.stderr
        assert token.read_text() == f"{text}\n"
        assert token.stat().st_mode & 0o777 == 0o600
        options = "FLEETMARK_AGENT_OPTIONS=--token-file join-token"
        assert options in installer.settings.read_text().splitlines()
    else:
        assert done.returncode == 4
        assert "does not support enrollment tokens" in done.stderr
        assert not token.exists()


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "output"),
    [
        (["--name", "a b"], "", 2, "'a b' is not a name"),
        (["--label", "site"], "", 2, "'site' does not have the form key=value"),
        (["--controller", "fd00::1:7117"], "", 2, "is not HOST:PORT"),
        (["--token-file", "-"], "", 4, "no token in standard input"),
        (["--token-file", "-"], " \n\n", 4, "no token in standard input"),
        (["--token-file", "/dev/null"], "", 4, "no token in /dev/null"),
        (
            ["--token-file", "-"],
            "fleetmark1.abc\n",
            2,
            "the enrollment token is truncated or too long",
        ),
        (["--token-file", "-"], "hello\n", 2, "the text is not an enrollment token"),
    ],
)
def test_values_are_checked_before_anything_is_built(
    arguments: list[str], stdin: str, code: int, output: str, kit: Path, tmp_path: Path
) -> None:
    place = tmp_path / "device"
    place.mkdir()
    made = Installer(kit, place, sys.executable, user=True)
    done = made.run(*arguments, stdin=stdin)
    assert (done.returncode, output in done.stderr) == (code, True), done.stderr
    assert "creating the environment" not in done.stdout
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "output"),
    [
        ([], 2, "the first argument must be agent or controller"),
        (["controler", "/tmp/x"], 2, "unknown part 'controler'"),
        (["agent"], 2, "TARGET is missing"),
        (["agent", "/"], 1, "/ already exists"),
        (["agent", "/nonexistent/x", "nopython"], 2, "no such program: nopython"),
        (["agent", "/nonexistent/x", "sh", "/nonexistent"], 2, "no such folder: /nonexistent"),
        (["--help"], 0, "usage: from-checkout.sh agent|controller TARGET"),
    ],
)
def test_from_checkout_says_how_to_use_it(arguments: list[str], code: int, output: str) -> None:
    script = DEPLOY / "from-checkout.sh"
    done = subprocess.run(
        ["sh", str(script), *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, output in done.stdout + done.stderr) == (code, True), done.stderr


@pytest.mark.parametrize("name", ["make-environment.sh", "build-wheel.sh", "make-agent-kit.sh"])
def test_the_other_scripts_say_their_usage(name: str) -> None:
    done = subprocess.run(
        ["sh", str(DEPLOY / name)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr.startswith(f"usage: {name} ")) == (2, True), done.stderr


def test_dry_runs_say_what_they_would_do(
    installer: Installer, kit: Path, python: str, tmp_path: Path
) -> None:
    fresh = Installer(kit, tmp_path, python, user=installer.user)
    output = fresh.install("--dry-run", "--name", "x")
    assert "agent.env" in output
    assert output.rstrip().endswith("nothing was changed")
    assert list(tmp_path.iterdir()) == []
    before = listing(installer.place)
    assert "would: rm -rf" in installer.install("--uninstall", "--purge", "--dry-run")
    assert listing(installer.place) == before


def test_uninstalling_keeps_the_home_and_purging_leaves_nothing(installer: Installer) -> None:
    foreign = installer.place / ("bin" if installer.user else "opt/other")
    foreign.mkdir(parents=True)
    (foreign / "mine").touch()
    home = listing(installer.home)
    installer.install("--uninstall")
    assert not installer.prefix.exists()
    assert listing(installer.home) == home
    installer.install("--uninstall", "--purge")
    assert list(listing(installer.place)) == [str((foreign / "mine").relative_to(installer.place))]
    assert not [path for path in installer.place.rglob("*") if "fleetmark" in path.name]
    installer.install("--uninstall", "--purge")


@pytest.mark.slow
def test_a_foreign_program_named_agent_is_left_alone(
    kit: Path, python: str, tmp_path: Path
) -> None:
    made = Installer(kit, tmp_path, python, user=True)
    other = tmp_path / ".local/bin/agent"
    other.parent.mkdir(parents=True)
    other.write_text("#!/bin/sh\n")
    assert "is another program and is not changed" in made.install()
    words = [str(tmp_path / ".local/bin/fleetmark"), "agent", "--version"]
    assert subprocess.run(words, capture_output=True, check=True).stdout.startswith(
        b"fleetmark agent "
    )
    made.install("--uninstall", "--purge")
    assert other.read_text() == "#!/bin/sh\n"
    assert not (tmp_path / ".local/bin/fleetmark").exists()


@pytest.mark.skipif(shutil.which("setpriv") is None or os.geteuid() != 0, reason="needs root")
def test_who_is_not_root_is_reported_so(kit: Path, tmp_path: Path) -> None:
    script = tmp_path / "install-agent.sh"
    shutil.copy(kit / "install-agent.sh", script)
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh"],
        input=script.read_text(),
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    assert (done.returncode, done.stderr) == (
        4,
        "install-agent: not run by root: run it as root, or with --user\n",
    )
