"""A fleet with emulated arm64 devices: real agents in an aarch64 userland."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from fleetmark_controller.wheelbuild import toolchain
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.errors import FleetmarkError
from tests.arm64.userland import CACHE, Userland
from tests.support.processes import BIN, Fleet, environment, until

# An emulated agent needs seconds for what a device does in tens of milliseconds.
EMULATED_PATIENCE_S = 240.0
BUILDS = CACHE / "builds"


class EmulatedFleet(Fleet):
    """A fleet with devices in an aarch64 userland."""

    def __init__(self, folder: Path, userland: Userland) -> None:
        super().__init__(folder)
        self.userland = userland
        self.has_loadgen = False
        self.device_python = userland.install_agent(folder / "device")
        (self.home / "config.toml").write_text(
            "heartbeat_idle_s = 2.0\nheartbeat_running_s = 2.0\nlease_s = 60.0\n"
        )

    def start_device(self, name: str) -> None:
        """Start an emulated agent; it is online some time after this returns."""
        binaries = self.userland.folder / "root" / "usr" / "bin"
        command = [
            *(str(self.device_python), "-m", "fleetmark_agent.cli", "start"),
            *("--home", str(self.folder / name), "--controller", self.address, "--name", name),
        ]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.children[name] = subprocess.Popen(
                command,
                env={**environment(), "PATH": str(binaries), "FLEETMARK_TOKEN": self.token},
                stdout=log,
                stderr=log,
            )

    def wait_for(self, *names: str) -> None:
        """Wait until these agents are online."""
        for name in names:
            look = f"agent {name}: {self.folder / name}.log"
            until(lambda name=name: self.presence(name) == "online", look, EMULATED_PATIENCE_S)

    def long(self, *arguments: str, patience_s: float = 1800.0) -> subprocess.CompletedProcess[str]:
        """A command of `controller` that may build a wheel and measure on emulated devices."""
        return subprocess.run(
            [str(BIN / "controller"), *arguments],
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=patience_s,
        )

    # What a cross build gave is kept between runs, as the controller of a lab keeps it.

    def seed_builds(self) -> None:
        """Give the controller what an earlier run built; it looks at each request."""
        blobs = BlobFolder(self.home / "blobs")
        (self.home / "builds").mkdir(exist_ok=True)
        for record in sorted(BUILDS.glob(f"*-{toolchain.revision()}.json")):
            entry = json.loads(record.read_bytes())
            try:
                blobs.put_file(BUILDS / entry["sha256"], entry["sha256"], entry["size_bytes"])
            except (FleetmarkError, OSError):
                continue
            shutil.copy(record, self.home / "builds")
            self.has_loadgen |= entry["name"] == "mlcommons-loadgen"

    def keep_builds(self) -> None:
        """Keep what was built for the next run."""
        BUILDS.mkdir(parents=True, exist_ok=True)
        blobs = BlobFolder(self.home / "blobs")
        for record in sorted((self.home / "builds").glob("*.json")):
            sha256 = json.loads(record.read_bytes())["sha256"]
            for source, target in ((blobs.path(sha256), sha256), (record, record.name)):
                part = BUILDS / f"{target}.{os.getpid()}"
                shutil.copyfile(source, part)
                part.replace(BUILDS / target)
