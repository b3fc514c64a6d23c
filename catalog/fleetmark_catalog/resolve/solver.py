"""Chooses package versions, wheels and archives for one interpreter with resolvelib. Pure.

All inputs of the solver have a fixed order, so that the same request has the same result on every
host. A candidate is a package at a version with the wheels or the archive that fit, software that
the device has, or one alternative of a requirement.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from resolvelib import AbstractProvider, BaseReporter, ResolutionImpossible
from resolvelib.resolvers import Resolution, ResolutionTooDeep

from fleetmark_catalog.load.catalog import Catalog
from fleetmark_catalog.load.model import Choice, Component, Requirement, WheelSet
from fleetmark_catalog.resolve.archives import Archive, fit_archive, has_archives
from fleetmark_catalog.resolve.device import applies, detected, platform_misfit, unfit
from fleetmark_catalog.resolve.selection import with_tags
from fleetmark_catalog.resolve.wheel_match import describe, fit
from fleetmark_catalog.selectors import Subject
from fleetmark_core.capabilities import Interpreter
from fleetmark_core.versions import in_range

_MAX_ROUNDS = 20_000
_ALTERNATIVES = "alternatives"
_WHEEL = "wheel"
_FOLDER = "folder"
_BROUGHT = (_WHEEL, _FOLDER)
_ABSENT = "nothing"


@dataclass(frozen=True)
class PackageRequirement:
    """A requirement, and the label of the component that has it: `tflite-runtime 2.14.0`."""

    requirer: str
    requirement: Requirement


@dataclass(frozen=True)
class SolvedPackage:
    """A package at one version with the wheels or the archive that fit.

    Without either it is detected software, or a component that describes the device.
    """

    component: Component
    version: str
    wheels: WheelSet | None
    role: str
    requirers: tuple[str, ...] = ()
    archive: Archive | None = None

    @property
    def label(self) -> str:
        """Name and version, like `numpy 2.2.6`."""
        return f"{self.component.name} {self.version}"


@dataclass(frozen=True)
class _Requirement:
    """A requirement in resolvelib's terms: a condition on the candidate for `identity`."""

    identity: tuple[str, str]
    requirer: str
    role: str = ""
    choice: Choice | None = None
    choices: tuple[Choice, ...] = ()
    version: str = ""

    def __str__(self) -> str:
        if self.choice is not None:
            return f"{self.choice.name}{self.choice.version}"
        if self.choices:
            return " or ".join(f"{choice.name}{choice.version}" for choice in self.choices)
        if self.identity[0] == _FOLDER:
            return f"the folder {self.identity[1]}"
        return f"{self.identity[1]} {self.version}"


@dataclass(frozen=True)
class _Candidate:
    identity: tuple[str, str]
    label: str
    version: str
    chosen: SolvedPackage | None = None
    requests: tuple[_Requirement, ...] = ()


