"""Real builds: pinned compiler and backend from the package index, wheels that run."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from fleetmark_catalog.load import Build, Tool, WheelFile
from fleetmark_controller.wheelbuild import Builder, elf, toolchain
from fleetmark_controller.wheelbuild.subprocesses import BuildProcesses
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.errors import ErrorKind, FleetmarkError
from tests.support import ROOT
from tests.support.build_recipes import SETUPTOOLS, crcmod, tiny
from tests.support.processes import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ARCH = platform.machine()


class Workshop:
    """A builder, its blobs, and what it said."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir()
        self.blobs = BlobFolder(home / "blobs")
        self.builder = Builder(home, self.blobs)
        self.output: list[str] = []

    def build(self, *builds: Build, mirror: Path | None = None) -> list[WheelFile]:
        self.builder.build(builds, mirror, self.output.append)
        known = self.builder.known()
        return [known[build.key] for build in builds]

    def content(self, wheel: WheelFile) -> dict[str, bytes]:
        with zipfile.ZipFile(self.blobs.path(wheel.sha256)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    def is_empty(self) -> bool:
        return not list(self.blobs) and not list((self.home / "builds").iterdir())


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiler and setuptools, really installed, once."""
    folder = tmp_path_factory.mktemp("tools") / "tools"
    toolchain.install_tools((SETUPTOOLS,), folder, BuildProcesses())
    return folder


@pytest.fixture
def quick(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds take the tools that are there instead of unpacking 340 MB anew."""

    def link(_: Sequence[Tool], folder: Path, __: BuildProcesses) -> None:
        shutil.copytree(tools, folder, copy_function=os.link)

    monkeypatch.setattr(toolchain, "install_tools", link)


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "a home with spaces")


def test_the_same_recipe_gives_the_same_bytes_wherever_and_whenever_it_is_followed(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds = [tiny(tmp_path / "mirror", ARCH), tiny(tmp_path / "mirror", "aarch64"), crcmod(ARCH)]
    first = workshop.build(*builds, mirror=tmp_path / "mirror")
    # Another place, another time zone and umask; and what must not get into a build.
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    monkeypatch.setenv("CFLAGS", "-DINHERITED")
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    before = os.umask(0o077)
    try:
        other = Workshop(tmp_path / "elsewhere")
        second = other.build(*reversed(builds), mirror=tmp_path / "mirror")
    finally:
        os.umask(before)
    assert [wheel.sha256 for wheel in first] == [wheel.sha256 for wheel in reversed(second)]
    assert [wheel.filename for wheel in first] == [build.filename for build in builds]
    assert any("building tiny 1.0 for Python" in line for line in workshop.output)
    content = workshop.content(first[0])
    text = content["tiny_facts.py"].decode()
    assert "CFLAGS" not in text and "Auckland" not in text
    assert "2020-09-13" in text, "the build gets the time of its sources"
    for name, data in content.items():
        if name.endswith(".so"):
            assert str(tmp_path).encode() not in data, "a path of this machine is in the wheel"
    # Everything is there: nothing is built again, nothing is left.
    output = len(workshop.output)
    workshop.build(*builds)
    assert len(workshop.output) == output
    assert not list((workshop.home / "builds").glob("making-*"))


@pytest.mark.usefixtures("quick")
def test_what_was_built_runs_here(workshop: Workshop, tmp_path: Path) -> None:
    builds = [tiny(tmp_path / "mirror", ARCH), crcmod(ARCH)]
    site = tmp_path / "site"
    for wheel in workshop.build(*builds, mirror=tmp_path / "mirror"):
        named = tmp_path / wheel.filename
        named.write_bytes(workshop.blobs.path(wheel.sha256).read_bytes())
        # pip checks name, tags, metadata and every digest of the record.
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--quiet"),
                *("--target", str(site), str(named)),
            ],
            check=True,
        )
    question = (
        "import sys; sys.path.insert(0, sys.argv[1]); import tiny; "
        "from crcmod import predefined, _crcfunext; "
        "print(tiny.twice(21.0), predefined.mkCrcFun('crc-32')(b'123456789'))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", question, str(site)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["42.0", str(0xCBF43926)]


@pytest.mark.usefixtures("quick")
def test_a_foreign_wheel_is_what_its_name_says(workshop: Workshop, tmp_path: Path) -> None:
    [wheel] = workshop.build(tiny(tmp_path / "mirror", "aarch64"), mirror=tmp_path / "mirror")
    assert wheel.filename.endswith("manylinux_2_28_aarch64.whl")
    [library] = [d for n, d in workshop.content(wheel).items() if n.endswith(".so")]
    needs = elf.read_needs(library)
    assert needs.arch == "aarch64"
    assert elf.incompatibility(needs, "aarch64", "2.28") == ""
    assert "aarch64" in elf.incompatibility(needs, "x86_64", "2.28")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"tiny_c": "#error no such device\n"}, ["tiny 1.0", "no such device"]),
        ({"setup_py": "raise SystemExit('will not')\n"}, ["tiny 1.0", "will not"]),
        (
            {"setup_py": "from setuptools import setup\nsetup(name='other', version='2')\n"},
            ["other"],
        ),
        ({"pyproject_toml": "[build-system\n"}, ["pyproject.toml"]),
    ],
)
def test_a_build_that_fails_says_why_and_leaves_nothing(
    workshop: Workshop, tmp_path: Path, files: dict[str, str], words: list[str]
) -> None:
    build = tiny(tmp_path / "mirror", ARCH, **files)
    with pytest.raises(FleetmarkError) as caught:
        workshop.build(build, mirror=tmp_path / "mirror")
    assert caught.value.kind is ErrorKind.ARTIFACT_UNAVAILABLE
    for word in words:
        assert word in str(caught.value)
    assert workshop.is_empty()


