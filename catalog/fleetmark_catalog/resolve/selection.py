"""Selects the components of a benchmark for chosen variations. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fleetmark_catalog.load.catalog import Catalog
from fleetmark_catalog.load.model import Artifact, Choice, Component, Requirement, Variation
from fleetmark_catalog.resolve.variations import choose, combinations, in_order
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.parameter_values import apply_value, overlay, parse_value
from fleetmark_core.suggest import hint
from fleetmark_core.versions import in_range

CONTENT = ("program", "model", "dataset")
"""Kinds that a benchmark names directly. Their variations are chosen together with its own."""

_MAX_ROUNDS = 16


@dataclass(frozen=True)
class Selection:
    """A benchmark with its program, models and data sets, and the variations chosen for them.

    `words` are all chosen variations, including defaults, in a stable order. A word applies to
    every component that has this variation (with `tflite`, a TFLite model is run by the TFLite
    runtime). `tags` are those that the chosen variations pass on.
    """

    components: tuple[Component, ...]
    words: tuple[str, ...]
    tags: frozenset[str] = frozenset()

    def chosen(self, component: Component) -> tuple[tuple[str, Variation], ...]:
        """Return the words that `component` knows, each with its variation, in the file's order."""
        known = [(word, component.variation(word)) for word in self.words]
        order = list(component.variations)
        found = [(word, variation) for word, variation in known if variation is not None]
        return tuple(sorted(found, key=lambda pair: order.index(pair[1].name)))

    def body(self, component: Component) -> dict[str, Any]:
        """Return the table of the component's kind with the changes of its variations merged in."""
        body: dict[str, Any] = dict(component.body)
        for word, variation in self.chosen(component):
            if variation.set:
                body = overlay(body, _filled(word, variation))
        return body

    def requires(self, component: Component) -> tuple[Requirement, ...]:
        """Return the requirements; a variation's requirement replaces that of the same role."""
        return _requires(component, self.words)

    def artifacts(self, component: Component) -> tuple[Artifact, ...]:
        """Return the artifacts that variations and passed tags select, one per role.

        If two artifacts of a role match, the one with more tags is selected.

        Raises:
            FleetmarkError: NOTHING_FITS: two artifacts of one role match equally well.
        """
        found: dict[str, Artifact] = {}
        for artifact in component.artifacts:
            if not (set(artifact.when) <= set(self.words) and set(artifact.tags) <= self.tags):
                continue
            other = found.get(artifact.role)
            if other is None or len(artifact.tags) > len(other.tags):
                found[artifact.role] = artifact
            elif len(artifact.tags) == len(other.tags):
                raise FleetmarkError(
                    ErrorKind.NOTHING_FITS,
                    f"{component.id}: {other.name} and {artifact.name} both provide "
                    f"the {artifact.role} for {','.join(self.words) or 'no variation'}",
                )
        return tuple(found.values())

    def only(self, kind: str) -> Component:
        """Return the component of a kind that must occur exactly once.

        Raises:
            FleetmarkError: INVALID_COMPONENT.
        """
        found = [component for component in self.components if component.kind == kind]
        if len(found) != 1:
            raise FleetmarkError(
                ErrorKind.INVALID_COMPONENT,
                f"{self.components[0].id} requires {len(found)} components of kind {kind}, "
                "expected 1",
            )
        return found[0]


def select(
    catalog: Catalog,
    benchmark: Component,
    base: Sequence[str],
    words: Sequence[str] = (),
) -> Selection:
    """Return the selection for `words`. Those of `base` also apply, but lose within a group.

    Raises:
        FleetmarkError: UNKNOWN_WORD: no component knows a word, its value is out of range, or two
            words exclude each other; NOT_FOUND: a required component is not in the catalog;
            NOTHING_FITS: the tags of the variations change each other in a circle.
    """
    given = tuple(dict.fromkeys(words))
    # A variation may replace a component by one with other variations, and its tags may choose
    # further variations: repeat until nothing changes.
    chosen: tuple[str, ...] = tuple(dict.fromkeys([*base, *given]))
    tags: frozenset[str] = frozenset()
    components = _reach(catalog, benchmark, chosen, tags)
    for _ in range(_MAX_ROUNDS):
        before = (components, chosen, tags)
        chosen = choose(components, base, given, tags)
        tags = _passed(components, chosen)
        components = _reach(catalog, benchmark, chosen, tags)
        if (components, chosen, tags) == before:
            break
    else:
        raise FleetmarkError(
            ErrorKind.NOTHING_FITS,
            f"variations {','.join(chosen)} do not converge: their tags select each other "
            "in a cycle",
            benchmark.id,
        )
    for word in (*given, *base):
        _check_word(benchmark, components, word)
    _check_exclusions(components, chosen, given)
    return Selection(components, in_order(components, chosen), tags)


