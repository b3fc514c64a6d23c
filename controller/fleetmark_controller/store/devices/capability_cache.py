"""In-memory cache of capabilities: their parts, their JSON texts, and whole devices.

A fleet has few types of devices, and devices of one type report the same values for most parts.
Each part is parsed and checked once, and its text is built once: this was most of the Python time
of the controller when a thousand devices registered at once. Everything here is bounded, so that a
device that keeps reporting new values cannot fill the memory.
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
"""Maximum number of shared parts of one kind; the least recently used one is dropped."""
MAX_SHARED_BYTES = 2048
"""Size above which a part is not shared but parsed each time."""
_MAX_TEXT_LETTERS = 32 * 1024 * 1024
_VOLATILE = {"storage": ("free_bytes",), "controls": ("current",)}
"""Fields that change from hello to hello and do not describe the device."""
_NOTHING: tuple[str, ...] = ()
_TEXTS = "_texts"
"""Attribute of a shared part that holds its texts, by the fields that each text leaves out."""


class CapabilityCache:
    """Cache that shares capabilities and their parts between devices. Safe to use from any thread.

    Returned objects are shared: never change them.
    """

    def __init__(self, max_letters: int = _MAX_TEXT_LETTERS) -> None:
        """Start with an empty cache; `max_letters` limits the total length of its texts."""
        self._shared: list[Any] = []
        self._by_text: dict[str, Capabilities] = {}
        self._letters = 0
        self._max_letters = max_letters
        self._lock = threading.Lock()

    def share_parts(self, read: Callable[[bytes], T]) -> Callable[[bytes], T]:
        """Return a reader of one kind of part that returns the same object for the same bytes."""

        @lru_cache(maxsize=MAX_SHARED_PARTS)
        def shared(data: bytes) -> T:
            part = read(data)
            # The texts are stored on the part, so that they are freed with it.
            object.__setattr__(part, _TEXTS, {})
            return part

        def read_part(data: bytes) -> T:
            return shared(data) if len(data) <= MAX_SHARED_BYTES else read(data)

        self._shared.append(shared)
        return read_part

    def shared_parts(self) -> list[int]:
        """Return how many parts of each kind are cached now."""
        return [shared.cache_info().currsize for shared in self._shared]

    def text(self, capabilities: Capabilities) -> str:
        """Return the capabilities as JSON, in the format that `json.dumps` gives for `to_plain`."""
        return _text(capabilities, {})

    def steady_text(self, capabilities: Capabilities) -> str:
        """Return the capabilities as JSON, without the fields that change from hello to hello."""
        return _text(capabilities, _VOLATILE)

    def parse(self, text: str) -> Capabilities:
        """Return the capabilities that a stored text describes."""
        found = self._by_text.get(text)
        if found is None:
            found = from_plain(Capabilities, json.loads(text))
            self.keep(text, found)
        return found

    def keep(self, text: str, capabilities: Capabilities) -> None:
        """Cache the capabilities of a text that is being stored, so that it is not parsed later."""
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
"""The cache of this process: the API and the store share it."""


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
