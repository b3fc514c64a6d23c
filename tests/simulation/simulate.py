"""Deterministic simulation of the whole protocol: `simulate.py --seeds 1000 [--start N]`.

The real session, spool, ledger, operations, life cycle, presence, scheduler and store run in one
thread, on a simulated clock, network and disk. A seed decides every fault; a failing one replays
exactly: run it alone and its history is printed.
"""

from __future__ import annotations

import argparse
import logging
import os
import sqlite3
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from fleetmark_core.capabilities import Board as Product
from fleetmark_core.capabilities import Capabilities, Cpu, Memory, Os, Storage
from tests.simulation import invariants
from tests.simulation.clock_and_events import SimulationContext, Violation
from tests.simulation.controller import SimulatedController, empty_store
from tests.simulation.device import SimulatedDevice
from tests.simulation.network import Conditions, Network

FAULTY_S = 90.0
HEALING_S = 600.0
FACTS = Capabilities(
    Os("linux", "Debian", "12", "6.1"), "x86_64", Product(), Cpu(2, 2), Memory(1, 0), Storage(1, 1)
)


@dataclass
class Outcome:
    """How one seed ended; `violation` is empty if every invariant held."""

    seed: int
    violation: str
    history: list[str]
    steps: int
    runs: int


class Simulation:
    """The simulation of one seed."""

    def __init__(self, seed: int, empty: sqlite3.Connection) -> None:
        self.context = context = SimulationContext(seed)
        dice = context.random
        bad = dice.choice([0.0, 0.3, 1.0])
        self.network = Network(
            context,
            Conditions(
                slow_rate=0.05 * bad,
                cut_rate=0.02 * bad * dice.random(),
                lost_call_rate=0.2 * bad * dice.random(),
                repeated_call_rate=0.2 * bad * dice.random(),
            ),
        )
        self.controller = SimulatedController(context, empty, FACTS, 0.02 * bad * dice.random())
        self.devices = [
            SimulatedDevice(
                context,
                f"device-{number}",
                self.network,
                self.controller,
                FACTS,
                crash_rate=0.03 * bad * dice.random(),
                full_rate=0.05 * bad * dice.choice([0, dice.random()]),
            )
            for number in range(1, dice.randint(1, 3) + 1)
        ]
        self.bad = bad
        self.jobs = 0

    def run(self) -> Outcome:
        """Run the phases: faults, recovery, idle; check invariants at each step and at the end."""
        steps = 0
        try:
            self._begin()
            while self.context.now_s < 1000 + FAULTY_S and self.context.step():
                steps += 1
                invariants.always(self.controller, self.devices)
            self._heal()
            until = self.context.now_s + HEALING_S
            while self.context.now_s < until and self.context.step():
                steps += 1
                if steps % 200 == 0 and self._is_idle():
                    break
            invariants.after_recovery(self.controller, self.devices)
            violation = ""
        except Violation as found:
            violation = str(found)
        except Exception:
            violation = f"a fault of the program: {traceback.format_exc()}"
        runs = self.controller.connection.execute("SELECT count(*) FROM run").fetchone()[0]
        return Outcome(self.context.seed, violation, self.context.history, steps, runs)

    def _begin(self) -> None:
        dice, context = self.context.random, self.context
        self.controller.boot()
        while not self.controller.up:
            context.step()
        for device in self.devices:
            self.controller.register(device.name)
            context.after(dice.uniform(0, 2), device.boot)
        pinned = dice.random() < 0.5
        names = [device.name for device in self.devices]
        self.jobs = dice.randint(1, 5)
        while not self.controller.up:
            context.step()
        self.controller.submit(names, self.jobs, dice.randint(1, 4), pinned)
        for _ in range(int(dice.randint(0, 12) * self.bad)):
            context.after(dice.uniform(1, FAULTY_S), self._inject_fault)

    def _inject_fault(self) -> None:
        """Inject a fault that does not belong to a single operation."""
        if self.context.healed:
            return
        dice = self.context.random
        device = dice.choice(self.devices)
        kind = dice.choice(list(_STRIKES))
        self.context.note(f"fault: {kind} ({device.name})")
        _STRIKES[kind](self, device)

    def _heal(self) -> None:
        self.context.note("--- healed")
        self.context.healed = True
        self.controller.wall_offset_s = 0.0
        self.network.to_device_down.clear()
        self.network.to_controller_down.clear()
        for device in self.devices:
            device.disk.full = False
        self.controller.release_holds([device.name for device in self.devices])

    def _is_idle(self) -> bool:
        open_jobs = self.controller.connection.execute(
            "SELECT 1 FROM job"
            " WHERE state NOT IN ('SUCCEEDED', 'ESTIMATE', 'INVALID', 'FAILED', 'CANCELLED')"
            " UNION SELECT 1 FROM attempt WHERE final_seq NOT NULL AND verified = 0"
        ).fetchone()
        return open_jobs is None and all(
            device.session is not None and device.session.connected and not device.session.held
            for device in self.devices
        )

    # --- faults ---

    def kill_agent(self, device: SimulatedDevice) -> None:
        device.kill(power=False)

    def fail_power(self, device: SimulatedDevice) -> None:
        device.kill(power=True)

    def kill_controller(self, _: SimulatedDevice) -> None:
        self.controller.kill()

    def pause(self, device: SimulatedDevice) -> None:
        device.pause(self.context.random.uniform(1, 15))

    def partition(self, device: SimulatedDevice) -> None:
        dice = self.context.random
        ways = dice.choice([(True, True), (True, False), (False, True)])
        for down, chosen in zip(
            (self.network.to_controller_down, self.network.to_device_down), ways, strict=True
        ):
            if chosen:
                down.add(device.name)
                self.context.after(dice.uniform(1, 30), lambda d=down: d.discard(device.name))

    def fill_disk(self, device: SimulatedDevice) -> None:
        device.disk.full = True

        def free() -> None:
            device.disk.full = False

        self.context.after(self.context.random.uniform(1, 20), free)

    def step_clock(self, _: SimulatedDevice) -> None:
        self.controller.wall_offset_s += self.context.random.choice(
            [-1e6, -3600, -10, 10, 200, 1000]
        )

    def back_up(self, _: SimulatedDevice) -> None:
        self.controller.back_up()

    def restore(self, _: SimulatedDevice) -> None:
        if self.controller.has_backup:
            self.controller.restore()

    def cancel(self, _: SimulatedDevice) -> None:
        self.controller.cancel(f"job-{self.context.random.randint(1, self.jobs)}")

    def drain(self, device: SimulatedDevice) -> None:
        self.controller.drain(device.name)

    def pause_campaign(self, _: SimulatedDevice) -> None:
        self.controller.pause()

    def retry(self, _: SimulatedDevice) -> None:
        self.controller.retry(f"job-{self.context.random.randint(1, self.jobs)}")


