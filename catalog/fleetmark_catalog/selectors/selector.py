"""Evaluates selectors: which devices match, and why others do not. Pure."""

from __future__ import annotations

import fnmatch
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from packaging.version import InvalidVersion, Version

from fleetmark_catalog.selectors.subject import (
    FACTS,
    ONLINE,
    VOCABULARY,
    Subject,
    canonical,
    quantity,
    readable_size,
)
from fleetmark_catalog.selectors.syntax import All, Comparison, Node, Not, Saved, Tag, parse
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.suggest import nearest

_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_OUR_KEYS = frozenset({"name", *FACTS, *VOCABULARY})
_CANONICAL = frozenset(canonical(word) for word in VOCABULARY)
_ARCHES = {"arm64", "armv7", "armv6", "x86", "x86_64", "riscv64"}


@dataclass(frozen=True)
class Explanation:
    """The result of matching a device; on a miss, `reason` has the failing predicate and value."""

    matches: bool
    reason: str


@dataclass(frozen=True)
class Selector:
    """A parsed selector. The empty text matches every device."""

    text: str
    node: Node

    def explain(self, subject: Subject) -> Explanation:
        """Match `subject` and return the reason. Never raises.

        A property that the device lacks matches only `!=` and negated terms.
        """
        return _explain(self.node, subject)

    def matches(self, subject: Subject) -> bool:
        """Return whether `subject` matches; faster than `explain`, for thousands of devices."""
        return _matches(self.node, subject)

    @cached_property
    def needs_presence(self) -> bool:
        """Return whether the answer depends on which devices are online."""
        leaves = _leaves(self.node)
        return any(isinstance(leaf, Tag) and canonical(leaf.word) == ONLINE for leaf in leaves)

    def names(self) -> frozenset[str] | None:
        """Return the canonical names of which a device must have one to match; None: any name."""
        return _names(self.node)


def parse_selector(text: str, saved: Mapping[str, str] | None = None) -> Selector:
    """Parse a selector.

    Args:
        text: the selector.
        saved: texts of the saved fleets, by the name that `@name` refers to.

    Raises:
        FleetmarkError: UNKNOWN_WORD: bad syntax, with a caret under the place, or an unknown saved
            name.
    """
    return Selector(text, parse(text, saved))


def unknown_words(selector: Selector, fleet: Words | Iterable[Subject]) -> list[str]:
    """Return the words that no device of a fleet has, each with the closest known word.

    A word of `VOCABULARY` (an architecture, for example) is known even if no device has it.
    """
    words = fleet if isinstance(fleet, Words) else Words(fleet)
    return [
        f"{word!r} (did you mean {near!r}?)" if near else repr(word)
        for word, near in _unknown(selector, words)
    ]


def check_words(selector: Selector, fleet: Words | Iterable[Subject]) -> None:
    """Reject a selector with a word that no device of a fleet has.

    Raises:
        FleetmarkError: UNKNOWN_WORD, with a caret under each such word, and the closest known
            words.
    """
    words = fleet if isinstance(fleet, Words) else Words(fleet)
    found = _unknown(selector, words)
    if not found:
        return
    carets = [" "] * len(selector.text)
    for word, _ in found:
        for match in re.finditer(rf"(?<![\w.:/+*-]){re.escape(word)}(?![\w.:/+*-])", selector.text):
            carets[match.start() : match.end()] = "^" * len(word)
    what = "; ".join(unknown_words(selector, words))
    # A word of a saved fleet is not in the text.
    shown = "".join(carets).rstrip()
    place = f"\n  {selector.text}\n  {shown}" if shown else f", in {selector.text}"
    raise FleetmarkError(ErrorKind.UNKNOWN_WORD, f"no device has {what}{place}")


def _unknown(selector: Selector, fleet: Words) -> list[tuple[str, str]]:
    """Return each unknown word with the closest known word or an empty string."""
    found: dict[str, str] = {}
    for node in _leaves(selector.node):
        if isinstance(node, Tag):
            if not fleet.has_tag(node.word):
                found.setdefault(node.word, nearest(node.word, fleet.tags | fleet.labels))
        elif not fleet.has_key(node.key):
            found.setdefault(node.key, nearest(node.key, fleet.keys))
        elif canonical(node.key) == "arch":
            for value in node.values:
                if canonical(value) not in _CANONICAL | fleet.canonical_tags:
                    found.setdefault(value, nearest(value, fleet.tags))
    return list(found.items())


class Words:
    """The known words: the fixed vocabulary, and those of a fleet, collected on demand."""

    def __init__(self, subjects: Iterable[Subject]) -> None:
        """Store `subjects`.

        They are read at most once, and only if the fixed vocabulary does not suffice.
        """
        self._given = subjects

    @cached_property
    def _subjects(self) -> list[Subject]:
        return list(self._given)

    def has_tag(self, word: str) -> bool:
        """Return whether a word is known as a tag or as the key of a label."""
        either = {word, canonical(word)}
        return bool(either & VOCABULARY or either & (self.tags | self.labels))

    def has_key(self, word: str) -> bool:
        """Return whether devices can be compared by a word."""
        either = {word, canonical(word)}
        return bool(either & _OUR_KEYS or either & self.keys)

    @cached_property
    def tags(self) -> set[str]:
        """The tags of the vocabulary and of the fleet."""
        return {*VOCABULARY, *(tag for subject in self._subjects for tag in subject.tags)}

    @cached_property
    def labels(self) -> set[str]:
        """The keys of the labels that operators set."""
        return {label for subject in self._subjects for label in subject.labels}

    @cached_property
    def keys(self) -> set[str]:
        """All keys that devices can be compared by."""
        words = (key for subject in self._subjects for key in subject.words())
        return {*_OUR_KEYS, *words}

    @cached_property
    def canonical_tags(self) -> set[str]:
        """The tags, with one word per architecture."""
        return {canonical(word) for word in self.tags}


