"""No output fails for the encoding of its stream, and what is replaced stays aligned."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Callable

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_agent.cli import command as agent
from fleetmark_cli import logging_setup, output, tables
from fleetmark_cli.encoding import ascii_form, encodable, is_unicode, protect_streams
from fleetmark_controller.cli import controller

ENCODINGS = ["ascii", "iso-8859-1", "iso-8859-15", "cp1252", "koi8-r", "utf-8"]
STRANGE = "… → ─│┌█ » ° ± µ – “x” ≥ é ß Ω 漢字 \U0001f600 \ud800"


def stream(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding, errors="strict", newline="\n")


def written(
    encoding: str, monkeypatch: pytest.MonkeyPatch, write: Callable[[], object]
) -> tuple[str, str]:
    """What `write` puts on standard output and standard error of this encoding."""
    out, err = stream(encoding), stream(encoding)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    protect_streams()
    write()
    for each in (out, err):
        each.flush()
    texts = tuple(each.buffer.getvalue().decode(encoding) for each in (out, err))  # type: ignore[attr-defined]
    monkeypatch.undo()
    return texts[0], texts[1]


@given(st.text(), st.sampled_from(ENCODINGS))
def test_every_text_can_be_written(text: str, encoding: str) -> None:
    shown = encodable(text, stream(encoding))
    if encoding != "utf-8":
        shown.encode(encoding)
    if text.isascii():
        assert shown == text


@given(st.characters())
def test_every_character_has_a_form_in_ascii(letter: str) -> None:
    assert ascii_form(letter) and ascii_form(letter).isascii()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_writer_writes_on_every_stream(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write() -> None:
        output.echo(STRANGE)
        output.echo(STRANGE, err=True)
        output.heading(STRANGE)
        output.print_fields({STRANGE: STRANGE})
        tables.print_table([STRANGE, "b"], [[STRANGE, None], ["…", 1]], title=STRANGE)
        logging_setup.set_up_logging()
        logging.getLogger("test").warning("%s", STRANGE)
        sys.stdout.write(STRANGE)

    out, err = written(encoding, monkeypatch, write)
    assert "x" in out and "x" in err
    if encoding == "ascii":
        assert '... -> -|+# >> deg  +/- u - "x" >= e' in out


@pytest.mark.parametrize("encoding", ["ascii", "iso-8859-1", "utf-8"])
def test_json_keeps_every_character(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value = {"name": "… → é 漢 \U0001f600"}
    out, _ = written(encoding, monkeypatch, lambda: output.print_json(value))
    assert json.loads(out) == value

    def log() -> None:
        logging_setup.set_up_logging()
        logging.getLogger("test").warning("%s", value["name"])

    _, err = written(encoding, monkeypatch, log)
    assert json.loads(err)["event"] == value["name"]


def test_columns_of_a_table_stay_aligned(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [["01a2…", "a"], ["x", "b"], [None, "c"]]
    out, _ = written("iso-8859-1", monkeypatch, lambda: tables.print_table(["id", "n"], rows))
    lines = [line for line in out.splitlines() if line.strip()]
    assert [line.rstrip()[-1] for line in lines] == ["n", "-", "a", "b", "c"]
    assert (
        len({line.rstrip().rfind(letter) for line, letter in zip(lines, "n-abc", strict=True)}) < 3
    )
    assert "01a2..." in out and "\u2500" not in out


def test_what_is_no_encoding_is_taken_for_one_that_knows_ascii_alone() -> None:
    odd = io.StringIO()
    assert is_unicode(odd)
    assert encodable("…", odd) == "…"


def commands(group: click.Command, context: click.Context) -> list[tuple[str, str]]:
    """The name and help of a command and of all below it."""
    found = [(context.command_path, group.get_help(context))]
    if isinstance(group, click.Group):
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            settings = command.context_settings
            found += commands(command, click.Context(command, context, name, **settings))
    return found


@pytest.mark.parametrize("program", [agent, controller], ids=["agent", "controller"])
def test_help_is_ascii_and_every_command_accepts_both_forms(program: click.Command) -> None:
    context = click.Context(program, info_name=program.name, **program.context_settings)
    found = commands(program, context)
    assert len(found) > 5
    for name, text in found:
        assert text.isascii(), name
        assert "-h, --help" in text, name
