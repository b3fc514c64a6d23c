"""The environment of a trial: the wheels of a job on this machine, in a plain folder."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import psutil
from packaging import tags

from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.capabilities import (
    Board,
    Capabilities,
    Cpu,
    Interpreter,
    Memory,
    Os,
    Storage,
)
from fleetmark_core.lockfile import Environment
from fleetmark_core.sandbox.plan import base_python

_MAX_BYTES = 8 * 1024**3
_INSTALL_S = 600.0
_ARCHES: Mapping[str, str] = {"arm64": "aarch64", "amd64": "x86_64", "AMD64": "x86_64"}


class NotTriedError(Exception):
    """A trial is not possible; the text says why."""


def this_machine(folder: Path) -> Capabilities:
    """Return the capabilities of this machine, as far as they decide about wheels."""
    arch = _ARCHES.get(platform.machine(), platform.machine())
    libc, libc_version = platform.libc_ver()
    disk = shutil.disk_usage(folder)
    cores = os.cpu_count() or 1
    abis = dict.fromkeys(tag.abi for tag in tags.cpython_tags(platforms=["any"]))
    own = Interpreter(
        base_python(),
        platform.python_version(),
        sys.implementation.name,
        tuple(abi for abi in abis if abi not in ("abi3", "none")),
        tuple(tags.platform_tags()),
    )
    family = {"darwin": "macos"}.get(sys.platform, sys.platform)
    return Capabilities(
        os=Os(
            family,
            sysconfig.get_platform(),
            platform.release(),
            platform.release(),
            libc or None,
            libc_version or None,
        ),
        arch=arch,
        board=Board(),
        cpu=Cpu(cores, cores),
        memory=Memory(psutil.virtual_memory().total, 0),
        storage=Storage(disk.total, disk.free),
        interpreters=(own,) if sys.implementation.name == "cpython" else (),
        tags=(family, {"aarch64": "arm64"}.get(arch, arch)),
    )


def install(environment: Environment, blobs: BlobFolder, target: Path) -> None:
    """Install the wheels of an environment, which are stored, into a new folder.

    Raises:
        NotTriedError: a wheel cannot be installed.
        OSError: the disk cannot be written.
    """
    spec = target.with_name(f"{target.name}.json")
    spec.write_text(
        json.dumps(
            {
                "wheels": [
                    {"path": str(blobs.path(wheel.sha256)), "name": wheel.name}
                    for wheel in environment.wheels
                ],
                "target": str(target),
                "interpreter": base_python(),
                "max_bytes": _MAX_BYTES,
            }
        )
    )
    command = [sys.executable, "-I", "-m", "fleetmark_core.wheel_install", str(spec)]
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_INSTALL_S,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise NotTriedError(f"installing the runtime took more than {_INSTALL_S:.0f} s") from error
    finally:
        spec.unlink(missing_ok=True)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise NotTriedError(f"the runtime cannot be installed: {lines[-1][:300]}")
