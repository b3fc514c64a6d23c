"""Where no userland can be had, that is said, and nothing half-made is left."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from tests.arm64 import userland
from tests.arm64.userland import CannotBeMade


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(userland, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


def test_another_machine_is_reported(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(CannotBeMade, match="riscv64"):
        userland.userland()
    assert not cache.exists()


def test_a_machine_without_apt_is_reported(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setenv("PATH", str(cache))
    with pytest.raises(CannotBeMade, match="apt-get is not installed"):
        userland.userland()
    assert list(cache.iterdir()) == []


def test_sources_that_do_not_answer_are_reported(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    for name, script in (
        ("apt-get", "echo 'E: the network is down' >&2; exit 100"),
        ("dpkg-deb", "exit 2"),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(CannotBeMade, match="the network is down"):
        userland.userland()
    assert list(cache.iterdir()) == []
