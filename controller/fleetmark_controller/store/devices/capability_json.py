"""Capabilities as stored text, put together of the texts of their parts.

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

from fleetmark_core.capabilities import Capabilities
from fleetmark_core.serde import to_plain

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


def _text(facts: Capabilities, without: Mapping[str, tuple[str, ...]]) -> str:
    texts = []
    for name in _names():
        value = getattr(facts, name)
        hidden = without.get(name, _NOTHING)
        if is_dataclass(value):
            text = _PARTS.text(value, hidden)
        elif value and isinstance(value, tuple) and is_dataclass(value[0]):
            text = f"[{', '.join([_PARTS.text(part, hidden) for part in value])}]"
        else:
            text = json.dumps(to_plain(value), ensure_ascii=False)
        texts.append(f'"{name}": {text}')
    return f"{{{', '.join(texts)}}}"


class _Parts:
    """Texts of parts, which are known by their identity: they are never changed."""

    def __init__(self, most: int = 4096) -> None:
        self._kept: dict[tuple[int, tuple[str, ...]], tuple[Any, str]] = {}
        self._most = most
        self._lock = threading.Lock()

    def text(self, part: Any, hidden: tuple[str, ...]) -> str:
        """A part as JSON, without its fields of these names."""
        key = (id(part), hidden)
        found = self._kept.get(key)
        if found is not None:
            return found[1]
        values = {name: value for name, value in to_plain(part).items() if name not in hidden}
        text = json.dumps(values, ensure_ascii=False)
        if len(text) <= _KEPT_LETTERS:
            with self._lock:
                if len(self._kept) >= self._most:
                    del self._kept[next(iter(self._kept))]
                # With the part itself: as long as it is here, no other has its identity.
                self._kept[key] = (part, text)
        return text


_PARTS = _Parts()


@lru_cache(maxsize=1)
def _names() -> tuple[str, ...]:
    return tuple(field.name for field in fields(Capabilities))
