"""Plain values and messages are the same thing; the committed stubs are what the files give."""

from __future__ import annotations

from fleetmark_protos import generate


def test_stubs_are_what_the_proto_files_give() -> None:
    assert generate.differences() == []
