"""Cables that are cut, that swallow one direction, that break in the middle of a transfer."""

from __future__ import annotations

import random
import subprocess
import time
from contextlib import ExitStack

from tests.faults.harness import AWAY, LEASE_S, FaultyFleet, fault
from tests.support.namespaces import namespace_skip_reason, own_namespace
from tests.support.processes import until
from tests.support.wire import DOWN, UP

_MIB = 1024 * 1024
_LOST = r"lease expired: no contact with the device"


@fault("link cut and healed", logged=AWAY)
def cut(fleet: FaultyFleet, chance: random.Random) -> None:
    time.sleep(chance.uniform(0, 1.5))
    fleet.devices["device1"].wire.cut()
    time.sleep(chance.uniform(0.2, 2.5))
    fleet.devices["device1"].wire.heal()


@fault("link cut for longer than the lease", logged=_LOST, duration_s=1.0)
def long_cut(fleet: FaultyFleet, chance: random.Random) -> None:
    name, *_ = fleet.await_state("RUNNING")
    time.sleep(chance.uniform(0, 0.5))
    fleet.devices[name].wire.cut()
    time.sleep(LEASE_S + chance.uniform(1, 3))
    fleet.devices[name].wire.heal()


@fault("link swallows everything", logged=_LOST, duration_s=1.0)
def black_hole(fleet: FaultyFleet, chance: random.Random) -> None:
    _hold(fleet, chance, UP, DOWN)


@fault("one-way link: the controller hears nothing", logged=_LOST, duration_s=1.0)
def controller_receives_nothing(fleet: FaultyFleet, chance: random.Random) -> None:
    _hold(fleet, chance, UP)


@fault(
    "one-way link: the agent hears nothing",
    logged=rf"silent for longer|{AWAY}",
    duration_s=1,
)
def agent_receives_nothing(fleet: FaultyFleet, chance: random.Random) -> None:
    _hold(fleet, chance, DOWN)


def _hold(fleet: FaultyFleet, chance: random.Random, *ways: str) -> None:
    name, *_ = fleet.await_state("RUNNING")
    time.sleep(chance.uniform(0, 0.5))
    fleet.devices[name].wire.hold(*ways)
    time.sleep(LEASE_S + chance.uniform(1.5, 4))
    fleet.devices[name].wire.heal()


@fault(
    "blob download cut ten times",
    logged=AWAY,
    devices=1,
    jobs=2,
    dataset_bytes=16 * _MIB,
)
def download(fleet: FaultyFleet, chance: random.Random) -> None:
    """Resume at the cut: hardly more bytes than the data set are transferred."""
    wire = fleet.devices["device1"].wire
    wire.cut_repeatedly(DOWN, _MIB + chance.randrange(_MIB // 4), 10)
    until(lambda: wire.cuts_made == 10, "ten cuts")
    fleet.over()
    until(fleet.ended, "the campaign's end")
    # What is on its way at a cut is lost; it is bounded by the windows of TCP and HTTP/2.
    assert wire.bytes[DOWN] < 2 * 16 * _MIB, f"{wire.bytes[DOWN] / _MIB:.0f} MiB were sent"


@fault(
    "result upload cut ten times",
    logged=rf"results not uploaded .*job=.* error=.*(the connection to .* was lost|{AWAY})",
    devices=1,
    jobs=2,
    ballast_kib=4 * 1024,
)
def upload(fleet: FaultyFleet, chance: random.Random) -> None:
    wire = fleet.devices["device1"].wire
    wire.cut_repeatedly(UP, _MIB + chance.randrange(_MIB // 2), 10)
    until(lambda: wire.cuts_made == 10 or fleet.ended(), "ten cuts", 90)


def _in_namespace(fleet: FaultyFleet) -> None:
    """Start the fleet in a network namespace; agents dial the controller without a wire."""
    stack = ExitStack()
    fleet.at_end.append(stack.close)
    fleet.prefix = list(stack.enter_context(own_namespace()).prefix)


@fault(
    "network interface down and up",
    logged=r"silent for longer|no contact",
    needs=namespace_skip_reason,
    before=_in_namespace,
    duration_s=1.0,
)
def interface(fleet: FaultyFleet, chance: random.Random) -> None:
    fleet.await_state("RUNNING")
    time.sleep(chance.uniform(0, 0.5))
    subprocess.run([*fleet.prefix, "ip", "link", "set", "lo", "down"], check=True)
    time.sleep(LEASE_S + chance.uniform(0.5, 3))
    subprocess.run([*fleet.prefix, "ip", "link", "set", "lo", "up"], check=True)
