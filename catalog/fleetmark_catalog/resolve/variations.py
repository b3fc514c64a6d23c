"""Chooses the variations: requested ones first, then passed tags, then defaults. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from fleetmark_catalog.load.catalog import Catalog
from fleetmark_catalog.load.model import Component
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.lockfile import Lockfile

_WEIGHT = {"benchmark": 0, "model": 1}


def choose(
    components: Sequence[Component],
    base: Sequence[str],
    given: Sequence[str],
    tags: frozenset[str],
) -> tuple[str, ...]:
    """Return the chosen words, one per group.

    `given` words win over `base` words. Both win over variations that a passed tag names, and those
    win over defaults. A default that excludes a requested word, or is excluded by one, is dropped.

    Raises:
        FleetmarkError: UNKNOWN_WORD: two given words are of one group.
    """
    groups = _Groups(components)
    by_group: dict[str, str] = {}
    for word in given:
        group = groups.group_of(word)
        if by_group.setdefault(group, word) != word:
            raise FleetmarkError(
                ErrorKind.UNKNOWN_WORD,
                f"variations {by_group[group]} and {word} exclude each other: "
                f"both belong to group {group.removesuffix('.#')}",
            )
    for word in base:
        by_group.setdefault(groups.group_of(word), word)
    asked = set(by_group.values())
    for tag in sorted(tags):
        # Only words of a group: a tag must not enable an ungrouped variation.
        if groups.grouped(tag):
            by_group.setdefault(groups.group_of(tag), tag)
    for group, word in groups.defaults.items():
        if not _excluded(components, word, asked):
            by_group.setdefault(group, word)
    return in_order(components, by_group.values())


def combinations(components: Sequence[Component], words: Sequence[str]) -> list[tuple[str, ...]]:
    """Return every choice of one word a group, in the order of `words`.

    Words of one group exclude each other: they are an axis. Words of different groups, and those
    of none, hold together.
    """
    groups = _Groups(components)
    axes: dict[str, list[str]] = {}
    for word in dict.fromkeys(words):
        axes.setdefault(groups.group_of(word), []).append(word)
    return list(itertools.product(*axes.values()))


class _Groups:
    def __init__(self, components: Sequence[Component]) -> None:
        self._components = components
        self.defaults: dict[str, str] = {}
        # Defaults of the benchmark and the model take precedence, because the program runs the
        # model.
        order = sorted(components, key=lambda c: _WEIGHT.get(c.kind, len(_WEIGHT)))
        for component in order:
            for variation in component.variations.values():
                if variation.default:
                    self.defaults.setdefault(variation.group or variation.name, variation.name)

    def group_of(self, word: str) -> str:
        """Return the group of `word`, or `word` itself if it has no group."""
        for component in self._components:
            variation = component.variation(word)
            if variation is not None and variation.group:
                return variation.group
        return word

    def grouped(self, word: str) -> bool:
        return any(
            variation.group
            for component in self._components
            if (variation := component.variations.get(word)) is not None and not variation.open
        )


def _excluded(components: Sequence[Component], word: str, asked: set[str]) -> bool:
    for component in components:
        own = component.variation(word)
        for other in asked:
            theirs = component.variation(other)
            if own is not None and {other, theirs.name if theirs else other} & set(own.excludes):
                return True
            if theirs is not None and word in theirs.excludes:
                return True
    return False


def in_order(components: Sequence[Component], words: Iterable[str]) -> tuple[str, ...]:
    """Return the words in the order of labels: by the model's groups, ungrouped words last."""
    return tuple(sorted(dict.fromkeys(words), key=lambda word: (*_rank(components, word), word)))


def variations_of(catalog: Catalog, lock: Lockfile) -> tuple[str, ...]:
    """Return the variations that a lockfile was resolved with, in the order of `in_order`."""
    parts = (catalog.find(part.kind, part.name) for part in lock.components)
    words = (name for part in lock.components for name in part.variations)
    return in_order([part for part in parts if part is not None], words)


def _rank(components: Sequence[Component], word: str) -> tuple[int, int]:
    for position, component in enumerate(sorted(components, key=lambda c: c.kind != "model")):
        groups = list(component.groups())
        variation = component.variation(word)
        if variation is not None:
            place = groups.index(variation.group) if variation.group else len(groups)
            return (0 if variation.group else 1, position * 1000 + place)
    return (2, 0)
