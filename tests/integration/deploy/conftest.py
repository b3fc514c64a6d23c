"""One kit for all tests of installing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.kits import make_kit, system_python


@pytest.fixture(scope="session")
def python() -> str:
    """A Python of the system."""
    found = system_python()
    if not found:
        pytest.skip("this system has no Python 3.10 or newer with venv outside of /root and /home")
    return found


@pytest.fixture(scope="session")
def kit(python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The device kit, unpacked."""
    return make_kit(tmp_path_factory.mktemp("kit"), python)
