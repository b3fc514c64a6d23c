"""Peers of the fleet bench: labgrid's coordinator and Flower, each in its own environment.

The environments are created once, from locked versions with hashes, in `.cache/bench`.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from fleet_children import Child, ClientProcesses, shares
from lab import free_port, until

HERE = Path(__file__).parent
CACHE = HERE.parent / ".cache" / "bench"
_PATIENCE_S = 120.0


def environment(name: str, print_step: Callable[[str], None]) -> Path:
    """Return the folder with the programs of a peer; install them if they are missing.

    Raises:
        subprocess.CalledProcessError: the installation failed.
    """
    lock = HERE / "locks" / f"{name}.txt"
    digest = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = CACHE / f"{name}-{digest}"
    if not (folder / "complete").exists():
        print_step(f"installing {name} into {folder.relative_to(HERE.parent)} (once)")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        options = ["--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:"]
        subprocess.run([*pip, *options, "-r", str(lock)], check=True, stderr=subprocess.DEVNULL)
        (folder / "complete").touch()
    return folder / "bin"


def labgrid_visible_s(programs: Path, count: int, processes: int, folder: Path) -> float:
    """Return the seconds until a labgrid client sees the resources of `count` exporters.

    labgrid has no TLS, so the connections are not encrypted.
    """
    folder.mkdir()
    address = f"127.0.0.1:{free_port()}"
    python, script = programs / "python", HERE / "peers" / "labgrid_clients.py"
    log = folder / "labgrid.log"
    with log.open("ab") as output:
        coordinator = subprocess.Popen(
            [str(programs / "labgrid-coordinator"), "--listen", address],
            cwd=folder,  # stores its places there
            stdout=output,
            stderr=output,
        )
    try:
        until(lambda: b"listening on" in log.read_bytes(), "labgrid's coordinator")
        parts = shares(count, processes)
        exporters = [
            Child([python, script, "exporters", address, sum(parts[:n]), part], folder / "e.log")
            for n, part in enumerate(parts)
        ]
        client = Child([python, script, "client", address, count], folder / "c.log")
        with ClientProcesses([*exporters, client]) as all_of_them:
            all_of_them.ready()
            began = time.monotonic()
            for child in exporters:
                child.send_line("go")
            seen = client.expect_number()
            return seen - began
    finally:
        coordinator.kill()
        coordinator.wait()


def flower_first_result_s(programs: Path, tries: int, folder: Path) -> list[float]:
    """Return the seconds from the start of `flwr run` until its one node has answered its message.

    Connections are not encrypted and the app's dependencies are not installed: only the round trip
    is measured.
    """
    folder.mkdir()
    address = f"127.0.0.1:{free_port()}"
    (folder / "config.toml").write_text(
        '[superlink]\ndefault = "bench"\n'
        f'[superlink.bench]\naddress = "{address}"\ninsecure = true\n'
    )
    own = {
        **os.environ,
        "HOME": str(folder),
        "FLWR_HOME": str(folder),
        "FLWR_TELEMETRY_ENABLED": "0",
        # Flower's programs start each other by name.
        "PATH": f"{programs}:{os.environ['PATH']}",
    }
    children: list[subprocess.Popen[bytes]] = []

    def start(name: str, *words: str) -> Path:
        log = folder / f"{name}.log"
        with log.open("ab") as output:
            child = subprocess.Popen(
                [str(programs / name), "--insecure", *words], env=own, stdout=output, stderr=output
            )
        children.append(child)
        return log

    host, _, port = address.partition(":")
    node_port = str(free_port())
    try:
        log = start(
            "flower-superlink",
            *("--disable-runtime-dependency-installation", "--host", host, "--port", port),
        )
        until(lambda: b"Uvicorn running" in log.read_bytes(), "Flower's SuperLink")
        node = start(
            "flower-supernode", "--superlink", address, "--host", host, "--port", node_port
        )
        until(lambda: b"SuperNode ID" in node.read_bytes(), "Flower's SuperNode")
        until(lambda: b"Starting Flower SuperExec" in node.read_bytes(), "Flower's SuperExec")
        found = []
        for number in range(tries):
            mark = folder / f"mark{number}"
            began = time.monotonic()
            words = ["run", str(HERE / "peers" / "noop_flower"), "bench", "--format", "json"]
            subprocess.run(
                [str(programs / "flwr"), *words, "--run-config", f'mark="{mark}"'],
                env=own,
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_PATIENCE_S,
            )
            until(mark.exists, "Flower's answer")
            found.append(float(mark.read_text()) - began)
        return found
    finally:
        for child in reversed(children):
            child.terminate()
        for child in children:
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