@dataclass
class Solver:
    """Solver of package needs for one interpreter of one device; collects reasons for failures."""

    catalog: Catalog
    interpreter: Interpreter
    subject: Subject
    reasons: dict[str, None] = field(default_factory=dict)
    _known: dict[tuple[str, str], list[_Candidate]] = field(default_factory=dict)

    def solve(self, needs: Sequence[PackageRequirement]) -> tuple[SolvedPackage, ...] | None:
        """Return the preferred choice that meets all needs, or None; then `reasons` says why."""
        requests = [request for need in needs for request in self._requests(need)]
        found = self._solve(requests)
        if found is not None:
            return found
        # Solve every need separately, so that `reasons` has all failures and not only the first
        # one.
        for request in requests if len(requests) > 1 else ():
            self._solve([request])
        return None

    def _solve(self, requests: Sequence[_Requirement]) -> tuple[SolvedPackage, ...] | None:
        # Not `Resolver`: it follows parents to the root without detecting cycles, and does not
        # terminate if backtracking left a cycle over.
        resolution: Resolution[_Requirement, _Candidate, tuple[str, str]] = Resolution(
            _Provider(self), BaseReporter()
        )
        try:
            mapping = resolution.resolve(requests, max_rounds=_MAX_ROUNDS).mapping
        except ResolutionImpossible as error:
            causes = [cause.requirement for cause in error.causes]
            for reason in _conflicts(causes):
                self._note(reason)
            if not self.reasons:
                self._note("; ".join(dict.fromkeys(f"{w.requirer} requires {w}" for w in causes)))
            return None
        except ResolutionTooDeep:
            self._note(f"no solution after {_MAX_ROUNDS} steps: too many combinations of versions")
            return None
        roles, requirers = _roles(requests, mapping)
        return tuple(
            replace(
                candidate.chosen,
                role=roles.get(identity, ""),
                requirers=tuple(requirers.get(identity, ())),
            )
            for identity, candidate in mapping.items()
            if candidate.chosen is not None and identity in roles
        )

    # --- called by the provider ---

    def candidates(
        self, identity: tuple[str, str], requests: Sequence[_Requirement]
    ) -> list[_Candidate]:
        """Return all candidates for `identity` that meet all `requests`, preferred ones first."""
        kind, name = identity
        if not requests:
            # After backtracking, resolvelib still asks for identities that nothing requires
            # anymore. They must have no effect, or a package that is not needed could exclude one
            # that is.
            return [_Candidate(identity, _ABSENT, "")]
        if kind == _ALTERNATIVES:
            return self._alternatives(identity, requests)
        if kind in _BROUGHT:
            versions = {request.version for request in requests}
            return [
                _Candidate(identity, name, version) for version in versions if len(versions) < 2
            ]
        if identity not in self._known:
            self._known[identity] = list(self._all(kind, name, requests[0]))
        found = self._known[identity]
        fitting = [c for c in found if all(self._allows(request, c) for request in requests)]
        if found and not fitting and len(requests) == 1:
            have = ", ".join(candidate.version for candidate in found)
            whose = "the device has" if kind == "soft" else "the catalog has"
            if kind == "package" and len(found) < len(self.catalog.get(kind, name).versions()):
                whose = f"for {describe(self.interpreter)} the catalog has"
            self._note(f"{requests[0].requirer} requires {requests[0]}; {whose} {have}")
        return fitting

    def _allows(self, request: _Requirement, candidate: _Candidate) -> bool:
        if request.choice is None or candidate.chosen is None:
            return True
        scheme = candidate.chosen.component.scheme
        return in_range(candidate.version, request.choice.version, scheme)

    def _all(self, kind: str, name: str, request: _Requirement) -> Iterator[_Candidate]:
        component = self.catalog.get(kind, name)
        reason = unfit(component, self.subject) or platform_misfit(component, self.subject)
        if reason:
            self._note(reason)
            return
        if kind == "package":
            yield from self._versions(component, request)
        elif kind == "soft":
            for version in detected(component, self.subject):
                yield self._candidate(component, version, None)
            if not detected(component, self.subject):
                what = component.body.get("software", component.name)
                self._note(
                    f"{request.requirer} requires {request}; the device has no working {what}"
                )
        else:
            yield self._candidate(component, component.version, None)

    def _versions(self, component: Component, request: _Requirement) -> Iterator[_Candidate]:
        version_of_request = request.choice.version if request.choice is not None else ""
        allowed = [
            v for v in component.versions() if in_range(v, version_of_request, component.scheme)
        ]
        if not allowed:
            self._note(
                f"{request.requirer} requires {request}; "
                f"the catalog has {', '.join(component.versions())}"
            )
        for version in component.versions():
            wheels, archive = None, None
            if has_archives(component):
                archive, missing = fit_archive(component, version, self.subject.capabilities)
            else:
                wheels, missing = fit(component, version, self.interpreter, self.catalog.built)
            if wheels is not None or archive is not None:
                yield self._candidate(component, version, wheels, archive)
            elif version in allowed:
                self._note(missing)

    def _candidate(
        self,
        component: Component,
        version: str,
        wheels: WheelSet | None,
        archive: Archive | None = None,
    ) -> _Candidate:
        label = f"{component.name} {version}"
        requests = [
            request
            for requirement in component.requires
            for request in self._requests(PackageRequirement(label, requirement))
        ]
        # Two packages may contain the same distribution only in the same version.
        requests += [
            _Requirement((_WHEEL, wheel.name), label, version=wheel.version)
            for wheel in (wheels.wheels if wheels is not None else ())
            if wheel.name in self.catalog.shared_distributions
        ]
        if archive is not None:
            # A job finds a folder by its name, so each name must be unique.
            requests.append(_Requirement((_FOLDER, archive.lock.name), label, version=label))
        chosen = SolvedPackage(component, version, wheels, "", archive=archive)
        identity = (component.kind, component.name)
        return _Candidate(identity, label, version, chosen, tuple(requests))

    def _requests(self, need: PackageRequirement) -> Iterator[_Requirement]:
        requirement = need.requirement
        if not applies(requirement.when, self.subject):
            return
        choices = tuple(one for choice in requirement.choices for one in self._named(choice))
        if len(choices) == 1:
            choice = choices[0]
            identity = (choice.kind, choice.name)
            yield _Requirement(identity, need.requirer, requirement.role, choice)
        else:
            identity = (_ALTERNATIVES, f"{need.requirer}: {requirement.role}")
            yield _Requirement(identity, need.requirer, requirement.role, choices=choices)
            if not choices:
                wanted = " or ".join(map(str, requirement.choices))
                self._note(f"{need.requirer} requires {wanted}; the catalog has no such component")

    def _named(self, choice: Choice) -> list[Choice]:
        if choice.name:
            return [choice]
        found = with_tags(self.catalog, choice, frozenset())
        return [Choice(part.kind, part.name, choice.version) for part in found]

    def _alternatives(
        self, identity: tuple[str, str], requests: Sequence[_Requirement]
    ) -> list[_Candidate]:
        request = requests[0]
        return [
            _Candidate(
                identity,
                str(choice),
                str(number),
                requests=(
                    _Requirement(
                        (choice.kind, choice.name), request.requirer, request.role, choice
                    ),
                ),
            )
            for number, choice in enumerate(request.choices)
        ]

    def _note(self, reason: str) -> None:
        self.reasons.setdefault(reason)


