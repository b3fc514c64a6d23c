"""Which components a benchmark consists of, under chosen variations. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fleetmark_catalog.core.errors import CatalogError, Fault
from fleetmark_catalog.load.catalog import Catalog
from fleetmark_catalog.load.model import Artifact, Component, Requirement, Variation
from fleetmark_catalog.load.words import hint

CONTENT = ("program", "model", "dataset")
"""Kinds that a benchmark names directly; their variations are chosen together with its own."""

_MAX_ROUNDS = 8


@dataclass(frozen=True)
class Selection:
    """A benchmark and its program, models and data sets, with the variations that hold for all.

    `words` are all chosen variations, defaults included, in a stable order: a word given to the
    benchmark reaches every component that knows it (a tflite model takes the tflite runtime).
    """

    components: tuple[Component, ...]
    words: tuple[str, ...]

    def chosen(self, component: Component) -> tuple[Variation, ...]:
        """Variations of `component` that hold."""
        return tuple(v for v in component.variations.values() if v.name in self.words)

    def body(self, component: Component) -> dict[str, Any]:
        """The kind's own table with what the variations set."""
        body: dict[str, Any] = dict(component.body)
        for variation in self.chosen(component):
            body.update(variation.set)
        return body

    def requires(self, component: Component) -> tuple[Requirement, ...]:
        """Requirements; a variation's one replaces that of the same role."""
        return _requires(component, self.words)

    def artifacts(self, component: Component) -> tuple[Artifact, ...]:
        """Artefacts that the variations pick, one a role.

        Raises:
            CatalogError: fault UNRESOLVABLE: two artefacts of one role fit.
        """
        found: dict[str, Artifact] = {}
        for artifact in component.artifacts:
            if set(artifact.when) <= set(self.words):
                if artifact.role in found:
                    raise CatalogError(
                        Fault.UNRESOLVABLE,
                        f"{component.id}: {found[artifact.role].name} and {artifact.name} both are "
                        f"the {artifact.role} of {','.join(self.words) or 'no variation'}",
                    )
                found[artifact.role] = artifact
        return tuple(found.values())

    def only(self, kind: str) -> Component:
        """The component of a kind that a benchmark has exactly one of.

        Raises:
            CatalogError: fault INVALID_COMPONENT.
        """
        found = [component for component in self.components if component.kind == kind]
        if len(found) != 1:
            raise CatalogError(
                Fault.INVALID_COMPONENT,
                f"{self.components[0].id} requires {len(found)} of kind {kind}, not 1",
            )
        return found[0]


def select(
    catalog: Catalog,
    benchmark: Component,
    base: Sequence[str],
    words: Sequence[str] = (),
) -> Selection:
    """The selection for `words`; those of `base` hold too, but lose within a group.

    Raises:
        CatalogError: UNKNOWN_WORD: no component knows a word, or two are of one group; NOT_FOUND: a
            required component is not in the catalog.
    """
    given = list(dict.fromkeys(words))
    # A variation may replace a component, whose own variations count then: repeat until it rests.
    chosen: tuple[str, ...] = tuple(dict.fromkeys([*base, *given]))
    components = _reach(catalog, benchmark, chosen)
    for _ in range(_MAX_ROUNDS):
        chosen = _choose(components, base, given)
        again = _reach(catalog, benchmark, chosen)
        if again == components:
            break
        components = again
    known = {name for component in components for name in component.variations}
    for word in (*given, *base):
        if word not in known:
            raise CatalogError(
                Fault.UNKNOWN_WORD,
                f"benchmark {benchmark.name} has no variation {word!r}",
                "",
                hint(word, known),
            )
    return Selection(components, chosen)


def _choose(
    components: Sequence[Component], base: Sequence[str], given: Sequence[str]
) -> tuple[str, ...]:
    group_of: dict[str, str] = {}
    defaults: dict[str, str] = {}
    order: list[str] = []
    for component in components:
        for variation in component.variations.values():
            order.append(variation.name)
            if variation.group:
                group_of.setdefault(variation.name, variation.group)
                if variation.default:
                    defaults.setdefault(variation.group, variation.name)
            elif variation.default:
                defaults.setdefault(variation.name, variation.name)
    by_group: dict[str, str] = {}
    for word in given:
        group = group_of.get(word, word)
        if by_group.setdefault(group, word) != word:
            raise CatalogError(
                Fault.UNKNOWN_WORD,
                f"variations {by_group[group]} and {word} exclude each other: "
                f"both are of group {group}",
            )
    for word in base:
        by_group.setdefault(group_of.get(word, word), word)
    for group, word in defaults.items():
        by_group.setdefault(group, word)
    chosen = set(by_group.values())
    ordered = dict.fromkeys(sorted(order, key=lambda word: _rank(components, word)))
    return tuple(word for word in ordered if word in chosen)


def _rank(components: Sequence[Component], word: str) -> tuple[int, str, int]:
    # Optional words last; grouped ones by the model's order of groups, so that labels read alike.
    for position, component in enumerate(sorted(components, key=lambda c: c.kind != "model")):
        groups = list(component.groups())
        variation = component.variations.get(word)
        if variation is not None:
            place = groups.index(variation.group) if variation.group else len(groups)
            return (0 if variation.group else 1, "", position * 1000 + place)
    return (2, word, 0)


def _requires(component: Component, words: Sequence[str]) -> tuple[Requirement, ...]:
    by_role = {requirement.role: requirement for requirement in component.requires}
    for variation in component.variations.values():
        if variation.name in words:
            by_role.update({requirement.role: requirement for requirement in variation.requires})
    return tuple(by_role.values())


def _reach(catalog: Catalog, benchmark: Component, words: Sequence[str]) -> tuple[Component, ...]:
    found = [benchmark]
    for requirement in _requires(benchmark, words):
        choice = requirement.choices[0]
        if choice.kind in CONTENT:
            found.append(catalog.get(choice.kind, choice.name))
    return tuple(found)
