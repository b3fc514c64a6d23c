"""The one owner of capabilities that are kept in memory: parts, their texts, whole devices.

A fleet has few types of devices, and devices of one type say the same of most of their parts. Each
part is read and checked once, and its text is made once: of a thousand devices that register at
once, that was most of what the controller did in Python. Everything here is bounded, so that a
device that reports ever new values fills no memory.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any, TypeVar

from fleetmark_core.capabilities import Capabilities
from fleetmark_core.serde import from_plain, to_plain

T = TypeVar("T")

MAX_SHARED_PARTS = 512
"""Parts of one kind that are shared; the least recently used is dropped."""
MAX_SHARED_BYTES = 2048
"""Larger parts are read each time."""
_MAX_TEXT_LETTERS = 32 * 1024 * 1024
_VOLATILE = {"storage": ("free_bytes",), "controls": ("current",)}
"""What changes from hello to hello and says nothing about the device."""
_NOTHING: tuple[str, ...] = ()
_TEXTS = "_texts"
"""Attribute of a shared part: its texts, by the fields that each leaves out."""


class CapabilityCache:
    """Shares capabilities and their parts between devices. Any thread may ask.

    What it returns is shared: never change it.
    """

    def __init__(self, max_letters: int = _MAX_TEXT_LETTERS) -> None:
        """Nothing is kept yet; `max_letters` bounds the texts of whole devices."""
        self._shared: list[Any] = []
        self._by_text: dict[str, Capabilities] = {}
        self._letters = 0
        self._max_letters = max_letters
        self._lock = threading.Lock()

    def share_parts(self, read: Callable[[bytes], T]) -> Callable[[bytes], T]:
        """Return a reader of one kind of part that gives the same bytes the same object."""

        @lru_cache(maxsize=MAX_SHARED_PARTS)
        def shared(data: bytes) -> T:
            part = read(data)
            # Texts live and die with the part that they are of.
            object.__setattr__(part, _TEXTS, {})
            return part

        def read_part(data: bytes) -> T:
            return shared(data) if len(data) <= MAX_SHARED_BYTES else read(data)

        self._shared.append(shared)
        return read_part

    def shared_parts(self) -> list[int]:
        """Return how many parts of each kind are shared now."""
        return [shared.cache_info().currsize for shared in self._shared]

    def text(self, capabilities: Capabilities) -> str:
        """Return the capabilities as JSON, as `json.dumps` writes what `to_plain` gives."""
        return _text(capabilities, {})

    def steady_text(self, capabilities: Capabilities) -> str:
        """Return the same without what changes from hello to hello."""
        return _text(capabilities, _VOLATILE)

    def parse(self, text: str) -> Capabilities:
        """Return the capabilities of a stored text."""
        found = self._by_text.get(text)
        if found is None:
            found = from_plain(Capabilities, json.loads(text))
            self.keep(text, found)
        return found

    def keep(self, text: str, capabilities: Capabilities) -> None:
        """Keep the capabilities of a text that is being stored: it need not be parsed again."""
        if len(text) > self._max_letters // 100:
            return
        with self._lock:
            self._letters += 0 if text in self._by_text else len(text)
            self._by_text[text] = capabilities
            while self._letters > self._max_letters:
                oldest = next(iter(self._by_text))
                del self._by_text[oldest]
                self._letters -= len(oldest)


CAPABILITIES = CapabilityCache()
"""That of this process: the API shares what it reads with the store."""


def _text(capabilities: Capabilities, without: Mapping[str, tuple[str, ...]]) -> str:
    texts = []
    for name in _names():
        value = getattr(capabilities, name)
        hidden = without.get(name, _NOTHING)
        if is_dataclass(value):
            text = _part_text(value, hidden)
        elif value and isinstance(value, tuple) and is_dataclass(value[0]):
            text = f"[{', '.join([_part_text(part, hidden) for part in value])}]"
        else:
            text = json.dumps(to_plain(value), ensure_ascii=False)
        texts.append(f'"{name}": {text}')
    return f"{{{', '.join(texts)}}}"


def _part_text(part: Any, hidden: tuple[str, ...]) -> str:
    texts: dict[tuple[str, ...], str] | None = part.__dict__.get(_TEXTS)
    if texts is not None and hidden in texts:
        return texts[hidden]
    values = {name: value for name, value in to_plain(part).items() if name not in hidden}
    text = json.dumps(values, ensure_ascii=False)
    if texts is not None and len(text) <= MAX_SHARED_BYTES:
        texts[hidden] = text
    return text


@lru_cache(maxsize=1)
def _names() -> tuple[str, ...]:
    return tuple(field.name for field in fields(Capabilities))
