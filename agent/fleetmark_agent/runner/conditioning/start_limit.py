"""Decision whether a run starts, if it must not start above a temperature. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class StartDecision(Enum):
    """Decision to wait, to start or to refuse the run."""

    WAIT = "wait"
    START = "start"
    TOO_HOT = "too hot"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class StartLimit:
    """The limit of a run: start below `below_c`, wait at most `wait_s` for it."""

    below_c: float
    wait_s: float

    def decide(self, waited_s: float, hottest_c: float | None) -> StartDecision:
        """Return what to do after `waited_s`, at the temperature of the hottest trusted sensor."""
        if hottest_c is None:
            return StartDecision.UNKNOWN
        if hottest_c < self.below_c:
            return StartDecision.START
        return StartDecision.WAIT if waited_s < self.wait_s else StartDecision.TOO_HOT

    def refusal(self, decision: StartDecision, waited_s: float, hottest_c: float | None) -> str:
        """Return why a run does not start."""
        if decision is StartDecision.UNKNOWN or hottest_c is None:
            return (
                f"it must start below {self.below_c:g} °C, but no trusted temperature sensor gives "
                "a reading"
            )
        return (
            f"it must start below {self.below_c:g} °C, but the hottest trusted sensor was at "
            f"{hottest_c:.1f} °C after {waited_s:.0f} s; start_wait_s in config.toml is the "
            "longest wait"
        )
