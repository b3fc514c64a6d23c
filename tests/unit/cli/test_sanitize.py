"""No text of others reaches a terminal with what a terminal obeys, by any writer there is."""

from __future__ import annotations

import ast
import io
import json
import logging
import unicodedata

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_cli import app, exit_codes, logging_setup, output, tables
from fleetmark_cli.sanitize import ControlCharFilter, clean, clean_line, escape_json
from tests.unit.test_layout import sources

EVIL = [
    "\x1b[2J\x1b[H",  # clears the screen
    "\x1b]0;title\x07",  # sets the title
    "\x1b]52;c;Zm9v\x07",  # writes the clipboard
    "\x9b31m",  # CSI in one byte
    "\x90q\x9c",  # a device control string
    "a\rb",  # writes over what stood there
    "a\x08b",
    "\u202egnp.exe",  # turns the direction of what follows
    "\u2066x\u2069",
    "a\u2028b",
    "\ud800",  # half of a letter
    "\x00\x7f\x85",
]
TEXTS = st.text() | st.text(alphabet="\x1b\x9b\x07\r\n\t\u202e\u2028[0;1mab\ud800\U0001f600")


def obeyed(text: str) -> list[str]:
    """What a terminal would obey, or hide, of a text that was shown."""
    return [
        letter
        for letter in text
        if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") and letter not in "\n\t"
    ]


@given(TEXTS)
def test_cleaned_text_holds_nothing_that_a_terminal_obeys(text: str) -> None:
    """And what was harmless is as it was; cleaning it again changes nothing."""
    shown = clean(text)
    assert obeyed(shown) == []
    assert clean(shown) == shown
    shown.encode()
    if text.isprintable():
        assert shown == text


@given(TEXTS)
def test_a_cleaned_line_is_one_line(text: str) -> None:
    """No name adds a second row to a table, or a second line to a log."""
    assert not {"\n", "\r", "\t"} & set(clean_line(text))
    assert len(clean_line(text).splitlines()) <= 1


WHOLE = TEXTS.map(lambda text: text.replace("\ud800", ""))  # JSON would join two halves


@given(st.recursive(WHOLE, lambda inner: st.lists(inner) | st.dictionaries(WHOLE, inner)))
def test_escaped_json_says_the_same(value: object) -> None:
    """A program reads from JSON exactly what was put in."""
    document = escape_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(document) == value
    assert [letter for letter in obeyed(document) if ord(letter) < 0x100] == []
    document.encode()


@given(TEXTS.filter(lambda text: text.isprintable() or "\x1b" in text), st.integers(1, 5))
def test_a_stream_in_pieces_is_as_clean_as_a_whole(text: str, size: int) -> None:
    """A letter that a piece's end cut is whole with the next piece."""
    data = text.encode("utf-8", "replace")
    stream = ControlCharFilter()
    pieces = [stream.clean(data[at : at + size]) for at in range(0, len(data), size)]
    assert "".join(pieces) == clean(data.decode())


def test_a_table_shows_brackets_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """What looks like markup in a heading, a cell or a title is text."""
    tables.print_table(["[red]a[/]"], [("[b]c[/]",)], title="[i]d[/]")
    written = capsys.readouterr().out
    assert all(text in written for text in ("[red]a[/]", "[b]c[/]", "[i]d[/]"))


@pytest.mark.parametrize("evil", EVIL)
@pytest.mark.parametrize("writer", ["echo", "error", "heading", "fields", "json", "table", "title"])
def test_every_writer_cleans(evil: str, writer: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Names, values, titles, cells and headings, on both streams."""
    writers = {
        "echo": lambda: output.echo(f"device {evil} waits"),
        "error": lambda: output.echo(f"device {evil} waits", err=True),
        "heading": lambda: output.heading(evil),
        "fields": lambda: output.print_fields({evil: evil}),
        "json": lambda: output.print_json({evil: [evil]}),
        "table": lambda: tables.print_table([evil], [(evil,), (evil + "b",)]),
        "title": lambda: tables.print_table(["a", "b"], [("x", 1)], title=evil),
    }
    writers[writer]()
    written = capsys.readouterr()
    assert written.out or written.err
    assert obeyed(written.out + written.err) == []


@pytest.mark.parametrize("evil", EVIL)
def test_log_lines_are_clean(evil: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of text for a terminal, a JSON object for a file: no value adds a second line."""
    for a_terminal in (True, False):
        stream = io.StringIO()
        monkeypatch.setattr(stream, "isatty", lambda a_terminal=a_terminal: a_terminal)
        monkeypatch.setattr("sys.stderr", stream)
        logger = logging.getLogger()
        before = logger.handlers[:]
        try:
            logging_setup.set_up_logging()
            [handler] = [one for one in logger.handlers if one not in before]
            handler.emit(
                logging.LogRecord("fleetmark_agent", 40, "", 0, "device %s", (evil,), None)
            )
        finally:
            logger.handlers[:] = before
        assert "device" in stream.getvalue()
        assert obeyed(stream.getvalue()) == []


@pytest.mark.parametrize("evil", EVIL)
def test_an_error_message_is_clean(
    evil: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Error messages often quote text of the client that caused the error."""

    @click.command(name="controller")
    def failing() -> None:
        raise OSError

    monkeypatch.setattr("sys.argv", ["controller"])
    problem = exit_codes.Problem(f"{evil} does not answer", 21)
    with pytest.raises(SystemExit) as ended:
        app.run(failing, lambda _: problem)
    assert ended.value.code == 21
    written = capsys.readouterr().err
    assert "does not answer" in written
    assert obeyed(written) == []


@pytest.mark.parametrize("name", sorted(n for n in sources() if n.startswith("fleetmark_")))
def test_commands_write_by_the_one_writer(name: str) -> None:
    """No module echoes by click itself, which would show texts as they came."""
    tree = ast.parse(sources()[name].read_text())
    past = [
        f"line {node.lineno}: click.{node.func.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "click"
        and node.func.attr in ("echo", "secho", "echo_via_pager")
    ]
    assert past == [] or name == "fleetmark_cli.output"
