"""One `__repr__` method shared by many dataclasses."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class SharedRepr:
    """Base of dataclasses with `repr=False`; prints them as `dataclasses` would.

    `@dataclass` compiles a `__repr__` per class, about 5 KiB each. An idle agent would hold those
    of its messages, events and capabilities for months without using them.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        shown = (field for field in fields(cast("DataclassInstance", self)) if field.repr)
        values = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in shown)
        return f"{type(self).__qualname__}({values})"
