"""Download exact wheels for foreign platforms, with pip as a child process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from fleetmark_catalog.resolve.result import WheelSource
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.plural import counted

TIME_LIMIT_S = 600
_PLATFORM = re.compile(r"^(manylinux_\d+_\d+|musllinux_\d+_\d+|manylinux\d+|linux)_")


def download_wheels(
    wheels: Sequence[WheelSource],
    blobs: BlobFolder,
    report_progress: Callable[[str], None],
    time_limit_s: float = TIME_LIMIT_S,
) -> None:
    """Download `wheels` into `blobs`, with calls of pip for each Python version and platform.

    pip gets the hashes, so that it accepts only these files. The blob folder verifies them again.

    Raises:
        FleetmarkError: ARTIFACT_UNAVAILABLE, with pip's errors.
    """
    groups: dict[tuple[str, str], list[WheelSource]] = {}
    for wheel in wheels:
        groups.setdefault((wheel.python_version, _machine(wheel.platforms)), []).append(wheel)
    for (python_version, _), group in sorted(groups.items()):
        platforms = sorted({platform for wheel in group for platform in wheel.platforms})
        wanted = [wheel for wheel in group if not blobs.has(wheel.sha256)]
        if not wanted:
            continue
        size_mb = sum(wheel.size_bytes for wheel in wanted) / 1e6
        report_progress(
            f"fetching {counted(len(wanted), 'wheel')}, {size_mb:.1f} MB,"
            f" for Python {python_version}"
        )
        with tempfile.TemporaryDirectory(prefix="fleetmark-wheels-") as scratch:
            for together in _split_conflicting(wanted):
                _pip_download(together, python_version, platforms, Path(scratch), time_limit_s)
            for wheel in wanted:
                file = Path(scratch) / wheel.filename
                if not file.is_file():
                    raise _unavailable_error(f"pip did not fetch {wheel.filename}")
                blobs.put_file(file, wheel.sha256, wheel.size_bytes)


def _split_conflicting(wheels: Sequence[WheelSource]) -> list[list[WheelSource]]:
    """Split `wheels` into the fewest lists without two versions of one distribution.

    pip resolves all its arguments as one environment, even with --no-deps, while a campaign may
    need several versions of a runtime.
    """
    lists: list[list[WheelSource]] = []
    seen: Counter[str] = Counter()
    for wheel in wheels:
        name = wheel.requirement.partition("==")[0]
        if seen[name] == len(lists):
            lists.append([])
        lists[seen[name]].append(wheel)
        seen[name] += 1
    return lists


def _machine(platforms: Sequence[str]) -> str:
    """Return the architecture in the first tag: `manylinux_2_28_x86_64` gives `x86_64`."""
    return _PLATFORM.sub("", platforms[0])


def _pip_download(
    wheels: Sequence[WheelSource],
    python_version: str,
    platforms: Sequence[str],
    folder: Path,
    time_limit_s: float,
) -> None:
    listing = folder / "requirements.txt"
    lines = [f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n" for wheel in wheels]
    listing.write_text("".join(lines))
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"),
        *("--only-binary=:all:", "--require-hashes", "--disable-pip-version-check"),
        *(f"--platform={platform}" for platform in platforms),
        *(f"--python-version={python_version}", "--implementation=cp"),
        *("--dest", str(folder), "--requirement", str(listing)),
    ]
    names = ", ".join(wheel.filename for wheel in wheels)
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=time_limit_s,
            check=False,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
    except subprocess.TimeoutExpired as error:
        raise _unavailable_error(
            f"pip exceeded its time limit of {time_limit_s:.0f} s while fetching {names}"
        ) from error
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        output = (
            " ".join(errors[-3:]) or done.stderr.strip()[-500:] or f"exit code {done.returncode}"
        )
        raise _unavailable_error(f"{names}: not in the mirror folder, and pip reported: {output}")


def _unavailable_error(what: str) -> FleetmarkError:
    return FleetmarkError(
        ErrorKind.ARTIFACT_UNAVAILABLE,
        what,
        "",
        "Check this machine's connection to its package index, or put the files, named by their "
        "sha256, into the mirror folder",
    )
