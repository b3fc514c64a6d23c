"""Every call with any values of its message: refused or served, never an internal error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetmark_controller.identity.model import Role
from fleetmark_controller.identity.permissions import RULES
from tests.security.attacks.target import Target, outcome, start
from tests.security.attacks.test_every_call import METHODS

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("any-words")]
LEFT_OUT = (
    "AddCatalog",  # reads folders of the host that an administrator names
    "RevokeOperator",  # may revoke the one who asks
    "Revoke",
    "Remove",
)
WORDS = st.text(max_size=12) | st.sampled_from(
    [
        "last",
        "toy",
        "victim",
        "runs",
        "../x",
        "\0",
        "a" * 300,
        "ab" * 32,
        "2026-01-01",
        "name=x",
        "(",
    ]
)
VALUES: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_STRING: WORDS,
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_INT32: st.integers(-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.CPPTYPE_UINT32: st.integers(0, (1 << 32) - 1),
    FieldDescriptor.CPPTYPE_INT64: st.integers(-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.CPPTYPE_UINT64: st.integers(0, (1 << 64) - 1),
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats(),
    FieldDescriptor.CPPTYPE_FLOAT: st.floats(width=32),
    FieldDescriptor.CPPTYPE_ENUM: st.integers(0, 9),
}


def values_of(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return messages(field.message_type, depth + 1)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=40)
    return VALUES[field.cpp_type]


def messages(kind: Descriptor, depth: int = 0) -> st.SearchStrategy[Any]:
    @st.composite
    def made(draw: st.DrawFn) -> Any:
        message = GetMessageClass(kind)()
        for field in kind.fields if depth < 4 else ():
            if not draw(st.booleans()):
                continue
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                held = field.message_type.fields_by_name["value"]
                for key, value in draw(
                    st.dictionaries(WORDS, values_of(held, depth), max_size=2)
                ).items():
                    if held.message_type is not None:
                        getattr(message, field.name)[key].CopyFrom(value)
                    else:
                        getattr(message, field.name)[key] = value
            elif field.is_repeated:
                inner = draw(st.lists(values_of(field, depth), max_size=2))
                getattr(message, field.name).extend(inner)
            elif field.message_type is not None:
                getattr(message, field.name).CopyFrom(draw(values_of(field, depth)))
            else:
                setattr(message, field.name, draw(values_of(field, depth)))
        return message

    return made()


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    fleet = start(tmp_path_factory.mktemp("words"), "refusals_per_minute = 100000\n")
    try:
        made = Target(fleet)
        yield made
        made.close()
    finally:
        fleet.stop()


CALLS = sorted(path for path in METHODS if path.rpartition("/")[2] not in LEFT_OUT)


@pytest.mark.fuzz("messages of every call")
@settings(suppress_health_check=list(HealthCheck), deadline=None)
@given(st.data())
def test_no_message_causes_an_internal_error(target: Target, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(CALLS))
    method, rule = METHODS[path], RULES[path]
    stubs = target.__dict__.setdefault("word_stubs", {})
    who = "anyone" if rule.anyone else "person" if rule.operators is not None else "device"
    if who not in stubs:
        member = {
            "anyone": None,
            "person": target.operators[Role.ADMIN.value],
            "device": target.mallory,
        }
        stubs[who] = target.stubs(member[who]).channel
    channel = stubs[who]
    output = [
        m.SerializeToString()
        for m in data.draw(st.lists(messages(method.input_type), min_size=1, max_size=3))
    ]
    kinds = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }
    stub = kinds[method.client_streaming, method.server_streaming](path)
    request = iter(output) if method.client_streaming else output[0]
    found = outcome(lambda: stub(request, timeout=3))
    assert found not in ("INTERNAL", "UNKNOWN", "UNAVAILABLE"), (
        path,
        target.fleet.log("controller")[-3000:],
    )