def _leaves(node: Node) -> Iterator[Tag | Comparison]:
    if isinstance(node, (Tag, Comparison)):
        yield node
    elif isinstance(node, All):
        for term in node.terms:
            yield from _leaves(term)
    else:
        yield from _leaves(node.term)


def _names(node: Node) -> frozenset[str] | None:
    if isinstance(node, Saved):
        return _names(node.term)
    if isinstance(node, All):
        wanted = [names for term in node.terms if (names := _names(term)) is not None]
        return frozenset.intersection(*wanted) if wanted else None
    if not isinstance(node, Comparison) or node.key != "name":
        return None
    if node.operator not in ("=", "in") or any("*" in value for value in node.values):
        return None
    return frozenset(map(canonical, node.values))


def _matches(node: Node, subject: Subject) -> bool:
    if isinstance(node, All):
        return all(_matches(term, subject) for term in node.terms)
    if isinstance(node, Not):
        return not _matches(node.term, subject)
    if isinstance(node, Saved):
        return _matches(node.term, subject)
    if isinstance(node, Tag):
        if canonical(node.word) == ONLINE:
            return subject.online is True
        return canonical(node.word) in subject.tags or node.word in subject.labels
    kind, actual = subject.lookup(node.key) or ("text", ())
    return _hit(node, kind, actual)


def _explain(node: Node, subject: Subject) -> Explanation:
    if isinstance(node, All):
        explanations = [_explain(term, subject) for term in node.terms]
        misses = [e.reason for e in explanations if not e.matches]
        if misses:
            return Explanation(False, "; ".join(misses))
        return Explanation(True, "; ".join(e.reason for e in explanations) or "every device")
    if isinstance(node, Not):
        inner = _explain(node.term, subject)
        return Explanation(
            not inner.matches, f"excluded: {inner.reason}" if inner.matches else inner.reason
        )
    if isinstance(node, Saved):
        inner = _explain(node.term, subject)
        return Explanation(inner.matches, f"@{node.name}: {inner.reason}")
    if isinstance(node, Tag):
        return _explain_tag(node.word, subject)
    return _explain_comparison(node, subject)


def _explain_tag(word: str, subject: Subject) -> Explanation:
    if canonical(word) == ONLINE:
        if subject.online is None:
            return Explanation(False, "it is not known whether it is online")
        return Explanation(subject.online, "online" if subject.online else "not online")
    if canonical(word) in subject.tags:
        return Explanation(True, word)
    if word in subject.labels:
        return Explanation(True, f"label {word}={subject.labels[word]}")
    if canonical(word) in {canonical(known) for known in VOCABULARY if canonical(known) in _ARCHES}:
        return Explanation(False, f"not {word}: arch is {canonical(subject.capabilities.arch)}")
    return Explanation(False, f"no tag {word}")


def _explain_comparison(node: Comparison, subject: Subject) -> Explanation:
    wanted = f"{node.key}{node.operator}{node.values[0]}"
    if node.operator == "in":
        wanted = f"{node.key} in ({','.join(node.values)})"
    looked_up = subject.lookup(node.key)
    kind, actual = looked_up or ("text", ())
    if not actual:
        # A missing value matches only `!=`.
        missing = f"{node.key} is unavailable" if node.key in FACTS else f"no {node.key}"
        return Explanation(node.operator == "!=", f"{wanted}: {missing}")
    shown = ", ".join(_shown(kind, value) for value in actual)
    return Explanation(_hit(node, kind, actual), f"{wanted}: {node.key} is {shown}")


def _hit(node: Comparison, kind: str, actual: Sequence[object]) -> bool:
    if node.operator == "!=":
        return not any(_holds(kind, "=", value, node.values[0]) for value in actual)
    relation = "=" if node.operator == "in" else node.operator
    return any(_holds(kind, relation, value, want) for value in actual for want in node.values)


def _shown(kind: str, value: object) -> str:
    return readable_size(value) if kind == "size" and isinstance(value, int) else str(value)


def _holds(kind: str, relation: str, actual: object, wanted: str) -> bool:
    if isinstance(actual, (int, float)):
        number = quantity(wanted)
        return number is not None and _ORDER[relation](float(actual), number)
    text = str(actual)
    if relation in ("=", "!="):
        return _equal(kind, text, wanted) == (relation == "=")
    versions = _versions((text, wanted))
    if versions is not None:
        return _ORDER[relation](*versions)
    numbers = (quantity(text), quantity(wanted))
    if numbers[0] is not None and numbers[1] is not None:
        return _ORDER[relation](*numbers)
    return False


def _equal(kind: str, text: str, wanted: str) -> bool:
    if kind == "version":
        versions = _versions((text, wanted))
        if versions is not None and versions[0] == versions[1]:
            return True
        # python=3.11 matches every 3.11.x.
        return text == wanted or text.startswith(wanted + ".")
    if "*" in wanted:
        return fnmatch.fnmatchcase(text.lower(), wanted.lower())
    return canonical(text) == canonical(wanted)


def _versions(texts: Sequence[str]) -> tuple[Version, Version] | None:
    try:
        return Version(texts[0].split("-")[0]), Version(texts[1].split("-")[0])
    except InvalidVersion:
        return None
