"""Kits that devices are installed from, and what an installation left where."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from tests.support import ROOT

DEPLOY = ROOT / "deploy"
_USABLE = "import ensurepip, sys; sys.exit(sys.version_info < (3, 10))"


def system_python() -> str:
    """Return a system Python for a unit: new enough, with venv; empty if there is none."""
    own = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    for found in (own, "/usr/bin/python3", "/usr/local/bin/python3"):
        if found.startswith(("/root/", "/home/")) or not Path(found).exists():
            continue
        if subprocess.run([found, "-I", "-c", _USABLE], check=False).returncode == 0:
            return os.path.realpath(found)
    return ""


def make_kit(folder: Path, python: str) -> Path:
    """Unpack the kit of `make agent-kit`, for this machine and `python` alone."""
    version = subprocess.run(
        [python, "-I", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    packed = folder / "kit.tar.gz"
    done = subprocess.run(
        ["sh", str(DEPLOY / "make-agent-kit.sh"), str(packed), platform.machine()],
        env={**os.environ, "PYTHON": sys.executable, "PYTHONS": version},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with tarfile.open(packed) as archive:
        archive.extractall(folder, filter="data")
    return folder / "fleetmark-agent-kit"


def wheel_of(kit: Path) -> Path:
    """Return Fleetmark's wheel in a kit."""
    (found,) = (kit / "wheels").glob("fleetmark-*.whl")
    return found


def another_wheel(wheel: Path, folder: Path, version: str, *, broken: bool = False) -> Path:
    """Return the same wheel as another version; the agent of a broken one ends at its start."""
    name, old, rest = wheel.name.split("-", 2)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}-{version}-{rest}"
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(target, "w") as made:
        for item in source.namelist():
            data = source.read(item)
            if item.endswith("/METADATA"):
                data = data.replace(f"Version: {old}\n".encode(), f"Version: {version}\n".encode())
            if item == "fleetmark_core/version.py":
                data = data.replace(f'"{old}"'.encode(), f'"{version}"'.encode())
            if item.endswith("/RECORD"):
                data = data.replace(f"-{old}.dist-info".encode(), f"-{version}.dist-info".encode())
            if broken and item == "fleetmark_agent/cli.py":
                data = b"raise SystemExit('broken')\n"
            made.writestr(item.replace(f"-{old}.dist-info", f"-{version}.dist-info"), data)
    return target


def listing(root: Path) -> dict[str, str]:
    """Return every file and link below `root`, with its mode and the digest of its content."""
    found = {}
    for path in sorted(root.rglob("*")):
        if "__pycache__" in path.parts or (path.is_dir() and not path.is_symlink()):
            continue
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        else:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[name] = f"{path.stat().st_mode & 0o777:o} {digest}"
    return found


class Installer:
    """install-agent.sh of a kit, run into a scratch root or for a user with a home of its own."""

    def __init__(self, kit: Path, place: Path, python: str, *, user: bool = False) -> None:
        self.kit = kit
        self.place = place
        self.user = user
        self.options = ["--python", python] if python else []
        # The system's programs alone: a developer's rustc, which pip asks for its version, would
        # write into the home.
        self.environment = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
        self.environment["HOME"] = str(place) if user else "/dev/null"
        # No index can be reached: what is installed comes from the kit.
        self.environment["PIP_INDEX_URL"] = "http://127.0.0.1:9/"

    def run(
        self, *arguments: str, stdin: str = "", script: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the installer."""
        mode = ["--user"] if self.user else ["--root", str(self.place)]
        options = [] if "--uninstall" in arguments else self.options
        return subprocess.run(
            ["sh", str(script or self.kit / "install-agent.sh"), *mode, *options, *arguments],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )

    def install(self, *arguments: str) -> str:
        """Run the installer, which must succeed; return its output."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    @property
    def prefix(self) -> Path:
        """Return the folder of the programs."""
        return self.place / (".local/lib/fleetmark" if self.user else "opt/fleetmark")

    @property
    def home(self) -> Path:
        """Return the agent's home."""
        where = ".local/share/fleetmark/agent" if self.user else "var/lib/fleetmark/agent"
        return self.place / where

    @property
    def settings(self) -> Path:
        """Return the unit's environment file."""
        return self.place / (".config/fleetmark" if self.user else "etc/fleetmark") / "agent.env"

    def version(self) -> str:
        """Return the version that the installed agent reports."""
        return subprocess.run(
            [str(self.prefix / "bin/agent"), "--version"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()[-1]


def copy_kit(kit: Path, target: Path) -> Path:
    """Copy a kit, to change it."""
    return Path(shutil.copytree(kit, target))


def copy_context(target: Path) -> None:
    """Copy what `COPY .` copies: .dockerignore names the included files."""
    lines = (ROOT / ".dockerignore").read_text().split("\n")
    wanted = [line[1:] for line in lines if line.startswith("!")]
    assert [line for line in lines if line and line[0] not in "#!"] == ["*", "**/__pycache__"]
    target.mkdir()
    for name in wanted:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target / name)