class _Provider(AbstractProvider[_Requirement, _Candidate, tuple[str, str]]):
    """The resolvelib provider, which answers from the catalog and the device."""

    def __init__(self, solver: Solver) -> None:
        self._solver = solver

    def identify(self, requirement_or_candidate: _Requirement | _Candidate) -> tuple[str, str]:
        return requirement_or_candidate.identity

    def get_preference(
        self,
        identifier: tuple[str, str],
        resolutions: Mapping[tuple[str, str], _Candidate],
        candidates: Mapping[tuple[str, str], Iterator[_Candidate]],
        information: Mapping[tuple[str, str], Iterator[Any]],
        backtrack_causes: Sequence[Any],
    ) -> tuple[int, int]:
        # Causes of conflicts come first. Alternatives come last, because each choice narrows the
        # others.
        causes = any(cause.requirement.identity == identifier for cause in backtrack_causes)
        return (0 if causes else 1, 1 if identifier[0] == _ALTERNATIVES else 0)

    def find_matches(
        self,
        identifier: tuple[str, str],
        requirements: Mapping[tuple[str, str], Iterator[_Requirement]],
        incompatibilities: Mapping[tuple[str, str], Iterator[_Candidate]],
    ) -> list[_Candidate]:
        bad = {candidate.version for candidate in incompatibilities[identifier]}
        found = self._solver.candidates(identifier, list(requirements[identifier]))
        return [candidate for candidate in found if candidate.version not in bad]

    def is_satisfied_by(self, requirement: _Requirement, candidate: _Candidate) -> bool:
        if candidate.label == _ABSENT:
            return False
        if requirement.version:
            return requirement.version == candidate.version
        if requirement.choice is None or not requirement.choice.version:
            return True
        return self._solver._allows(requirement, candidate)

    def get_dependencies(self, candidate: _Candidate) -> Sequence[_Requirement]:
        return candidate.requests


def _conflicts(requests: Sequence[_Requirement]) -> Iterator[str]:
    """Yield one line for each identity on which two or more requirers disagree."""
    by_identity: dict[tuple[str, str], dict[str, None]] = {}
    for request in requests:
        if request.choice is not None and not request.choice.version:
            continue  # accepts any version, so it cannot conflict
        verb = "brings" if request.identity[0] in _BROUGHT else "requires"
        line = f"{request.requirer} {verb} {request}"
        by_identity.setdefault(request.identity, {}).setdefault(line)
    for (kind, _), lines in sorted(by_identity.items()):
        if len(lines) > 1 and kind != _ALTERNATIVES:
            yield ", but ".join(lines)


def _roles(
    requests: Sequence[_Requirement], mapping: Mapping[tuple[str, str], _Candidate]
) -> tuple[dict[tuple[str, str], str], dict[tuple[str, str], dict[str, None]]]:
    """Return the first role of each identity, and the requirers of each identity.

    Root requirements are visited before their dependencies.
    """
    roles: dict[tuple[str, str], str] = {}
    requirers: dict[tuple[str, str], dict[str, None]] = {}
    queue = list(requests)
    for request in queue:
        if request.identity[0] in _BROUGHT:
            continue
        requirers.setdefault(request.identity, {}).setdefault(request.requirer)
        if request.identity not in roles:
            roles[request.identity] = request.role
            queue.extend(mapping[request.identity].requests)
    return roles, requirers
