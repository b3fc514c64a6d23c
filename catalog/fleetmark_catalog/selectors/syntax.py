"""The grammar of selectors, and its parser from text to trees of predicates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Union

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedInput, UnexpectedToken, VisitError

from fleetmark_core.errors import ErrorKind, FleetmarkError

MAX_TEXT = 2000

GRAMMAR = r"""
start: all
?all: term ("," term)*
?term: "!" term        -> negation
     | "(" all ")"
     | "@" WORD        -> saved
     | key "in" "(" value ("," value)* ")" -> one_of
     | key OPERATOR value -> comparison
     | WORD            -> tag
key: WORD
value: WORD | STRING
OPERATOR: "!=" | ">=" | "<=" | "==" | "=" | ">" | "<"
WORD: /(?!in\b)[\w][\w.:\/+*-]*/
STRING: /"[^"\n]*"/
%import common.WS
%ignore WS
"""


@dataclass(frozen=True)
class Tag:
    """A tag, or the key of a label, that the device must have."""

    word: str


@dataclass(frozen=True)
class Comparison:
    """A comparison `key operator value`; `in` has several values, of which one must be equal."""

    key: str
    operator: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Not:
    """The negation of a term."""

    term: Node


@dataclass(frozen=True)
class All:
    """A conjunction: every term must match."""

    terms: tuple[Node, ...]


@dataclass(frozen=True)
class Saved:
    """A saved fleet: its name, and the tree of its selector."""

    name: str
    term: Node


Node = Union[Tag, Comparison, Not, All, Saved]  # noqa: UP007 - evaluated at run time


def parse(text: str, saved: Mapping[str, str] | None = None) -> Node:
    """Parse a selector into a tree.

    Args:
        text: the selector.
        saved: texts of the saved fleets, by name.

    Raises:
        FleetmarkError: UNKNOWN_WORD: bad syntax, with a caret under the place, or an unknown or
            circular saved name.
    """
    return _parse(text, saved or {}, ())


def _parse(text: str, saved: Mapping[str, str], within: tuple[str, ...]) -> Node:
    if not text.strip():
        return All(())
    if len(text) > MAX_TEXT:
        raise FleetmarkError(
            ErrorKind.UNKNOWN_WORD, f"selector is longer than {MAX_TEXT} characters"
        )
    try:
        tree = _parser().parse(text)
    except UnexpectedInput as error:
        raise syntax_error(text, error) from error
    try:
        node: Node = _Build(saved, within).transform(tree)
    except VisitError as error:
        raise error.orig_exc from error
    return node


def syntax_error(text: str, error: UnexpectedInput) -> FleetmarkError:
    """Return the error for a syntax error, with a caret under the character that cannot be read."""
    at = error.pos_in_stream
    ended = isinstance(error, UnexpectedToken) and error.token.type == "$END"
    if at is None or at < 0 or ended:
        at = len(text)
    line = " ".join(text.split("\n"))
    return FleetmarkError(
        ErrorKind.UNKNOWN_WORD,
        f"selector: syntax error at character {at + 1}\n  {line}\n  {' ' * at}^",
        "",
        "Separate tags and comparisons with commas: arm64,memory>=4GiB,site=lab1",
    )


@lru_cache(maxsize=1)
def _parser() -> Lark:
    return Lark(GRAMMAR, parser="lalr")


class _Build(Transformer[Token, Node]):
    """Transformer of the parsed tree into nodes."""

    def __init__(self, saved: Mapping[str, str], within: tuple[str, ...]) -> None:
        super().__init__()
        self._saved = saved
        self._within = within

    def start(self, items: list[Any]) -> Node:
        return items[0]  # type: ignore[no-any-return]

    def all(self, items: list[Any]) -> Node:
        return All(tuple(items))

    def negation(self, items: list[Any]) -> Node:
        return Not(items[0])

    def tag(self, items: list[Any]) -> Node:
        return Tag(str(items[0]))

    def key(self, items: list[Any]) -> str:
        return str(items[0])

    def value(self, items: list[Any]) -> str:
        return str(items[0]).strip('"')

    def comparison(self, items: list[Any]) -> Node:
        operator = str(items[1])
        return Comparison(items[0], "=" if operator == "==" else operator, (items[2],))

    def one_of(self, items: list[Any]) -> Node:
        return Comparison(items[0], "in", tuple(items[1:]))

    def saved(self, items: list[Any]) -> Node:
        name = str(items[0])
        if name in self._within:
            raise FleetmarkError(
                ErrorKind.UNKNOWN_WORD,
                f"saved fleet @{name} refers to itself: {' → '.join(self._within)}",
            )
        if name not in self._saved:
            known = ", ".join(f"@{other}" for other in sorted(self._saved)) or (
                "no fleet is saved yet"
            )
            raise FleetmarkError(
                ErrorKind.UNKNOWN_WORD, f"no fleet is saved as @{name}", "", f"Known: {known}"
            )
        return Saved(name, _parse(self._saved[name], self._saved, (*self._within, name)))
