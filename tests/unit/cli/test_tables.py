"""Tables fit the terminal: long cells wrap between words, and no word is ever cut."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_cli import tables
from fleetmark_cli.tables import GAP, fit_widths

ROWS = [
    ("0000a001", "device-1", "fashion-mnist int8,onnx SingleStream threads=1", "QUEUED", 0, None),
    (
        *("0000b002", "device-2", "fashion-mnist int8,onnx SingleStream threads=2", "FAILED", 3),
        "the program ended with exit code 12 (the runtime cannot be loaded): no such file",
    ),
]
COLUMNS = ("job", "device", "configuration", "state", "tries", "reason")


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    tables.print_table(COLUMNS, ROWS)
    return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("columns", [80, 100, 200])
def test_a_terminal_gets_whole_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = printed(capsys)
    assert max(map(len, lines)) <= columns
    text = " ".join(lines).split()
    for row in ROWS:
        for cell in row:
            assert set(str(cell if cell is not None else "–").split()) <= set(text)


@pytest.mark.usefixtures("terminal")
def test_only_long_words_are_broken_and_only_where_nothing_else_fits(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    path = "/var/lib/fleetmark/agent/attempts/0000a001.1/out/model.onnx"
    tables.print_table(("job", "file", "reason"), [("0000a001", path, f"no such file: {path}")])
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= 60
    (first, *more) = [line for line in lines if "/" in line]
    assert "0000a001" in first
    assert path in "".join(line[12:].split("   ")[0].strip() for line in (first, *more))


def test_a_pipe_gets_one_line_a_row(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = printed(capsys)
    assert str(ROWS[1][-1]) in lines[-2] + lines[-1]
    assert sum("device-" in line for line in lines) == len(ROWS)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=6), st.integers(0, 120))
def test_widths_fit_where_they_can(columns: list[tuple[int, int]], room: int) -> None:
    natural = [max(pair) for pair in columns]
    least = [min(pair) for pair in columns]
    found = fit_widths(natural, least, room)
    assert all(low <= width <= high for low, width, high in zip(least, found, natural, strict=True))
    assert sum(found) <= max(room, sum(least))
    if sum(natural) <= room:
        assert found == natural
    else:
        assert sum(found) == max(room, sum(least)), "no room is wasted"
    assert GAP == 3
