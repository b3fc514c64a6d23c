"""Machines of the tests' own: network namespaces with a cable (veth) between them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.support.processes import environment, until


class Machine:
    """One namespace; commands run in it until `end`."""

    def __init__(self, name: str, folder: Path) -> None:
        self.folder = folder / name
        self.folder.mkdir()
        # A process that does nothing keeps the namespace alive.
        self._keeper = subprocess.Popen(["unshare", "-n", "sleep", "600"])
        self._children = [self._keeper]
        self.pid = self._sleeper()
        self._enter = ["nsenter", "-t", str(self.pid), "-n"]

    def _sleeper(self) -> int:
        end = time.monotonic() + 10
        while time.monotonic() < end:
            try:
                family = [psutil.Process(self._keeper.pid)]
                family += family[0].children(recursive=True)
                for process in family:
                    if process.name() == "sleep":
                        return process.pid
            except psutil.Error:
                pass
            time.sleep(0.02)
        raise AssertionError("no namespace")

    def environment(self) -> dict[str, str]:
        return {
            **environment(),
            "XDG_DATA_HOME": str(self.folder / "data"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
        }

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._enter, *command],
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )

    def spawn(self, *command: str, on: int | None = None) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            child = subprocess.Popen(
                [*self._enter, *command],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log if on is None else on,
                stderr=log,
            )
        self._children.append(child)
        return child

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def end(self) -> None:
        for child in reversed(self._children):
            child.terminate()
        for child in self._children:
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


@contextmanager
def two_machines(
    folder: Path, desk_setup: Sequence[str], device_setup: Sequence[str], *, ipv6: bool = True
) -> Iterator[tuple[Machine, Machine]]:
    """Yield two machines on one cable, which end with the block.

    The setups are lines of `ip` commands, in which DEV is the machine's end of the cable.
    """
    if sys.platform != "linux":
        pytest.skip("network namespaces are Linux's")
    if os.geteuid() != 0:
        pytest.skip("a cable between two namespaces needs root")
    try:
        refused = subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs unshare")
    if refused.returncode:
        pytest.skip("this machine makes no network namespaces")
    desk, device = Machine("desk", folder), Machine("device", folder)
    try:
        cable = f"fm{os.getpid() % 10000}"
        made = subprocess.run(
            [
                *("ip", "link", "add", f"{cable}a", "netns", str(desk.pid), "type", "veth"),
                *("peer", "name", f"{cable}b", "netns", str(device.pid)),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            pytest.skip(f"no cable between namespaces: {made.stderr.strip()}")
        ends = ((desk, f"{cable}a", desk_setup), (device, f"{cable}b", device_setup))
        for machine, end, setup in ends:
            if not ipv6:
                off = "for f in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 > $f; done"
                assert machine.run("sh", "-c", off).returncode == 0
            for line in ("link set lo up", "link set DEV up", *setup):
                done = machine.run("ip", *line.replace("DEV", end).split())
                assert done.returncode == 0, (line, done.stderr)
        for machine, _, _ in ends:
            until(lambda m=machine: not tentative(m), "the addresses", 30)  # type: ignore[misc]
        yield desk, device
    finally:
        print(*(machine.log() for machine in (desk, device) if (machine.folder / "log").exists()))
        desk.end()
        device.end()


def tentative(machine: Machine) -> str:
    """Return the addresses that the kernel still looks for on the network (RFC 4862, 5.4)."""
    return machine.run("ip", "-6", "address", "show", "tentative").stdout