def alternatives(
    catalog: Catalog, benchmark: Component, base: Sequence[str], words: Sequence[str]
) -> list[tuple[str, ...]]:
    """Return the grid that `words` span: each combination of one word an exclusive group.

    Args:
        catalog: has the benchmark's components.
        benchmark: what is to run.
        base: words that a suite gives; see `select`.
        words: words that an operator gives.

    Raises:
        FleetmarkError: NOT_FOUND: a required component is not in the catalog.
    """
    # A variation may replace a component, whose own variations count then, too.
    found: dict[str, Component] = {}
    for chosen in ((*base, *words), *((*base, word) for word in words)):
        for component in _reach(catalog, benchmark, chosen, frozenset()):
            found.setdefault(component.id, component)
    return combinations(list(found.values()), words)


def _check_word(benchmark: Component, components: Sequence[Component], word: str) -> None:
    found = [variation for c in components if (variation := c.variation(word)) is not None]
    if not found:
        known = {name for component in components for name in component.variations}
        raise FleetmarkError(
            ErrorKind.UNKNOWN_WORD,
            f"benchmark {benchmark.name} has no variation {word!r}",
            "",
            hint(word, known),
        )
    for variation in found:
        if variation.value is not None and variation.name != word:
            parse_value(variation.name, variation.value, word.rpartition(".")[2])


def _check_exclusions(
    components: Sequence[Component], chosen: Sequence[str], given: Sequence[str]
) -> None:
    for component in components:
        for word in chosen:
            variation = component.variation(word)
            for other in chosen if variation is not None else ():
                meant = component.variation(other)
                names = {other, meant.name if meant is not None else other}
                if other != word and variation is not None and names & set(variation.excludes):
                    # `choose` drops defaults that exclude requested words. For a default that still
                    # conflicts, suggest another choice.
                    advice = (
                        ""
                        if other in given
                        else f"{other} is a default: choose another of its group"
                    )
                    raise FleetmarkError(
                        ErrorKind.UNKNOWN_WORD,
                        f"variations {word} and {other} exclude each other in {component.id}",
                        "",
                        advice,
                    )


def _passed(components: Sequence[Component], words: Sequence[str]) -> frozenset[str]:
    return frozenset(
        tag
        for component in components
        for word in words
        if (variation := component.variation(word)) is not None
        for tag in variation.tags
    )


def _filled(word: str, variation: Variation) -> dict[str, Any]:
    if variation.value is None:
        return variation.set
    made: dict[str, Any] = apply_value(variation.name, variation.value, word, variation.set)
    return made


def _requires(component: Component, words: Sequence[str]) -> tuple[Requirement, ...]:
    by_role = {requirement.role: requirement for requirement in component.requires}
    names = {variation.name for word in words if (variation := component.variation(word))}
    for variation in component.variations.values():
        if variation.name in names:
            by_role.update({requirement.role: requirement for requirement in variation.requires})
    return tuple(by_role.values())


def _reach(
    catalog: Catalog, benchmark: Component, words: Sequence[str], tags: frozenset[str]
) -> tuple[Component, ...]:
    found = [benchmark]
    for requirement in _requires(benchmark, words):
        if requirement.choices[0].kind in CONTENT:
            found.append(_content(catalog, benchmark, requirement, tags))
    return tuple(found)


def _content(
    catalog: Catalog, benchmark: Component, requirement: Requirement, tags: frozenset[str]
) -> Component:
    """Return the first alternative that the catalog has in a matching version."""
    refused = []
    for choice in requirement.choices:
        if not choice.name:
            found = with_tags(catalog, choice, tags)
            if found:
                return found[0]
            refused.append(f"no {choice}")
            continue
        component = catalog.find(choice.kind, choice.name)
        if component is None:
            refused.append(f"no {choice.kind} {choice.name!r}")
        elif not in_range(component.version, choice.version, component.scheme):
            refused.append(f"{component.id} {component.version}, not {choice.version}")
        else:
            return component
    names = [part.name for part in catalog.all(requirement.choices[0].kind)]
    raise FleetmarkError(
        ErrorKind.NOT_FOUND,
        f"the catalog has {'; '.join(refused)}, which {benchmark.id} requires",
        "",
        hint(requirement.choices[0].name, names) if requirement.choices[0].name else "",
    )


def with_tags(catalog: Catalog, choice: Choice, tags: frozenset[str]) -> list[Component]:
    """Return components with all tags of `choice`, those with most of the passed `tags` first."""
    found = [part for part in catalog.all(choice.kind) if set(choice.tags) <= set(part.tags)]
    return sorted(found, key=lambda part: (-len(tags & set(part.tags)), part.name))
