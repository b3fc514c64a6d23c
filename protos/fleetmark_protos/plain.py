"""Messages to and from plain Python values (dicts, lists, numbers, strings)."""

from __future__ import annotations

from typing import Any, TypeVar

from google.protobuf.message import Message

M = TypeVar("M", bound=Message)


def to_plain(message: Message) -> dict[str, object]:
    """The message as plain values, under the names of the .proto file.

    Unlike protobuf's JSON mapping, 64-bit integers stay integers. An `optional` field or a
    message field that is not set is None; everything else has its default.
    """
    return {field.name: _field(message, field) for field in message.DESCRIPTOR.fields}


def _field(message: Message, field: Any) -> object:
    value = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return dict(value)
    if field.is_repeated:
        return [to_plain(item) for item in value] if field.message_type else list(value)
    if field.has_presence and not message.HasField(field.name):
        return None
    return to_plain(value) if field.message_type else value


def from_plain(values: dict[str, object], message_type: type[M]) -> M:
    """A message from plain values; None means not set.

    Raises:
        ValueError: a name or a type that the message does not have.
    """
    from google.protobuf import json_format

    try:
        return json_format.ParseDict(_without_none(values), message_type())
    except json_format.ParseError as error:
        raise ValueError(f"{message_type.__name__}: {error}") from error


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_without_none(item) for item in value]
    return value
