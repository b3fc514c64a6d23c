"""The parts of a build that need no compiler: what a wheel must be, and where things come from."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from fleetmark_controller.wheelbuild import elf, headers
from fleetmark_core.errors import FleetmarkError
from tests.support.build_recipes import PYTHON
from tests.unit.controller.test_wheelbuild import ARCH


def test_the_reader_agrees_with_the_real_thing() -> None:
    library = next(
        Path(place)
        for place in sys.modules["_ssl"].__spec__.origin.splitlines()  # type: ignore[union-attr]
        if place.endswith(".so")
    )
    needs = elf.read_needs(library.read_bytes())
    assert needs.arch == ARCH
    assert "libc.so.6" in needs.libraries
    listed = shutil.which("objdump")
    if listed:
        output = subprocess.check_output([listed, "-p", str(library)], text=True)
        wanted = [
            line.split()[1] for line in output.splitlines() if line.strip().startswith("NEEDED")
        ]
        assert list(needs.libraries) == wanted


def test_headers_of_our_own_python_are_found(tmp_path: Path) -> None:
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        pytest.skip("this Python came without its headers")
    headers.collect_headers(PYTHON, "aarch64", tmp_path / "headers")
    assert (tmp_path / "headers" / "Python.h").is_file()
    # It must not lead to a file for this machine's architecture that others do not have.
    assert "SIZEOF_LONG" in (tmp_path / "headers" / "pyconfig.h").read_text()


def test_missing_headers_are_requested(tmp_path: Path) -> None:
    with pytest.raises(FleetmarkError) as caught:
        headers.collect_headers("3.77", "aarch64", tmp_path / "headers")
    assert "Python 3.77" in caught.value.what
    assert "python3.77-dev" in caught.value.next_step


@pytest.mark.slow
def test_headers_that_no_python_here_has_come_from_debian(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(headers, "_installed", lambda _: iter(()))
    headers.collect_headers("3.13", "aarch64", tmp_path / "headers")
    assert '"3.13.' in (tmp_path / "headers" / "patchlevel.h").read_text()
    assert "SIZEOF_LONG 8" in (tmp_path / "headers" / "pyconfig.h").read_text()
    assert not list(tmp_path.glob("headers-*"))
