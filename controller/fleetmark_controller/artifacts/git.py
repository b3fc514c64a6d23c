"""Fetch a catalog from a git repository at a pinned commit, as untrusted plain files.

git checks nothing out. Its archive of the commit is unpacked by Fleetmark's own code, so that no
links, hooks or submodules come with it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.safe_unpack import UnpackLimits, unpack

TIME_LIMIT_S = 300
LIMITS = UnpackLimits(total_bytes=2 << 30, entries=50_000)
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def is_commit(text: str) -> bool:
    """Return whether `text` is a full commit id; branches and tags may move to another commit."""
    return _COMMIT.fullmatch(text) is not None


def fetch_commit(address: str, commit: str, target: Path) -> None:
    """Fetch the files of a commit into the new folder `target`; on failure it does not exist.

    Raises:
        FleetmarkError: UNKNOWN_WORD: `commit` is not a full id of a commit, or `address` is not the
            address of a repository. ARTIFACT_UNAVAILABLE: no git, no such repository or commit.
            BAD_DOCUMENT: it contains other than plain files.
        OSError: the target cannot be written.
    """
    if not is_commit(commit):
        raise FleetmarkError(
            ErrorKind.UNKNOWN_WORD,
            f"{commit[:80]!r} is not a commit id; branches and tags can change",
            "--commit",
            "Give the full id, as printed by `git rev-parse HEAD`",
        )
    if address.startswith("-") or "::" in address:
        raise FleetmarkError(
            ErrorKind.UNKNOWN_WORD, f"{address[:80]!r} is not a valid repository address"
        )
    if shutil.which("git") is None:
        raise FleetmarkError(
            ErrorKind.ARTIFACT_UNAVAILABLE,
            "git is not installed on this machine",
            "",
            "Install git, or add the catalog as a folder",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fleetmark-git-", dir=target.parent) as scratch:
        repository, archive = Path(scratch) / "repository", Path(scratch) / "archive.tar"
        _git("init", "--quiet", "--bare", str(repository))
        here = ("-C", str(repository))
        try:
            _git(*here, "fetch", "--quiet", "--depth=1", "--no-tags", "--", address, commit)
        except FleetmarkError:
            # Some servers allow only branches and tags to be fetched.
            every = "+refs/*:refs/fetched/*"
            _git(*here, "fetch", "--quiet", "--no-tags", "--", address, every)
        kind = _git(*here, "cat-file", "-t", commit).strip()
        if kind != "commit":
            raise FleetmarkError(
                ErrorKind.UNKNOWN_WORD, f"{commit} is a {kind}, not a commit", address
            )
        _git(*here, "archive", "--format=tar", f"--output={archive}", commit)
        unpack(archive, target, LIMITS)


def _git(*arguments: str) -> str:
    # git must not prompt for input, and must not run helper programs for other protocols.
    environment = {
        **os.environ,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ALLOW_PROTOCOL": "https:ssh:file:git",
        "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
    }
    command = ["git", "-c", "core.hooksPath=/dev/null", "-c", "fetch.fsckObjects=true", *arguments]
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIME_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        what = f"git exceeded its time limit of {TIME_LIMIT_S} s"
        raise FleetmarkError(ErrorKind.ARTIFACT_UNAVAILABLE, what) from error
    if done.returncode != 0:
        output = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [
            "no reason given"
        ]
        raise FleetmarkError(ErrorKind.ARTIFACT_UNAVAILABLE, f"git failed: {output[0][:300]}")
    return done.stdout.decode(errors="replace")
