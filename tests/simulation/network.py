"""Streams and calls between devices and the controller.

A stream is ordered and loses nothing until it is cut; then what was under way is lost, and the
sides learn of the cut at different times. Calls are independent of the stream: they are delayed,
lost before or after they took effect, and repeated. A partition swallows one direction or both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.simulation.clock_and_events import World


@dataclass
class Conditions:
    """How bad a network is: seconds and probabilities."""

    delay_s: float = 0.02
    slow_rate: float = 0.0
    slow_s: float = 3.0
    cut_rate: float = 0.0
    lost_call_rate: float = 0.0
    repeated_call_rate: float = 0.0


class Network:
    """Delays, cuts and partitions."""

    def __init__(self, world: World, conditions: Conditions) -> None:
        self.world = world
        self.conditions = conditions
        self.to_controller_down: set[str] = set()
        self.to_device_down: set[str] = set()
        self.streams = 0

    def delay_s(self) -> float:
        """How long a message takes."""
        if self.world.chance(self.conditions.slow_rate):
            return self.world.random.uniform(0, self.conditions.slow_s)
        return self.world.random.uniform(0.001, self.conditions.delay_s)

    def call(
        self,
        device: str,
        request: Callable[[], Any],
        reply: Callable[[Any], None],
        fail: Callable[[], None],
    ) -> None:
        """A unary call: `request` runs at the controller, `reply` or `fail` at the device."""
        conditions = self.conditions
        lost_going = self.world.chance(conditions.lost_call_rate)
        lost_coming = self.world.chance(conditions.lost_call_rate)
        repeated = self.world.chance(conditions.repeated_call_rate)

        def arrive() -> None:
            if device in self.to_controller_down or lost_going:
                self.world.after(2.0, fail)
                return
            answer = request()
            if answer is None or device in self.to_device_down or lost_coming:
                self.world.after(2.0, fail)
            else:
                self.world.after(self.delay_s(), lambda: reply(answer))

        self.world.after(self.delay_s(), arrive)
        if repeated:
            self.world.after(self.delay_s() + 0.5, lambda: self._again(device, request))

    def _again(self, device: str, request: Callable[[], Any]) -> None:
        if device not in self.to_controller_down:
            request()


class Stream:
    """One device's stream: two ordered directions."""

    def __init__(self, network: Network, device: str) -> None:
        network.streams += 1
        self.number = network.streams
        self.network = network
        self.device = device
        self.cut = False
        self.on_controller: Callable[[Any], None] = lambda _: None
        self.on_device: Callable[[Any], None] = lambda _: None
        self.closed_at_controller: Callable[[], None] = lambda: None
        self.closed_at_device: Callable[[], None] = lambda: None
        self._free_at = {"up": 0.0, "down": 0.0}

    def up(self, message: Any) -> None:
        """From the device to the controller."""
        self._send("up", message)

    def down(self, message: Any) -> None:
        """From the controller to the device."""
        self._send("down", message)

    def sever(self, notice_s: float = 3.0) -> None:
        """Cut it: each side learns of it at its own time, if it is still there."""
        if self.cut:
            return
        self.cut = True
        world = self.network.world
        world.after(world.random.uniform(0, notice_s), self.closed_at_device)
        world.after(world.random.uniform(0, notice_s), self.closed_at_controller)

    def _send(self, way: str, message: Any) -> None:
        world = self.network.world
        if self.cut:
            return
        if world.chance(self.network.conditions.cut_rate):
            world.note(f"network: stream {self.number} of {self.device} is cut")
            self.sever()
            return
        # Ordered: nothing overtakes what was sent before.
        arrival = max(world.now_s + self.network.delay_s(), self._free_at[way])
        self._free_at[way] = arrival
        world.after(arrival - world.now_s, lambda: self._arrive(way, message))

    def _arrive(self, way: str, message: Any) -> None:
        network = self.network
        down = network.to_controller_down if way == "up" else network.to_device_down
        if self.device in down:
            # Swallowed: the transport notices some time later that nothing is acknowledged.
            self.sever(8.0)
            return
        if self.cut and network.world.random.random() < 0.5:
            return  # what was under way when it was cut may still arrive
        (self.on_controller if way == "up" else self.on_device)(message)
