"""Generator of docs/reference/protocol.md, which `make docs` calls."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

import fleetmark_protos
from fleetmark_controller.identity.permissions import RULES

_ROOT = Path(fleetmark_protos.__file__).resolve().parents[1]
_PACKAGE = "fleetmark.v1"
_HEAD = """# The protocol

All services, messages and enumerations of the package `fleetmark.v1`, between agents, controllers
and commands. This page is made by `docs/site/write_protocol.py` from the comments of
`protos/fleetmark_protos/v1/*.proto`. The path of a call is `/fleetmark.v1.SERVICE/CALL`. The column
*callers* names the devices, and the lowest role of operators, that may make a call. Fields are only
added, never renumbered.
"""

# Numbers of fields of descriptor.proto, of which the paths of comments consist.
_MESSAGE, _ENUM, _SERVICE, _SYNTAX = 4, 5, 6, 12
_FIELD_OF_MESSAGE, _MESSAGE_OF_MESSAGE, _VALUE_OF_ENUM, _CALL_OF_SERVICE = 2, 3, 2, 2

_Comments = dict[tuple[int, ...], str]


def text() -> str:
    """Return the page.

    Raises:
        RuntimeError: protoc rejected a file.
    """
    files = [file for file in _descriptors().file if file.package == _PACKAGE]
    names = {name for file in files for name in _names(file)}
    return _HEAD + "".join(_file(file, names) for file in files)


def _descriptors() -> FileDescriptorSet:
    """Return the descriptors of every .proto file, with comments, in the order of the names."""
    sources = sorted(str(path.relative_to(_ROOT)) for path in _ROOT.glob("*/v1/*.proto"))
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "descriptors"
        done = subprocess.run(
            [
                *(sys.executable, "-m", "grpc_tools.protoc", "-I", str(_ROOT)),
                *("--include_source_info", f"--descriptor_set_out={target}", *sources),
            ],
            cwd=_ROOT,
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"protoc failed: {done.stderr.strip()}")
        found = FileDescriptorSet.FromString(target.read_bytes())
    order = {name: position for position, name in enumerate(sources)}
    found.file.sort(key=lambda file: order.get(file.name, len(order)))
    return found


def _names(file: FileDescriptorProto) -> Iterator[str]:
    yield from (message.name for message in file.message_type)
    yield from (enum.name for enum in file.enum_type)


def _file(file: FileDescriptorProto, names: set[str]) -> str:
    comments = {
        tuple(location.path): " ".join(location.leading_comments.split())
        for location in file.source_code_info.location
        if location.leading_comments.strip()
    }
    return "".join(
        [
            f"\n## {Path(file.name).name}\n",
            _paragraph(comments.get((_SYNTAX,), "")),
            *(
                _service(service, (_SERVICE, number), comments, names)
                for number, service in enumerate(file.service)
            ),
            *(
                _message(message, message.name, (_MESSAGE, number), comments, names)
                for number, message in enumerate(file.message_type)
            ),
            *(_enum(enum, (_ENUM, number), comments) for number, enum in enumerate(file.enum_type)),
        ]
    )


def _service(
    service: ServiceDescriptorProto, path: tuple[int, ...], comments: _Comments, names: set[str]
) -> str:
    rows = [
        f"\n### Service {service.name}\n",
        _paragraph(comments.get(path, "")),
        "\n| call | callers | request → reply | meaning |\n|---|---|---|---|\n",
    ]
    for number, call in enumerate(service.method):
        request = _link(call.input_type, names, stream=call.client_streaming)
        reply = _link(call.output_type, names, stream=call.server_streaming)
        meaning = _cell(comments.get((*path, _CALL_OF_SERVICE, number), ""))
        callers = _callers(f"/{_PACKAGE}.{service.name}/{call.name}")
        rows.append(f"| `{call.name}` | {callers} | {request} → {reply} | {meaning} |\n")
    return "".join(rows)


def _callers(call: str) -> str:
    """Return who may make a call, as the controller checks it."""
    rule = RULES[call]
    if rule.anyone:
        return "all"
    allowed = ["devices"] if rule.devices else []
    if rule.operators is not None:
        allowed.append(f"{rule.operators.name.lower()}s")
    return ", ".join(allowed)


def _message(
    message: DescriptorProto,
    name: str,
    path: tuple[int, ...],
    comments: _Comments,
    names: set[str],
) -> str:
    rows = [f"\n### {name}\n", _paragraph(comments.get(path, ""))]
    entries = {entry.name: entry for entry in message.nested_type if entry.options.map_entry}
    if message.field:
        rows.append("\n| no. | field | type | meaning |\n|---|---|---|---|\n")
    else:
        rows.append("\nNo fields.\n")
    for number, field in enumerate(message.field):
        meaning = comments.get((*path, _FIELD_OF_MESSAGE, number), "")
        if field.HasField("oneof_index") and not field.proto3_optional:
            alternative = f"One of `{message.oneof_decl[field.oneof_index].name}`."
            meaning = f"{alternative} {meaning}".strip()
        kind = _type(field, entries, names)
        rows.append(f"| {field.number} | `{field.name}` | {kind} | {_cell(meaning)} |\n")
    for number, inner in enumerate(message.nested_type):
        if inner.name not in entries:
            inner_path = (*path, _MESSAGE_OF_MESSAGE, number)
            rows.append(_message(inner, f"{name}.{inner.name}", inner_path, comments, names))
    return "".join(rows)


def _enum(enum: EnumDescriptorProto, path: tuple[int, ...], comments: _Comments) -> str:
    rows = [
        f"\n### {enum.name}\n",
        _paragraph(comments.get(path, "")),
        "\n| no. | value | meaning |\n|---|---|---|\n",
    ]
    for number, value in enumerate(enum.value):
        meaning = _cell(comments.get((*path, _VALUE_OF_ENUM, number), ""))
        rows.append(f"| {value.number} | `{value.name}` | {meaning} |\n")
    return "".join(rows)


def _type(field: FieldDescriptorProto, entries: dict[str, DescriptorProto], names: set[str]) -> str:
    """Return the type of a field as Markdown: `list of …`, `map from … to …`, or its name."""
    entry = entries.get(field.type_name.rpartition(".")[2])
    if entry is not None:
        key, value = (_type(inner, {}, names) for inner in entry.field)
        return f"map from {key} to {value}"
    if field.type_name:
        name = _link(field.type_name, names)
    else:
        kind = FieldDescriptorProto.Type.Name(field.type)
        name = f"`{kind.removeprefix('TYPE_').lower()}`"
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"list of {name}"
    return f"{name}, optional" if field.proto3_optional else name


def _link(type_name: str, names: set[str], *, stream: bool = False) -> str:
    name = type_name.removeprefix(f".{_PACKAGE}.")
    shown = f"[{name}](#{name.lower()})" if name in names else f"`{name}`"
    return f"stream of {shown}" if stream else shown


def _paragraph(words: str) -> str:
    return f"\n{_escaped(words)}\n" if words else ""


def _cell(words: str) -> str:
    return _escaped(words).replace("|", "\\|")


def _escaped(words: str) -> str:
    """Escape what Markdown would read as a tag; comments use the rest of Markdown on purpose."""
    return re.sub(r"<(?=[A-Za-z/!])", r"\\<", words)


if __name__ == "__main__":
    sys.stdout.write(text())
