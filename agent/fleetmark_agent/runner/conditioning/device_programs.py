"""Settings of a stable run that the vendor's programs change: power mode and clocks.

Each control plans a change, which the caller records durably, makes it, and reverses it. A program
gets no input, so that it cannot be given a confirmation: a power mode that wants a reboot is
refused. Each call has a time limit and a session of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fleetmark_agent.fingerprint import jetson
from fleetmark_agent.fingerprint.controls import JETSON_CLOCKS, NVIDIA_SMI, NVPMODEL, is_root
from fleetmark_agent.fingerprint.sysfs import printable
from fleetmark_core import subprocesses
from fleetmark_core.subprocesses import CompletedCommand

TIME_LIMIT_S = 30.0
"""`jetson_clocks` takes about two seconds on a Jetson Orin Nano."""
FULL_SPEED = "MAXN"
"""The power mode that is wanted by default; devices call theirs MAXN or MAXN_SUPER."""
STORED_CLOCKS = "jetson_clocks.conf"
_GPU = re.compile(r"GPU-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MOST_GPUS = 64
_NUMBER = re.compile(r"\d{1,6}")

Run = Callable[[Sequence[str], float], CompletedCommand]


class CannotSet(Exception):
    """The device has the setting, but it cannot be changed; the text says why."""


class NotOffered(Exception):
    """The device has the program, but not the value that is wanted; the text says why."""


@dataclass(frozen=True)
class ControlChange:
    """One change of a setting; `target` is the part of the device, if it has several."""

    control: str
    before: str
    set: str
    target: str = ""

    def as_document(self) -> dict[str, str]:
        """Return the change for the journal."""
        return asdict(self)

    @classmethod
    def parse(cls, document: Any) -> ControlChange:
        """Return the change of a journal.

        Raises:
            ValueError: the document is not one of a known control.
        """
        if not isinstance(document, dict):
            raise ValueError("not a table")
        names = ("control", "before", "set", "target")
        change = cls(*(str(document[name]) for name in names))
        control = CONTROLS.get(change.control)
        if control is None or not control.is_valid(change):
            raise ValueError(f"no such change: {change}")
        return change


class DeviceControl:
    """A setting of the device below `root`; `home` is the agent's folder for stored values."""

    name: str
    survives_boot = False
    """True if a restart of the device does not restore the setting."""

    def __init__(
        self,
        root: Path,
        home: Path,
        wanted_mode: str = FULL_SPEED,
        run: Run = subprocesses.run_tool,
    ) -> None:
        """Set the paths; no program is run yet."""
        self.root = root
        self.home = home
        self.wanted_mode = wanted_mode
        self._run = run

    @staticmethod
    def is_valid(change: ControlChange) -> bool:
        """Return whether a change from the journal may be reversed: its values become arguments."""
        raise NotImplementedError

    def plan(self) -> list[ControlChange]:
        """Return the changes to make; empty if the device has no such setting, or has it already.

        Raises:
            CannotSet: the agent lacks the rights, or the program fails.
            NotOffered: the device has no such value.
        """
        raise NotImplementedError

    def apply(self, change: ControlChange) -> None:
        """Make the change.

        Raises:
            CannotSet: the program refuses it or fails.
            NotOffered: this part of the device has no such setting.
        """
        raise NotImplementedError

    def undo(self, change: ControlChange) -> None:
        """Reverse the change, if no other program has changed the setting since.

        Raises:
            CannotSet: the program refuses it or fails.
        """
        raise NotImplementedError

    def shown(self, value: str) -> str:
        """Return a value as operators know it."""
        return value

    def _call(self, program: str, *arguments: str) -> CompletedCommand:
        return self._run([str(self.root / program), *arguments], TIME_LIMIT_S)


class PowerMode(DeviceControl):
    """The power mode of a Jetson, by `nvpmodel`."""

    name = "nvpmodel"
    survives_boot = True

    @staticmethod
    def is_valid(change: ControlChange) -> bool:
        """Return whether both modes are numbers."""
        values = (change.before, change.set)
        return not change.target and all(map(_NUMBER.fullmatch, values))

    def plan(self) -> list[ControlChange]:
        """Return the change to the wanted mode."""
        if not (self.root / NVPMODEL).is_file():
            return []
        modes = jetson.power_modes(self.root)
        wanted = _mode_named(modes, self.wanted_mode)
        if wanted is None:
            known = ", ".join(modes.values()) or "none in /etc/nvpmodel.conf"
            # A mode that an operator named is more than the default, which some devices lack.
            lack = NotOffered if self.wanted_mode == FULL_SPEED else CannotSet
            raise lack(f"the device has no power mode {self.wanted_mode} (modes: {known})")
        if (now := self._now()) == wanted:
            return []
        if now is None:
            raise CannotSet("the power mode that is set is unknown")
        if not is_root():
            raise CannotSet(f"the power mode may only be changed by root; it is {modes.get(now)}")
        return [ControlChange(self.name, str(now), str(wanted))]

    def apply(self, change: ControlChange) -> None:
        """Set the mode."""
        self._set(change.set)

    def undo(self, change: ControlChange) -> None:
        """Set the mode of before."""
        now = self._now()
        if now is None or str(now) == change.set:
            self._set(change.before)

    def shown(self, value: str) -> str:
        """Return the name of the mode."""
        return jetson.power_modes(self.root).get(int(value), value)

    def _set(self, mode: str) -> None:
        ran = self._call(NVPMODEL, "-m", mode)
        if "reboot" in f"{ran.output}\n{ran.errors}".lower():
            raise CannotSet(f"power mode {self.shown(mode)} wants a reboot of the device")
        if ran.fault:
            raise CannotSet(f"nvpmodel -m {mode}: {_why(ran)}")
        if self._now() != int(mode):
            raise CannotSet(f"nvpmodel -m {mode} did not change the power mode")

    def _now(self) -> int | None:
        mode = jetson.power_mode(self.root)
        if mode is None:
            # `nvpmodel -q` prints the name of the mode, and its number on the next line.
            lines = self._call(NVPMODEL, "-q").output.split()
            mode = int(lines[-1]) if lines and _NUMBER.fullmatch(lines[-1]) else None
        return mode


