"""A device's disk: durable data survives a power failure; of the rest, a random part.

Stands in for `fleetmark_agent.state.files.RealFiles`. Every operation is a point at which the agent
may be killed or the power may fail.
"""

from __future__ import annotations

import errno

from tests.simulation.clock_and_events import SimulationContext


class ProcessKilled(BaseException):
    """The process that used the disk was killed; not an Exception, so that no code handles it."""

    def __init__(self, power: bool) -> None:
        super().__init__("power failed" if power else "killed")
        self.power = power


class Disk:
    """Files by name, each with its visible and its durable content."""

    def __init__(self, context: SimulationContext, crash_rate: float, full_rate: float) -> None:
        self._context = context
        self._crash_rate = crash_rate
        self._full_rate = full_rate
        self.seen: dict[str, bytes] = {}
        self.durable: dict[str, bytes] = {}
        self.full = False

    def lose_power(self) -> None:
        """Discard data that is not durable; keep a random prefix of a lazy append."""
        left: dict[str, bytes] = {}
        for name, data in self.durable.items():
            tail = self.seen.get(name, data)
            if tail.startswith(data) and len(tail) > len(data):
                kept = self._context.random.randint(len(data), len(tail))
                left[name] = tail[:kept]
            else:
                left[name] = data
        self.seen, self.durable = dict(left), dict(left)

    # --- fleetmark_agent.state.files.Files ---

    def read(self, name: str) -> bytes | None:
        return self.seen.get(name)

    def write_atomic(self, name: str, data: bytes) -> None:
        self._room(name)
        self._maybe_kill()
        self.seen[name] = self.durable[name] = data
        self._maybe_kill()

    def append_sync(self, name: str, data: bytes) -> None:
        before = self.seen.get(name, b"")
        if self._no_room():
            part = self._context.random.randint(0, len(data))
            self.seen[name] = before + data[:part]
            raise OSError(errno.ENOSPC, "No space left on device", name)
        if self._is_killed():
            part = self._context.random.randint(0, len(data))
            self.seen[name] = before + data[:part]
            self.durable.setdefault(name, b"")
            raise self._killed()
        self.seen[name] = before + data
        self.durable[name] = self.seen[name]
        self._maybe_kill()

    def append_lazy(self, name: str, data: bytes) -> None:
        self._room(name)
        self.seen[name] = self.seen.get(name, b"") + data
        self._maybe_kill()

    def truncate(self, name: str, size_bytes: int) -> None:
        self.seen[name] = self.durable[name] = self.seen[name][:size_bytes]
        self._maybe_kill()

    def remove(self, name: str) -> None:
        self._maybe_kill()
        self.seen.pop(name, None)
        self.durable.pop(name, None)
        self._maybe_kill()

    def list(self, folder: str) -> list[str]:
        return sorted(
            name.removeprefix(f"{folder}/") for name in self.seen if name.startswith(f"{folder}/")
        )

    def size(self, name: str) -> int:
        return len(self.seen.get(name, b""))

    def free_bytes(self) -> int:
        return 0 if self.full else 1 << 40

    # --- faults ---

    def _no_room(self) -> bool:
        return self.full or self._context.chance(self._full_rate)

    def _room(self, name: str) -> None:
        if self._no_room():
            raise OSError(errno.ENOSPC, "No space left on device", name)

    def _is_killed(self) -> bool:
        return self._context.chance(self._crash_rate)

    def _killed(self) -> ProcessKilled:
        return ProcessKilled(power=self._context.random.random() < 0.3)

    def _maybe_kill(self) -> None:
        if self._is_killed():
            raise self._killed()
