"""`deploy/release.sh` in a clone of this repository."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fleetmark_core.version import VERSION
from tests.support import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def git(clone: Path, *words: str) -> str:
    identity = ("-c", "user.name=T", "-c", "user.email=t@example.com")
    done = subprocess.run(
        ["git", *identity, *words], cwd=clone, capture_output=True, text=True, check=True
    )
    return done.stdout


def release(clone: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "deploy/release.sh", *options, sys.executable],
        cwd=clone,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(clone.parent),
            **{f"GIT_{role}_NAME": "T" for role in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{role}_EMAIL": "t@example.com" for role in ("AUTHOR", "COMMITTER")},
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone whose changelog is ready for a release, whatever is in it now."""
    folder = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--no-tags", str(ROOT), str(folder)], check=True)
    (folder / "CHANGELOG.md").write_text(
        f"# Changelog\n\n## Unreleased\n\n## {VERSION} - 2026-01-31\n\n- A.\n"
    )
    git(folder, "commit", "--quiet", "--allow-empty", "--all", "--message", "release")
    return folder


def test_a_release_is_built_checked_and_tagged_once(clone: Path) -> None:
    tried = release(clone, "--dry-run")
    assert tried.returncode == 0, tried.stdout + tried.stderr
    assert git(clone, "tag") == ""
    files = {path.name: path.read_bytes() for path in (clone / "dist").iterdir()}
    assert set(files) == {
        f"fleetmark-{VERSION}.tar.gz",
        f"fleetmark-{VERSION}-py3-none-any.whl",
    }
    assert git(clone, "status", "--porcelain") == ""

    made = release(clone)
    assert made.returncode == 0, made.stdout + made.stderr
    assert git(clone, "cat-file", "-t", f"v{VERSION}") == "tag\n"
    # The same commit gives the same bytes.
    assert files == {path.name: path.read_bytes() for path in (clone / "dist").iterdir()}

    git(clone, "commit", "--quiet", "--allow-empty", "--message", "later")
    again = release(clone)
    assert again.returncode == 1
    assert f"tag v{VERSION} exists at another commit" in again.stderr


def test_a_checkout_that_is_not_ready_is_refused(clone: Path) -> None:
    (clone / "CHANGELOG.md").write_text("# Changelog\n")
    changed = release(clone, "--dry-run")
    assert changed.returncode == 1
    assert "the checkout has changes" in changed.stderr and "CHANGELOG.md" in changed.stderr
    git(clone, "commit", "--quiet", "--all", "--message", "no changelog")
    undated = release(clone)
    assert undated.returncode == 1
    assert f"0 sections for {VERSION}" in undated.stderr
    assert git(clone, "tag") == "" and not (clone / "dist").exists()
