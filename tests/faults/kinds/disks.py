"""Disks that are full, that fail, and what a crash or a bad block leaves on them."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.harness import FaultyFleet, fault
from tests.support.processes import until

_BTREE_PAGES = (2, 5, 10, 13)
_PAGE_BYTES = 4096


@fault("torn tail of a spool", logged=r"spool truncated .* removed_bytes=\d+", devices=1, jobs=4)
def torn(fleet: FaultyFleet, chance: random.Random) -> None:
    """Damage the spool as a crash in a write does: half a frame more, or frames cut short."""
    device = fleet.devices["device1"]
    fleet.await_state("RUNNING")
    device.wire.cut()
    until(lambda: _attempt_states(device.home) == ["ended"], "a spooled result")
    fleet.kill("device1")
    (spool,) = (device.home / "spool").glob("*.spool")
    if chance.random() < 0.5:
        with spool.open("ab") as file:
            file.write(struct.pack("<II", 900, 12345) + chance.randbytes(chance.randrange(1, 800)))
    else:
        # The moment before the spool's fsync returned: the ledger does not call it ended yet.
        ledger = device.home / "ledger.json"
        ledger.write_text(ledger.read_text().replace('"ended"', '"accepted"'))
        os.truncate(spool, chance.randrange(1, spool.stat().st_size))
    device.wire.heal()
    fleet.restart("device1")


def _attempt_states(home: Path) -> list[str]:
    values = json.loads((home / "ledger.json").read_text())
    return [entry["standing"] for entry in values["attempts"]]


def mount_skip_reason() -> str:
    """Return why a small file system cannot be mounted here; empty if it can."""
    return "" if os.geteuid() == 0 and shutil.which("mount") else "needs root, for a small tmpfs"


def _small(fleet: FaultyFleet, folder: Path, size: str) -> None:
    kept = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    options = ["-o", f"size={size}", "tmpfs", str(folder)]
    subprocess.run(["mount", "-t", "tmpfs", *options], check=True)
    fleet.at_end.append(lambda: subprocess.run(["umount", "-l", str(folder)], check=False))
    for path, data in kept.items():
        path.write_bytes(data)


@contextmanager
def _filled(folder: Path) -> Iterator[None]:
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        size = 1024 * 1024
        while size:
            try:
                file.write(b"\1" * size)
            except OSError:
                size //= 2
    try:
        yield
    finally:
        filler.unlink()


def _small_agent(fleet: FaultyFleet) -> None:
    home = fleet.devices["device1"].home
    (home / "config.toml").write_text("min_free_bytes = 0\n")
    # More than a controller leaves free on any device: else it would plan without this one.
    _small(fleet, home, "128m")


@fault(
    "agent's disk full",
    logged=r"[Nn]o space|no room|cannot (be )?store",
    needs=mount_skip_reason,
    before=_small_agent,
    duration_s=1.0,
)
def agent_full(fleet: FaultyFleet, chance: random.Random) -> None:
    """Fill the disk of one device: it refuses jobs, which the other one runs."""
    time.sleep(chance.uniform(0, 2))
    with _filled(fleet.devices["device1"].home):
        time.sleep(chance.uniform(3, 5))


@fault(
    "controller's disk full",
    logged=r"[Nn]o space|no room|disk is full",
    needs=mount_skip_reason,
    before=lambda fleet: _small(fleet, fleet.home, "32m"),
    ballast_kib=256,
)
def controller_full(fleet: FaultyFleet, chance: random.Random) -> None:
    time.sleep(chance.uniform(0, 1.5))
    with _filled(fleet.home):
        time.sleep(chance.uniform(3, 5))


@fault("I/O errors of the agent's spool", logged=r"not stored|wait", devices=1, jobs=4)
def agent_io(fleet: FaultyFleet, chance: random.Random) -> None:
    """Replace the folder by a file, as after a broken mount."""
    spool = fleet.devices["device1"].home / "spool"
    fleet.await_runs(1)
    away = spool.rename(spool.with_name("away"))
    spool.touch()
    time.sleep(chance.uniform(2, 4))
    spool.unlink()
    away.rename(spool)


@fault(
    "I/O errors of the controller's store", logged=r"store failed|I/O error|disk", duration_s=0.8
)
def controller_io(fleet: FaultyFleet, chance: random.Random) -> None:
    """Fail writes beyond 64 KiB of a file: the store's log is longer, the text log is not."""
    time.sleep(chance.uniform(0, 1.5))
    pid = fleet.children["controller"].pid
    _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (64 * 1024, most))
    time.sleep(chance.uniform(2, 4))
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))


@fault("I/O errors of the controller's blobs", logged=r"results not uploaded .*job=", jobs=6)
def blobs_io(fleet: FaultyFleet, chance: random.Random) -> None:
    fleet.await_runs(1)
    blobs = fleet.home / "blobs"
    away = blobs.rename(fleet.home / "blobs.away")
    blobs.touch()
    time.sleep(chance.uniform(2, 4))
    blobs.unlink()
    away.rename(blobs)


@fault("corrupted page of the store", logged=r"cannot be used.*|malformed|damaged", duration_s=0.8)
def corrupted(fleet: FaultyFleet, chance: random.Random) -> None:
    """Damage the store: the controller reports it and does not start; then restore the copy."""
    fleet.await_runs(1)
    fleet.kill("controller", number=15)
    store = fleet.home / "results.db"
    data = store.read_bytes()
    pages = range(1, len(data) // _PAGE_BYTES)
    page = chance.choice([n for n in pages if data[n * _PAGE_BYTES] in _BTREE_PAGES])
    bad = bytearray(data)
    bad[page * _PAGE_BYTES : (page + 1) * _PAGE_BYTES] = chance.randbytes(_PAGE_BYTES)
    store.write_bytes(bad)
    child = fleet.spawn_controller()
    assert child.wait(30) == 4, f"exit code {child.returncode}"
    output = fleet.log("controller").strip().splitlines()[-1]
    assert str(store) in output, output
    store.write_bytes(data)
    fleet.restart("controller")
