"""The shared method prints a dataclass as its own would."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from fleetmark_agent.session import events, messages
from fleetmark_agent.session.messages import Progress
from fleetmark_agent.state.attempt_key import LocalAttemptKey
from fleetmark_core.shared_repr import SharedRepr


def test_it_prints_what_dataclasses_print() -> None:
    event = events.JobProgressed(LocalAttemptKey("j", 1), Progress("run", 1, 5))
    theirs = dataclass(frozen=True)(
        type("JobProgressed", (), {"__annotations__": {"key": object, "progress": object}})
    )
    assert repr(event) == repr(theirs(event.key, event.progress))


def test_a_field_that_is_not_shown_stays_hidden() -> None:
    @dataclass(frozen=True, repr=False)
    class Shown(SharedRepr):
        name: str
        secret: str = dataclasses.field(default="s", repr=False)

    assert repr(Shown("n")).endswith("Shown(name='n')")


def test_all_that_an_idle_agent_holds_shares_it() -> None:
    for module in (events, messages):
        classes = [c for c in vars(module).values() if dataclasses.is_dataclass(c)]
        own = [c for c in classes if getattr(c, "__module__", "") == module.__name__]
        assert own and all(issubclass(c, SharedRepr) for c in own)  # type: ignore[arg-type]