def test_sources_and_tools_are_taken_by_their_digest_or_not_at_all(
    workshop: Workshop, tmp_path: Path
) -> None:
    right = crcmod(ARCH)
    wrong = dataclasses.replace(right, sdist=dataclasses.replace(right.sdist, sha256="0" * 64))
    with pytest.raises(FleetmarkError, match="crcmod"):
        workshop.build(wrong)
    tools = (dataclasses.replace(right.tools[0], sha256="1" * 64),)
    with pytest.raises(FleetmarkError, match="tools"):
        workshop.build(dataclasses.replace(right, tools=tools))
    assert workshop.is_empty()


SLOW = (
    "import time; time.monotonic; import os; open('begun', 'w').close(); os.system('sleep 600')\n"
)


@pytest.mark.usefixtures("quick")
def test_stopping_the_controller_ends_a_build_and_leaves_nothing(
    workshop: Workshop, tmp_path: Path
) -> None:
    build = tiny(tmp_path / "mirror", ARCH, setup_py=SLOW)
    caught: list[FleetmarkError] = []

    def work() -> None:
        try:
            workshop.build(build, mirror=tmp_path / "mirror")
        except FleetmarkError as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    until(lambda: list(workshop.home.glob("builds/making-*/*/source/*/begun")), "the build")
    workshop.builder.stop()
    thread.join(30)
    assert not thread.is_alive()
    assert "stopping" in str(caught[0])
    assert workshop.is_empty()


def test_a_killed_controller_takes_its_build_along_and_the_next_one_cleans_up(
    tmp_path: Path,
) -> None:
    build = tiny(tmp_path / "mirror", ARCH, setup_py=SLOW)
    home = tmp_path / "home"
    home.mkdir()
    script = tmp_path / "script.py"
    script.write_text(
        "import pathlib, sys\n"
        f"sys.path[:0] = {[str(ROOT)]!r}\n"
        "from fleetmark_core.blob_store import BlobFolder\n"
        "from fleetmark_catalog.load import Build, Sdist, Tool\n"
        "from fleetmark_controller.wheelbuild import Builder\n"
        f"home, mirror = pathlib.Path({str(home)!r}), pathlib.Path({str(tmp_path / 'mirror')!r})\n"
        f"Builder(home, BlobFolder(home / 'blobs')).build([{build!r}], mirror, print)\n"
    )
    controller = subprocess.Popen([sys.executable, str(script)])
    try:
        until(lambda: list(home.glob("builds/making-*/*/source/*/begun")), "the build")
    finally:
        controller.send_signal(signal.SIGKILL)
        controller.wait()
    until(lambda: not _processes_below(home), "the end of the build's processes", 20)
    Builder(home, BlobFolder(home / "blobs"))
    assert not list((home / "builds").iterdir())


def _processes_below(folder: Path) -> list[str]:
    found = []
    for place in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if os.readlink(place).startswith(str(folder)):
                found.append(place.parent.name)
        except OSError:
            continue
    return found


@pytest.mark.usefixtures("quick")
def test_two_who_ask_at_once_get_one_build(workshop: Workshop, tmp_path: Path) -> None:
    build = tiny(tmp_path / "mirror", ARCH)
    threads = [
        threading.Thread(
            target=workshop.build, args=(build,), kwargs={"mirror": tmp_path / "mirror"}
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(600)
    assert len([line for line in workshop.output if line.startswith("building")]) == 1
    assert build.key in workshop.builder.known()


@pytest.mark.usefixtures("quick")
def test_a_wheel_whose_blob_is_gone_is_not_known(workshop: Workshop, tmp_path: Path) -> None:
    build = tiny(tmp_path / "mirror", ARCH)
    [wheel] = workshop.build(build, mirror=tmp_path / "mirror")
    record = next((workshop.home / "builds").glob("*.json"))
    assert json.loads(record.read_text())["sdist_sha256"] == build.sdist.sha256
    workshop.blobs.remove(wheel.sha256)
    assert workshop.builder.known() == {}
    record.write_text("{")
    assert workshop.builder.known() == {}
    [again] = workshop.build(build, mirror=tmp_path / "mirror")
    assert again.sha256 == wheel.sha256
    assert time.time() > 1_600_000_000
