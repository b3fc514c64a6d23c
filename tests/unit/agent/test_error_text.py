"""A job's reason keeps the cause of its error, however long the message is."""

from __future__ import annotations

import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_agent.runner.error_text import MAX_LENGTH, error_text

FRAMES = 'Traceback (most recent call last):\n  File "main.py", line 3, in <module>\n    load()\n'


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("", ""),
        ("\n\n", ""),
        ("a warning\nno such file: model.onnx\n", "no such file: model.onnx"),
        (f"{FRAMES}ValueError: bad shape\n", "ValueError: bad shape"),
        (
            f"{FRAMES}RuntimeError: cannot load\n  node 7\n  unknown operator Foo\n",
            "RuntimeError: cannot load node 7 unknown operator Foo",
        ),
        (f"{FRAMES}KeyError: 'a'\n\nDuring handling …\n\n{FRAMES}OSError: b\n", "OSError: b"),
        (
            f"{FRAMES}RuntimeError: x\n y\nfleetmark: load the model: x\n y\n",
            "fleetmark: load the model: x y",
        ),
        (
            "fleetmark: run: early\nterminate called\n  what():  late\n",
            "fleetmark: run: early terminate called what():  late",
        ),
        (FRAMES, "load()"),
        (
            "terminate called after throwing an instance of 'std::runtime_error'\n"
            "  what():  bad node\n",
            "terminate called after throwing an instance of 'std::runtime_error' what():  bad node",
        ),
        (
            "Fatal Python error: Segmentation fault\n\nCurrent thread 0x01 (most recent call "
            'first):\n  File "main.py", line 3 in run\n\nExtension modules: numpy (total: 1)\n',
            "Fatal Python error: Segmentation fault",
        ),
        ("red\x1b[31m alert\n", "red [31m alert"),
    ],
)
def test_the_message_is_found(written: str, text: str) -> None:
    assert error_text(written) == text


def test_the_end_of_a_long_message_is_kept() -> None:
    path = "/var/lib/fleetmark/agent/attempts/" + "x" * 600
    try:
        raise RuntimeError(
            f"[ONNXRuntimeError] : 1 : FAIL : Load model from {path} failed: opset 99"
        )
    except RuntimeError as error:
        written = "".join(traceback.format_exception(error))
    found = error_text(written)
    assert found.startswith("RuntimeError: [ONNXRuntimeError] : 1 : FAIL : Load model from /var")
    assert " … " in found and found.endswith("failed: opset 99")
    assert len(found) == MAX_LENGTH


@given(st.text(max_size=3000))
def test_any_text_becomes_one_bounded_line(written: str) -> None:
    found = error_text(written)
    assert len(found) <= MAX_LENGTH
    assert found.isprintable() or not found
    last = written.strip().splitlines()
    if not last:
        assert found == ""