_STRIKES = {
    "agent killed": Simulation.kill_agent,
    "power failure": Simulation.fail_power,
    "controller killed": Simulation.kill_controller,
    "agent paused": Simulation.pause,
    "partition": Simulation.partition,
    "disk full": Simulation.fill_disk,
    "clock step": Simulation.step_clock,
    "backup": Simulation.back_up,
    "restored backup": Simulation.restore,
    "cancel": Simulation.cancel,
    "drain": Simulation.drain,
    "paused campaign": Simulation.pause_campaign,
    "retry": Simulation.retry,
}

_EMPTY: sqlite3.Connection | None = None


def simulate(seed: int) -> Outcome:
    """Run one seed."""
    global _EMPTY  # noqa: PLW0603  (migrating once a process instead of once a seed)
    if _EMPTY is None:
        _EMPTY = empty_store()
    return Simulation(seed, _EMPTY).run()


def main() -> int:
    """Run many seeds; print the first failing one's history."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--start", type=int, default=0)
    given = parser.parse_args()
    logging.disable()  # the history says it all
    began = time.monotonic()
    steps = runs = 0
    failed: list[Outcome] = []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for outcome in pool.map(
            simulate, range(given.start, given.start + given.seeds), chunksize=16
        ):
            steps += outcome.steps
            runs += outcome.runs
            if outcome.violation:
                failed.append(outcome)
                print(f"seed {outcome.seed}: {outcome.violation.strip().splitlines()[-1]}")
    if failed:
        print("\n".join(failed[0].history[-200:]))
        print(f"\nseed {failed[0].seed}: {failed[0].violation}")
        print(f"Replay: make simulate SEEDS=1 SEED_START={failed[0].seed}")
    print(
        f"{given.seeds} seeds, {steps} steps, {runs} runs, {len(failed)} violations, "
        f"{time.monotonic() - began:.0f} s"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