class JetsonClocks(DeviceControl):
    """All clocks of a Jetson at the highest values of its power mode, by `jetson_clocks`."""

    name = "jetson_clocks"

    @staticmethod
    def is_valid(change: ControlChange) -> bool:
        """Return whether the change is the only one that there is."""
        return (change.before, change.set, change.target) == ("stored", "highest", "")

    def plan(self) -> list[ControlChange]:
        """Return the change to the highest clocks."""
        if not (self.root / JETSON_CLOCKS).is_file():
            return []
        if not is_root():
            raise CannotSet("the clocks may only be changed by root")
        return [ControlChange(self.name, "stored", "highest")]

    def apply(self, change: ControlChange) -> None:
        """Store the clocks in the agent's home, then set the highest ones."""
        stored = self.home / STORED_CLOCKS
        fresh = stored.with_suffix(".new")
        for path in (stored, fresh):
            # The program asks before it replaces a file.
            path.unlink(missing_ok=True)
        ran = self._call(JETSON_CLOCKS, "--store", str(fresh))
        if ran.fault or not fresh.is_file() or not fresh.stat().st_size:
            raise CannotSet(f"jetson_clocks --store: {_why(ran)}")
        fresh.replace(stored)
        ran = self._call(JETSON_CLOCKS)
        if ran.fault:
            raise CannotSet(f"jetson_clocks: {_why(ran)}")

    def undo(self, change: ControlChange) -> None:
        """Restore the stored clocks. Without a file nothing was changed."""
        stored = self.home / STORED_CLOCKS
        if stored.is_file():
            ran = self._call(JETSON_CLOCKS, "--restore", str(stored))
            if ran.fault:
                raise CannotSet(f"jetson_clocks --restore: {_why(ran)}")
            stored.unlink(missing_ok=True)


class GpuClocks(DeviceControl):
    """The clock of each NVIDIA GPU locked at its highest value, by `nvidia-smi`."""

    name = "gpu_clocks"

    @staticmethod
    def is_valid(change: ControlChange) -> bool:
        """Return whether the change is of a GPU, in MHz."""
        return bool(_GPU.fullmatch(change.target) and _NUMBER.fullmatch(change.set))

    def plan(self) -> list[ControlChange]:
        """Return a change for each GPU. A Jetson's GPU has its clocks by `jetson_clocks`."""
        if not (self.root / NVIDIA_SMI).is_file() or jetson.is_jetson(self.root):
            return []
        query = ("--query-gpu=uuid,clocks.max.graphics", "--format=csv,noheader,nounits")
        ran = self._call(NVIDIA_SMI, *query)
        if ran.fault:
            raise NotOffered(f"nvidia-smi: {_why(ran)}")
        rows = [[word.strip() for word in row.split(",")] for row in ran.output.splitlines()]
        found = [
            ControlChange(self.name, "unlocked", row[1], row[0])
            for row in rows[:_MOST_GPUS]
            if len(row) == 2 and _GPU.fullmatch(row[0]) and _NUMBER.fullmatch(row[1])
        ]
        if not found:
            raise NotOffered("no GPU reports its highest clock")
        if not is_root():
            raise CannotSet("the clocks of GPUs may only be locked by root")
        return found

    def apply(self, change: ControlChange) -> None:
        """Lock the clock of the GPU."""
        ran = self._call(NVIDIA_SMI, "-i", change.target, "-lgc", f"{change.set},{change.set}")
        # A GPU that cannot do it is only a warning, with exit code 0.
        if "not supported" in f"{ran.output}\n{ran.errors}".lower():
            raise NotOffered(f"{change.target} does not support locked clocks")
        if ran.fault:
            raise CannotSet(f"nvidia-smi -lgc: {_why(ran)}")

    def undo(self, change: ControlChange) -> None:
        """Reset the clock of the GPU: the driver does not tell an earlier lock."""
        ran = self._call(NVIDIA_SMI, "-i", change.target, "-rgc")
        if ran.fault:
            raise CannotSet(f"nvidia-smi -rgc: {_why(ran)}")

    def shown(self, value: str) -> str:
        """Return the clock with its unit."""
        return f"{value} MHz" if value.isdecimal() else value


CONTROLS: dict[str, type[DeviceControl]] = {
    control.name: control for control in (PowerMode, JetsonClocks, GpuClocks)
}
"""All controls, in the order in which they are set: a power mode limits the clocks."""


def remove_stored_values(home: Path) -> None:
    """Remove values that were stored before a restart of the device, which restored them."""
    with suppress(OSError):
        (home / STORED_CLOCKS).unlink(missing_ok=True)


def _mode_named(modes: dict[int, str], name: str) -> int | None:
    exact = [number for number, shown in modes.items() if shown.lower() == name.lower()]
    near = [n for n, shown in modes.items() if name == FULL_SPEED and shown.startswith(FULL_SPEED)]
    return next(iter([*exact, *near]), None)


def _why(ran: CompletedCommand) -> str:
    """Return why a program failed, in one line."""
    rows = [*ran.errors.splitlines(), *ran.output.splitlines()]
    shown = next((line for row in rows if (line := printable(row))), None)
    return ": ".join(filter(None, (ran.fault or "it stored nothing", shown)))
