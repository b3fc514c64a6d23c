"""Checks of a release that need no build: release_checks.py VERSION, and of its files: … DIST...

Prints one line for each problem, and ends with exit code 1 if there are any.
"""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from datetime import date
from pathlib import Path

from packaging.metadata import ExceptionGroup, InvalidMetadata, Metadata

_SECTION = re.compile(r"^## (?P<title>.+)$", re.MULTILINE)


def changelog_problems(changelog: str, version: str) -> list[str]:
    """Return what is missing in CHANGELOG.md for the release of `version`."""
    parts = _SECTION.split(changelog)
    sections = dict(zip(parts[1::2], (text.strip() for text in parts[2::2]), strict=True))
    problems = []
    if "Unreleased" not in sections:
        problems.append('CHANGELOG.md: no section "Unreleased"; add an empty one')
    elif sections["Unreleased"]:
        problems.append(f'CHANGELOG.md: move the entries of "Unreleased" to {version}')
    titles = [title for title in sections if title.split(" ")[0] == version]
    if len(titles) != 1:
        return [*problems, f"CHANGELOG.md: {len(titles)} sections for {version}; there must be one"]
    if not _is_dated(titles[0], version):
        problems.append(
            f'CHANGELOG.md: "## {titles[0]}" must have the form "## {version} - YYYY-MM-DD"'
        )
    if not sections[titles[0]]:
        problems.append(f"CHANGELOG.md: the section of {version} is empty")
    return problems


def _is_dated(title: str, version: str) -> bool:
    found = re.fullmatch(re.escape(version) + r" - (\d{4}-\d\d-\d\d)", title)
    try:
        return found is not None and bool(date.fromisoformat(found[1]))
    except ValueError:
        return False


def readme_problems(readme: str, version: str) -> list[str]:
    """Return the wheels that README.md names and that are not of `version`."""
    return [
        f"README.md: {wheel} is not a file of version {version}"
        for wheel in re.findall(r"fleetmark-[^\s'\[]+?\.whl", readme)
        if not wheel.startswith(f"fleetmark-{version}-")
    ]


def file_problems(file: Path, version: str) -> list[str]:
    """Return what is wrong with the metadata of a wheel or an sdist."""
    try:
        metadata = Metadata.from_email(_metadata_of(file), validate=True)
    except ExceptionGroup as errors:
        return [f"{file.name}: {error}" for error in errors.exceptions]
    except (KeyError, InvalidMetadata) as error:
        return [f"{file.name}: {error}"]
    problems = []
    if str(metadata.version) != version:
        problems.append(f"{file.name}: has version {metadata.version}, expected {version}")
    if metadata.description_content_type != "text/markdown" or not metadata.description:
        problems.append(f"{file.name}: has no README in Markdown")
    relative = re.findall(r"\]\((?![a-z]+:|#)([^)]+)\)", metadata.description or "")
    problems += [f"{file.name}: {link} leads nowhere on a package index" for link in relative]
    return problems


def _metadata_of(file: Path) -> bytes:
    """Return the core metadata of a wheel or an sdist.

    Raises:
        KeyError: the file has none.
    """
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as wheel:
            names = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
            return wheel.read(names[0] if names else "METADATA")
    with tarfile.open(file) as sdist:
        member = sdist.extractfile(f"{file.name.removesuffix('.tar.gz')}/PKG-INFO")
        return member.read() if member else b""


def main(version: str, files: list[str]) -> int:
    """Print the problems of this checkout, or of `files`, and return the exit code."""
    root = Path(__file__).resolve().parents[1]
    if files:
        problems = [problem for file in files for problem in file_problems(Path(file), version)]
    else:
        problems = [
            *changelog_problems((root / "CHANGELOG.md").read_text(encoding="utf-8"), version),
            *readme_problems((root / "README.md").read_text(encoding="utf-8"), version),
        ]
    for problem in problems:
        print(f"release: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
