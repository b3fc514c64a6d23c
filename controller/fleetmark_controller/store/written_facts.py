"""Capabilities as stored text, or as plain values, put together of those of their parts.

Boards of one type share their parts (`services.facts`), and each part is written once: of a
thousand boards that register at once, that was most of what the store's thread did in Python.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any

from fleetmark_catalog.core.capabilities import Capabilities
from fleetmark_catalog.core.plain import to_plain

_VOLATILE = {"storage": ("free_bytes",), "controls": ("current",)}
"""What changes from hello to hello and says nothing about the device."""
_NOTHING: tuple[str, ...] = ()
_KEPT_LETTERS = 2048
"""What is larger is written each time: who tells ever new things fills no memory."""


def text_of(facts: Capabilities) -> str:
    """The facts as JSON, as `json.dumps` writes what `to_plain` makes of them."""
    return _text(facts, {})


def steady_text_of(facts: Capabilities) -> str:
    """The same without what changes from hello to hello."""
    return _text(facts, _VOLATILE)


def plain_of(facts: Capabilities) -> dict[str, Any]:
    """What `to_plain` makes of the facts. Parts are shared: never change them."""
    plain: dict[str, Any] = {}
    for name in _names():
        value = getattr(facts, name)
        if is_dataclass(value):
            plain[name] = _PARTS.of(value, _NOTHING)[0]
        elif value and isinstance(value, tuple) and is_dataclass(value[0]):
            plain[name] = [_PARTS.of(part, _NOTHING)[0] for part in value]
        else:
            plain[name] = to_plain(value)
    return plain


def _text(facts: Capabilities, without: Mapping[str, tuple[str, ...]]) -> str:
    texts = []
    for name in _names():
        value = getattr(facts, name)
        hidden = without.get(name, _NOTHING)
        if is_dataclass(value):
            text = _PARTS.of(value, hidden)[1]
        elif value and isinstance(value, tuple) and is_dataclass(value[0]):
            text = f"[{', '.join([_PARTS.of(part, hidden)[1] for part in value])}]"
        else:
            text = json.dumps(to_plain(value), ensure_ascii=False)
        texts.append(f'"{name}": {text}')
    return f"{{{', '.join(texts)}}}"


_Written = tuple[dict[str, Any], str]
"""Plain values of a part, and these as JSON."""


class _Parts:
    """What was written of parts, which are known by their identity: they are never changed."""

    def __init__(self, most: int = 4096) -> None:
        self._kept: dict[tuple[int, tuple[str, ...]], tuple[Any, _Written]] = {}
        self._most = most
        self._lock = threading.Lock()

    def of(self, part: Any, hidden: tuple[str, ...]) -> _Written:
        """A part without its fields of these names."""
        key = (id(part), hidden)
        found = self._kept.get(key)
        if found is not None:
            return found[1]
        values = {name: value for name, value in to_plain(part).items() if name not in hidden}
        written = (values, json.dumps(values, ensure_ascii=False))
        if len(written[1]) <= _KEPT_LETTERS:
            with self._lock:
                if len(self._kept) >= self._most:
                    del self._kept[next(iter(self._kept))]
                # With the part itself: as long as it is here, no other has its identity.
                self._kept[key] = (part, written)
        return written


_PARTS = _Parts()


@lru_cache(maxsize=1)
def _names() -> tuple[str, ...]:
    return tuple(field.name for field in fields(Capabilities))
