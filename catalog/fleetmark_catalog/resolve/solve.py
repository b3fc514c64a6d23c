"""Chooses package versions and exact wheels for one interpreter. Pure and deterministic.

A depth-first search with backtracking over alternatives and versions in the order of preference:
package trees are small. Requirement, candidate and conflict are kept apart as a solver library
would want them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from fleetmark_catalog.core.capabilities import Interpreter
from fleetmark_catalog.core.platforms import wheel_rank
from fleetmark_catalog.load.catalog import Catalog
from fleetmark_catalog.load.model import Choice, Component, Requirement, WheelFile, WheelSet
from fleetmark_catalog.selectors import Subject, parse_selector


@dataclass(frozen=True)
class Need:
    """A requirement and who has it, as people would name him: `tflite-runtime 2.14.0`."""

    requirer: str
    requirement: Requirement


@dataclass(frozen=True)
class Chosen:
    """A package at one version, with the wheels that fit."""

    component: Component
    version: str
    wheels: WheelSet
    requirer: str
    role: str

    @property
    def label(self) -> str:
        """`numpy 2.2.6`."""
        return f"{self.component.name} {self.version}"


@dataclass
class Solver:
    """Solves package needs for one interpreter of one device, and collects why it could not."""

    catalog: Catalog
    interpreter: Interpreter
    subject: Subject
    reasons: dict[str, None] = field(default_factory=dict)

    def solve(self, needs: Sequence[Need]) -> tuple[Chosen, ...] | None:
        """The first choice that meets all needs, or None; then `reasons` says why not."""
        for chosen in self._extend(tuple(needs), {}):
            if self._agree(chosen):
                return tuple(chosen.values())
        # Every need by itself, so that a reader learns all obstacles and not just the first.
        for need in needs:
            next(self._extend((need,), {}), None)
        return None

    def _extend(
        self, needs: tuple[Need, ...], chosen: Mapping[str, Chosen]
    ) -> Iterator[dict[str, Chosen]]:
        if not needs:
            yield dict(chosen)
            return
        need, rest = needs[0], needs[1:]
        if not self._applies(need.requirement.when):
            yield from self._extend(rest, chosen)
            return
        for choice in need.requirement.choices:
            for candidate in self._candidates(need, choice, chosen):
                deeper = tuple(
                    Need(candidate.label, requirement)
                    for requirement in candidate.component.requires
                )
                name = candidate.component.name
                if name in chosen:
                    yield from self._extend(rest, chosen)
                else:
                    yield from self._extend(rest + deeper, {**chosen, name: candidate})

    def _candidates(
        self, need: Need, choice: Choice, chosen: Mapping[str, Chosen]
    ) -> Iterator[Chosen]:
        allowed = SpecifierSet(choice.version)
        earlier = chosen.get(choice.name)
        if earlier is not None:
            if Version(earlier.version) in allowed:
                yield earlier
            else:
                self._note(
                    f"{earlier.label}, chosen for {earlier.requirer}, is not "
                    f"{choice.name}{choice.version}, which {need.requirer} requires"
                )
            return
        component = self.catalog.get(choice.kind, choice.name)
        if not self._runs_on(component):
            return
        versions = [v for v in component.versions() if Version(v) in allowed]
        if not versions:
            self._note(
                f"{need.requirer} requires {choice.name}{choice.version}; "
                f"the catalog has {', '.join(component.versions())}"
            )
        for version in versions:
            wheels = self._fit(component, version)
            if wheels is not None:
                yield Chosen(component, version, wheels, need.requirer, need.requirement.role)

    def _fit(self, component: Component, version: str) -> WheelSet | None:
        minor = ".".join(self.interpreter.version.split(".")[:2])
        misfit: WheelFile | None = None
        for entry in component.wheels:
            if entry.version != version or entry.python != minor:
                continue
            bad = [w for w in entry.wheels if wheel_rank(w.filename, self.interpreter) is None]
            if not bad:
                return entry
            if bad[0] is not entry.wheels[0]:
                misfit = bad[0]
        what = f"{component.name} {version}"
        if misfit is not None:
            what = f"{misfit.name} {misfit.version}, which {what} needs,"
        self._note(f"{what} has no wheel for {describe(self.interpreter)}")
        return None

    def _agree(self, chosen: Mapping[str, Chosen]) -> bool:
        """Whether no two packages bring different versions of one distribution."""
        seen: dict[str, tuple[WheelFile, str]] = {}
        for entry in chosen.values():
            for wheel in entry.wheels.wheels:
                other, by = seen.setdefault(wheel.name, (wheel, entry.label))
                if other.version != wheel.version:
                    self._note(
                        f"{entry.label} brings {wheel.name} {wheel.version}, "
                        f"{by} brings {wheel.name} {other.version}"
                    )
                    return False
        return True

    def _applies(self, when: str) -> bool:
        return not when or parse_selector(when).explain(self.subject).matches

    def _runs_on(self, component: Component) -> bool:
        reason = unfit(component, self.subject)
        if reason:
            self._note(reason)
        return not reason

    def _note(self, reason: str) -> None:
        self.reasons.setdefault(reason)


def unfit(component: Component, subject: Subject) -> str:
    """Why the device does not meet the component's `device` condition; empty if it does."""
    if not component.device:
        return ""
    explanation = parse_selector(component.device).explain(subject)
    return (
        ""
        if explanation.matches
        else f"{component.id} needs {component.device}: {explanation.reason}"
    )


def describe(interpreter: Interpreter) -> str:
    """`cp314 manylinux_2_36_x86_64`: the best tags of an interpreter."""
    return " ".join([*interpreter.abis[:1], *interpreter.platforms[:1]])
