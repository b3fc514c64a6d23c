"""A genuine aarch64 userland on an x86_64 machine, without root.

    python tests/arm64/userland.py      # makes it, and says where it is

Debian 12's arm64 packages are unpacked into a folder, the agent's dependencies are installed there
as aarch64 wheels from the project's own lock, and a static qemu-aarch64 of Debian 13 runs its
Python (Debian 12's qemu crashes ONNX Runtime and LiteRT). Packages come from the machine's own apt
sources and package index. The folder is named by the digest of what decides its content, and
appears whole or not at all; `digests.json` in it says what it was made from.

Inside, `root/usr/bin/python3.11` is a script that starts the
emulator with that script's own path, so that `sys.executable` and all child processes stay aarch64.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fleetmark_controller.artifacts.foreign_deb import ForeignDebian, unpack
from fleetmark_core.errors import FleetmarkError

PROJECT = Path(__file__).resolve().parents[2]
CACHE = PROJECT / ".cache" / "arm64"
FORMAT = 1
PYTHON = "3.11"
EMULATOR = ("trixie", "amd64", ("qemu-user",))
USERLAND = (
    "bookworm",
    "arm64",
    (
        *("libc6", "libgcc-s1", "libstdc++6", "zlib1g", "libexpat1", "libssl3", "libffi8"),
        *("libbz2-1.0", "liblzma5", "libsqlite3-0", "libuuid1", "libcrypt1"),
        *("python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib", "base-files"),
    ),
)
# 17 to 36 is what glibc 2.36 of Debian 12 can run.
PLATFORMS = ("manylinux2014", *(f"manylinux_2_{minor}" for minor in range(17, 37)))

_LAUNCHER = """\
#!/bin/sh
# Runs the aarch64 Python beside it; `-0` makes it think that this script is its own file.
here=$(/usr/bin/readlink -f "$0")
here=${here%/*}
exec "$here/../../../qemu-aarch64" -L "$here/../.." -0 "$0" "$here/python3.11.aarch64" "$@"
"""


class CannotBeMade(Exception):
    """Why there is no aarch64 userland on this machine."""


@dataclass(frozen=True)
class Userland:
    """One that is ready."""

    folder: Path

    @property
    def python(self) -> Path:
        """Python as the device's system has it."""
        return self.folder / "root" / "usr" / "bin" / "python3.11"

    @property
    def dependencies(self) -> Path:
        """The agent's dependencies as aarch64 wheels, unpacked."""
        return self.folder / "dependencies"

    def install_agent(self, folder: Path) -> Path:
        """This checkout, as its users install it, in a virtual environment; returns its Python."""
        _run(str(self.python), "-m", "venv", "--without-pip", str(folder))
        site = folder / "lib" / f"python{PYTHON}" / "site-packages"
        (site / "dependencies.pth").write_text(f"{self.dependencies}\n")
        _run(
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--no-build-isolation", "--no-index", "--target", str(site)),
            str(PROJECT),
        )
        return folder / "bin" / "python"


def userland() -> Userland:
    """The userland of this checkout, made now if it is not there.

    Raises:
        CannotBeMade: with the reason; the cache is as it was.
    """
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        what = f"{platform.system()} on {platform.machine()}"
        raise CannotBeMade(f"qemu-user comes from Debian's amd64 packages; this is {what}")
    lock = PROJECT / "deploy" / "locks" / "agent.txt"
    recipe = json.dumps([FORMAT, PYTHON, EMULATOR, USERLAND, PLATFORMS, _LAUNCHER])
    digest = hashlib.sha256(recipe.encode() + lock.read_bytes()).hexdigest()
    target = CACHE / digest[:16]
    if not target.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix="making-", dir=CACHE))
        try:
            _make(scratch, lock)
            _install_dependencies(Userland(scratch), lock)
            _prove(Userland(scratch))
            scratch.rename(target)
        except (FleetmarkError, OSError, subprocess.SubprocessError) as error:
            raise CannotBeMade(_reported(error)) from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return Userland(target)


def _reported(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        output = str(error.stderr or error.stdout or "").strip().splitlines()[-3:]
        return f"{Path(str(error.cmd[0])).name} failed: {' '.join(output)}"
    return str(error)


def _make(folder: Path, lock: Path) -> None:
    if shutil.disk_usage(folder).free < 1 << 30:
        raise CannotBeMade(f"{folder.parent} has less than 1 GiB free")
    made_from: dict[str, str] = {lock.name: hashlib.sha256(lock.read_bytes()).hexdigest()}
    with tempfile.TemporaryDirectory(prefix="fleetmark-apt-") as apt:
        for (release, arch, names), place in ((EMULATOR, "qemu"), (USERLAND, "root")):
            _print_step(f"fetching {len(names)} packages of Debian {release} for {arch}")
            source = ForeignDebian(release, arch, Path(apt) / release)
            for package in source.download(names):
                made_from[package.name] = hashlib.sha256(package.read_bytes()).hexdigest()
                unpack(package, folder / place)
    # Of the emulators of all architectures, 250 MB, one is wanted.
    shutil.move(folder / "qemu" / "usr" / "bin" / "qemu-aarch64", folder / "qemu-aarch64")
    shutil.rmtree(folder / "qemu")
    binaries = folder / "root" / "usr" / "bin"
    (binaries / "python3.11").rename(binaries / "python3.11.aarch64")
    (binaries / "python3.11").write_text(_LAUNCHER)
    (binaries / "python3.11").chmod(0o755)
    (binaries / "python3").symlink_to("python3.11")
    (folder / "digests.json").write_text(json.dumps(made_from, indent=1, sort_keys=True))


def _install_dependencies(made: Userland, lock: Path) -> None:
    _print_step("fetching the agent's dependencies as aarch64 wheels")
    _run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--only-binary=:all:", "--require-hashes", "--requirement", str(lock)),
        *(f"--platform={name}_aarch64" for name in PLATFORMS),
        *(f"--python-version={PYTHON}", f"--abi=cp{PYTHON.replace('.', '')}"),
        *("--implementation=cp", "--target", str(made.dependencies)),
    )


def _prove(made: Userland) -> None:
    question = (
        "import sys; sys.path.append(sys.argv[1]); import grpc, platform, psutil; "
        "print(platform.machine(), sys.executable)"
    )
    output = _run(str(made.python), "-I", "-c", question, str(made.dependencies)).split(maxsplit=1)
    if output != ["aarch64", str(made.python)]:
        raise CannotBeMade(f"the userland says that it is {output}")


def _run(*command: str) -> str:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, timeout=600
    )
    return done.stdout.strip()


def _print_step(text: str) -> None:
    print(f"» {text}", flush=True)


if __name__ == "__main__":
    try:
        print(userland().folder)
    except CannotBeMade as reason:
        sys.exit(f"There is no aarch64 userland: {reason}")
