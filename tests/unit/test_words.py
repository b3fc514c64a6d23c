"""The tree uses one word for one thing: no replaced names, and no phrases that read twice.

The lists are data in `words/`; each entry has what to write instead.
"""

from __future__ import annotations

import ast
import functools
import importlib
import io
import pkgutil
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import sqlite_utils
from google.protobuf.descriptor import Descriptor

import fleetmark_protos.v1
from fleetmark_agent.cli import command as agent
from fleetmark_controller.cli import controller
from fleetmark_controller.store.db.connection import migrate

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("agent", "controller", "core", "protos", "catalog", "cli")
TOP = (*PROGRAMS, "deploy", "bench", "docs", "tests")
TEXTS = {".md", ".toml", ".sh", ".proto", ".service", ".socket", ".conf", ".yaml", ".yml", ".j2"}
WORDS = Path(__file__).with_name("words")
NAMES = tomllib.loads((WORDS / "old_names.toml").read_text())
PHRASES = tomllib.loads((WORDS / "phrases.toml").read_text())["phrase"]
NOT_OURS = ("_pb2", "tests/data/", "deploy/locks/", "catalog/fleetmark_catalog/components/")
"""Generated code, recorded data, lockfiles, and components, whose bytes are digested."""


@functools.cache
def files() -> tuple[str, ...]:
    """Return the project's text files, relative to its root."""
    found = [path for top in TOP for path in (ROOT / top).rglob("*") if path.is_file()]
    found += [path for path in ROOT.iterdir() if path.suffix in TEXTS]
    names = (path.relative_to(ROOT).as_posix() for path in found if path.suffix in {".py", *TEXTS})
    return tuple(sorted(name for name in names if not any(part in name for part in NOT_OURS)))


@functools.cache
def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@functools.cache
def nodes(name: str) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(read(name))))


def definitions(name: str) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the classes, functions and methods of a file."""
    for node in nodes(name):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def python(*tops: str) -> Iterator[str]:
    return (name for name in files() if name.endswith(".py") and name.split("/")[0] in tops)


@functools.cache
def prose(name: str) -> tuple[tuple[int, str], ...]:
    """Return a file's lines with their numbers; of code, only comments and strings."""
    if not name.endswith(".py"):
        return tuple(enumerate(read(name).splitlines(), 1))
    found = []
    for token in tokenize.generate_tokens(io.StringIO(read(name)).readline):
        kind = tokenize.tok_name[token.type]
        if kind in ("COMMENT", "STRING", "FSTRING_MIDDLE"):
            for offset, line in enumerate(token.string.splitlines()):
                found.append((token.start[0] + offset, line))
    return tuple(found)


@pytest.mark.parametrize("phrase", PHRASES, ids=lambda phrase: phrase["instead"])
def test_phrases(phrase: dict[str, object]) -> None:
    """No text has the phrase, except in the files and wordings that the list allows."""
    pattern = re.compile(str(phrase["pattern"]), re.IGNORECASE)
    right = [re.compile(text) for text in phrase.get("except", ())]  # type: ignore[attr-defined]
    allowed: dict[str, str] = phrase.get("files", {})  # type: ignore[assignment]
    found = []
    for name in files():
        quoted = name in allowed or name.startswith("tests/unit/words/") or name == "CHANGELOG.md"
        if quoted or not pattern.search(read(name)):
            continue
        for number, line in prose(name):
            for text in right:
                line = text.sub("", line)  # noqa: PLW2901
            if pattern.search(line):
                found.append(f"{name}:{number}: {line.strip()[:100]}")
    assert not found, f"{len(found)} lines; write: {phrase['instead']}\n" + "\n".join(found)
    assert all((ROOT / name).is_file() for name in allowed), "an exception for no file"


def test_docstrings_begin_with_a_verb() -> None:
    found = [
        f"{name}:{node.lineno}"
        for name in python(*PROGRAMS, "bench", "deploy", "docs")
        for node in definitions(name)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (ast.get_docstring(node) or "").startswith(("What ", "Whether ", "Who "))
    ]
    assert not found


def test_modules() -> None:
    left = [old for old in NAMES["modules"] if (ROOT / old).is_dir() or module(old).exists()]
    assert not left


def module(old: str) -> Path:
    return ROOT / f"{old}.py"


def test_files() -> None:
    assert not [old for old in NAMES["files"] if list(ROOT.glob(old))]


def test_definitions() -> None:
    found = []
    for name in python(*PROGRAMS):
        for node in definitions(name):
            old = NAMES["classes" if isinstance(node, ast.ClassDef) else "functions"]
            if node.name in old and name not in NAMES["except"].get(node.name, ()):
                found.append(f"{name}:{node.lineno}: {node.name} -> {old[node.name]}")
    assert not found, "\n".join(found)


def test_variables() -> None:
    found = []
    for name in python(*TOP):
        for node in nodes(name):
            known = (
                node.id
                if isinstance(node, ast.Name)
                else node.arg
                if isinstance(node, ast.arg)
                else node.attr
                if isinstance(node, ast.Attribute)
                else ""
            )
            if known in NAMES["variables"]:
                found.append(f"{name}:{getattr(node, 'lineno', 0)}: {known}")
    assert not found, f"{len(found)}\n" + "\n".join(found)


def test_tables(tmp_path: Path) -> None:
    migrate(tmp_path / "store.db")
    store = sqlite_utils.Database(tmp_path / "store.db")
    schema = {table.name: {column.name for column in table.columns} for table in store.tables}
    assert len(schema) > 20
    assert not set(NAMES["tables"]) & set(schema)
    columns = {f"{table}.{column}" for table, names in schema.items() for column in names}
    assert not set(NAMES["columns"]) & columns


def test_messages() -> None:
    found: set[str] = set()

    def add(message: Descriptor) -> None:
        found.add(message.name)
        found.update(f"{message.name}.{field.name}" for field in message.fields)
        for inner in message.nested_types:
            add(inner)

    for info in pkgutil.iter_modules(fleetmark_protos.v1.__path__):
        if info.name.endswith("_pb2"):
            file = importlib.import_module(f"fleetmark_protos.v1.{info.name}").DESCRIPTOR
            for message in file.message_types_by_name.values():
                add(message)
            for service in file.services_by_name.values():
                found.update(f"{service.name}.{call.name}" for call in service.methods)
    assert len(found) > 400
    assert not set(NAMES["messages"]) & found


def shown(command: click.Command, path: str, parent: click.Context | None = None) -> Iterator[str]:
    """Yield the paths of all commands and options that `--help` shows."""
    # As the command line makes it: click keeps the help option of the first context of a command.
    context = click.Context(
        command, parent, path.rsplit(maxsplit=1)[-1], **command.context_settings
    )
    for line in command.get_help(context).splitlines():
        for option in re.findall(r"^  (?:-\w, )?(--[a-z-]+)", line):
            yield f"{path} {option}"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                yield f"{path} {name}"
                yield from shown(below, f"{path} {name}", context)


def test_commands() -> None:
    """Old words of commands are hidden; they still run, see `fleetmark_cli.renamed`."""
    visible = {*shown(controller, "controller"), *shown(agent, "agent")}
    assert len(visible) > 300
    assert not set(NAMES["commands"]) & visible
    new = {text for texts in NAMES["commands"].values() for text in texts.split(", ")}
    assert {text for text in new if text.startswith(("controller ", "agent "))} <= visible
