"""Debian packages of a release or architecture other than this machine's, through its own apt.

Nothing on the machine changes and no root is needed: apt works in a private state folder. It uses
the package sources that the machine is configured for, with another release and architecture.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from fleetmark_core.errors import ErrorKind, FleetmarkError

TIME_LIMIT_S = 600
RELEASES = {"bullseye": 11, "bookworm": 12, "trixie": 13}
"""Names of Debian releases, with their version numbers."""
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class ForeignDebian:
    """Downloader of packages of one release and architecture of Debian."""

    def __init__(self, release: str, arch: str, folder: Path) -> None:
        """Use the named release, Debian's `arch` (`arm64`), and `folder` for apt's files."""
        self._release = release
        self._arch = arch
        self._folder = folder
        self._ready = False

    def download(self, packages: Sequence[str]) -> list[Path]:
        """Download the newest version of each package, verified by apt, and return the files.

        Raises:
            FleetmarkError: ARTIFACT_UNAVAILABLE, with apt's errors.
            OSError: the folder cannot be written.
        """
        self._prepare()
        target = self._folder / "packages"
        target.mkdir(exist_ok=True)
        self._apt("download", *(f"{name}:{self._arch}" for name in packages), folder=target)
        found = []
        for name in packages:
            files = [
                file for file in target.glob(f"{name}_*.deb") if file.stem.split("_")[0] == name
            ]
            if len(files) != 1:
                raise _unavailable_error(
                    f"apt fetched {len(files)} files of package {name} instead of 1"
                )
            found.append(files[0])
        return found

    def _prepare(self) -> None:
        if self._ready:
            return
        for tool in ("apt-get", "dpkg-deb"):
            if shutil.which(tool) is None:
                raise _unavailable_error(f"{tool} is not installed on this machine")
        for name in ("lists/partial", "cache/archives/partial"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        (self._folder / "status").touch()
        signed = f" signed-by={_KEYRING}" if _KEYRING.is_file() else ""
        (self._folder / "sources.list").write_text(
            "".join(
                f"deb [arch={self._arch}{signed}] {address} {self._release} main\n"
                for address in archives(self._run(["apt-get", "indextargets", *_LISTING]))
            ),
            encoding="utf-8",
        )
        self._apt("update", "--error-on=any")
        self._ready = True

    def _apt(self, *arguments: str, folder: Path | None = None) -> None:
        own = self._folder
        options = {
            "Dir::State": own,
            "Dir::State::status": own / "status",
            "Dir::State::lists": own / "lists",
            "Dir::Cache": own / "cache",
            "Dir::Etc::sourcelist": own / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::Etc::preferences": "-",
            "Dir::Etc::preferencesparts": "-",
            "APT::Architecture": self._arch,
            "APT::Architectures": self._arch,
            # As root, apt would switch to another user, who cannot write to this folder.
            "APT::Sandbox::User": "root",
        }
        command = ["apt-get", "--quiet", *(f"-o{key}={value}" for key, value in options.items())]
        self._run([*command, *arguments], folder)

    def _run(self, command: list[str], folder: Path | None = None) -> str:
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=TIME_LIMIT_S,
                check=False,
                env={**os.environ, "LC_ALL": "C"},
            )
        except (subprocess.TimeoutExpired, OSError) as error:
            raise _unavailable_error(f"{command[0]}: {error}") from error
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if line.startswith("E:")]
            output = " ".join(lines[:3]) or done.stderr.strip()[-300:] or "no reason given"
            raise _unavailable_error(
                f"packages of {self._release} for {self._arch}: apt reported: {output}"
            )
        return done.stdout


_LISTING = ["--no-release-info", "--format", "$(CREATED_BY)|$(RELEASE)|$(COMPONENT)|$(REPO_URI)"]


def archives(listing: str) -> list[str]:
    """Return the addresses of the archives that hold whole releases.

    Args:
        listing: Output of `apt-get indextargets` in the format of `_LISTING`.

    Raises:
        FleetmarkError: ARTIFACT_UNAVAILABLE: the machine's sources contain no release of Debian.
    """
    found: dict[str, None] = {}
    for line in listing.splitlines():
        created, release, component, address = (line.split("|") + [""] * 4)[:4]
        # Archives such as `bookworm-security` hold updates only.
        if created == "Packages" and component == "main" and release in RELEASES:
            found[re.sub(r"/+$", "/", address)] = None
    if not found:
        raise _unavailable_error(
            f"this machine's package sources name no known Debian release ({', '.join(RELEASES)})"
        )
    return list(found)


def unpack(package: Path, folder: Path) -> None:
    """Extract the files of a package below `folder`.

    Raises:
        FleetmarkError: ARTIFACT_UNAVAILABLE.
    """
    done = subprocess.run(
        ["dpkg-deb", "-x", str(package), str(folder)],
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_S,
        check=False,
    )
    if done.returncode != 0:
        raise _unavailable_error(f"{package.name}: {done.stderr.strip()[-300:]}")


def _unavailable_error(what: str) -> FleetmarkError:
    return FleetmarkError(
        ErrorKind.ARTIFACT_UNAVAILABLE,
        what,
        "",
        "Check this machine's connection to its Debian package sources",
    )
