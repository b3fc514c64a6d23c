"""Names and comments of the protobuf files use one word for one thing."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor

import fleetmark_protos.v1

FOLDER = Path(fleetmark_protos.v1.__path__[0])
FILES = sorted(path.name for path in FOLDER.glob("*.proto"))

OTHER_WORDS = {
    "act": "action",
    "ahead": "clock offset",
    "artefact": "artifact",
    "care": "device admin",
    "enrol": "enroll",
    "enrolment": "enrollment",
    "licence": "license",
    "lock": "lockfile",
    "locks": "lockfiles",
    "machine": "device",
    "people": "operators",
    "person": "operator",
    "verdict": "directive, validity or condition",
    "verdicts": "directives",
    "who": "actor or operator",
}
"""Words that the glossary replaces, and their replacements."""
OTHER_IN_COMMENTS = {"artefact", "board", "enrol", "enrolment", "licence", "people", "person"}
BOARD_MODEL = {"Board", "Capabilities.board"}
"""Names that hold the hardware model of a device; no other name may contain the word."""


def words_of(name: str) -> list[str]:
    """Return the lower-case words of a name in snake case or camel case."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+", name)]


def names() -> Iterator[str]:
    """Yield `Message`, `Message.field`, `Service` and `Service.Call` for everything declared."""
    for info in pkgutil.iter_modules(fleetmark_protos.v1.__path__):
        if not info.name.endswith("_pb2"):
            continue
        file = importlib.import_module(f"fleetmark_protos.v1.{info.name}").DESCRIPTOR
        for message in file.message_types_by_name.values():
            yield from names_in(message)
        for enum in file.enum_types_by_name.values():
            yield from (f"{enum.name}.{value.name}" for value in enum.values)
        for service in file.services_by_name.values():
            yield service.name
            yield from (f"{service.name}.{method.name}" for method in service.methods)


def names_in(message: Descriptor) -> Iterator[str]:
    yield message.name
    yield from (f"{message.name}.{field.name}" for field in message.fields)
    for inner in message.nested_types:
        yield from names_in(inner)


def test_names_use_the_words_of_the_glossary() -> None:
    found = list(names())
    assert len(found) > 400
    wrong = {
        name: OTHER_WORDS.get(word, "device")
        for name in found
        for word in words_of(name.rpartition(".")[2])
        if word in OTHER_WORDS or (word == "board" and name not in BOARD_MODEL)
    }
    assert not wrong


def test_files_use_the_words_of_the_glossary() -> None:
    assert not [name for name in FILES for word in words_of(name) if word in OTHER_WORDS]
    assert len(FILES) == 10


@pytest.mark.parametrize("name", FILES)
def test_comments_use_the_words_of_the_glossary(name: str) -> None:
    comment = " ".join(re.findall(r"//(.*)", (FOLDER / name).read_text()))
    assert comment
    words = re.findall(r"[a-z]+", comment.lower().replace("board model", ""))
    assert not {word for word in words if word.removesuffix("s") in OTHER_IN_COMMENTS}
