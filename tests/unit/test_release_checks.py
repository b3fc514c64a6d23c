"""What `make release` checks before it builds, and in the files that it built."""

from __future__ import annotations

import importlib.util
import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from fleetmark_agent import AGENT_VERSION
from fleetmark_controller import __version__
from fleetmark_core.version import VERSION
from tests.support import ROOT


def checks() -> Any:
    """Import deploy/release_checks.py, which is in no package."""
    specification = importlib.util.spec_from_file_location(
        "release_checks", ROOT / "deploy" / "release_checks.py"
    )
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


CHECKS = checks()
CHANGELOG = "# Changelog\n\n## Unreleased\n\n## 1.2.0 - 2026-01-31\n\n### Added\n\n- A.\n"


def test_agent_and_controller_have_one_version() -> None:
    assert AGENT_VERSION == __version__ == VERSION


def test_the_documents_of_this_checkout_name_its_version() -> None:
    assert CHECKS.readme_problems((ROOT / "README.md").read_text(), VERSION) == []
    assert f"\n## {VERSION}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("", "", None),
        ("## Unreleased\n", "", "no section"),
        ("## Unreleased\n", "## Unreleased\n\n- B.\n", "move the entries"),
        ("1.2.0 - 2026-01-31", "1.2.1 - 2026-01-31", "0 sections"),
        ("1.2.0 - 2026-01-31", "1.2.0 (unreleased)", "must have the form"),
        ("1.2.0 - 2026-01-31", "1.2.0 - 2026-02-31", "must have the form"),
        ("1.2.0 - 2026-01-31", "1.2.0", "must have the form"),
        ("### Added\n\n- A.\n", "", "is empty"),
        ("- A.\n", "- A.\n\n## 1.2.0 - 2026-01-30\n\n- A.\n", "2 sections"),
    ],
)
def test_the_changelog_must_have_a_dated_section(old: str, new: str, problem: str | None) -> None:
    found = CHECKS.changelog_problems(CHANGELOG.replace(old, new), "1.2.0")
    assert len(found) == (problem is not None)
    assert problem is None or problem in found[0]


def test_a_wheel_of_another_version_in_the_readme_is_a_problem() -> None:
    readme = "pip install './fleetmark-1.1.0-py3-none-any.whl[controller]'"
    assert CHECKS.readme_problems(readme, "1.1.0") == []
    assert "fleetmark-1.1.0-py3-none-any.whl" in CHECKS.readme_problems(readme, "1.2.0")[0]


METADATA = (
    "Metadata-Version: 2.4\nName: fleetmark\nVersion: 1.2.0\nRequires-Python: >=3.10\n"
    "Description-Content-Type: text/markdown\n\n# Fleetmark\n\n[a](https://host/a) [b](#b)\n"
)


def wheel(folder: Path, metadata: str) -> Path:
    path = folder / "fleetmark-1.2.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("fleetmark-1.2.0.dist-info/METADATA", metadata)
    return path


def sdist(folder: Path, metadata: str) -> Path:
    path = folder / "fleetmark-1.2.0.tar.gz"
    with tarfile.open(path, "w:gz") as file:
        member = tarfile.TarInfo("fleetmark-1.2.0/PKG-INFO")
        member.size = len(metadata)
        file.addfile(member, io.BytesIO(metadata.encode()))
    return path


@pytest.mark.parametrize("make", [wheel, sdist])
@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("", "", None),
        ("Version: 1.2.0", "Version: 1.3.0", "has version 1.3.0"),
        ("Version: 1.2.0", "Version: one", "one"),
        ("Name: fleetmark\n", "", "name"),
        (">=3.10", "3.10 or newer", "requires-python"),
        ("text/markdown", "text/plain", "no README in Markdown"),
        ("https://host/a", "docs/a.md", "docs/a.md leads nowhere"),
    ],
)
def test_the_metadata_of_a_distribution_must_be_valid(
    tmp_path: Path, make: Any, old: str, new: str, problem: str | None
) -> None:
    found = CHECKS.file_problems(make(tmp_path, METADATA.replace(old, new)), "1.2.0")
    assert bool(found) == (problem is not None)
    assert problem is None or problem in " ".join(found)


def test_a_wheel_without_metadata_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "fleetmark-1.2.0-py3-none-any.whl"
    zipfile.ZipFile(path, "w").close()
    assert CHECKS.file_problems(path, "1.2.0")
