"""Reading along: the end of what is there, then what is added, nothing twice, and an end."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fleetmark_agent.runner.log_tail import Tails
from fleetmark_agent.runner.workspace import Workspace
from fleetmark_agent.session.messages import AttemptRef, LogLines
from fleetmark_agent.state.attempt_key import LocalAttemptKey

REF = AttemptRef("d1", "job-1", 1, "boot")


def text(output: list[LogLines], stream: str) -> bytes:
    return b"".join(lines.data for lines in output if lines.stream == stream)


async def until(look: object, output: list[LogLines]) -> None:
    for _ in range(200):
        if look(output):  # type: ignore[operator]
            return
        await asyncio.sleep(0.05)
    raise AssertionError(output)


async def test_it_sends_the_end_then_what_is_added_then_that_it_is_over(tmp_path: Path) -> None:
    output: list[LogLines] = []
    workspace = Workspace(tmp_path, LocalAttemptKey("job-1", 1))
    workspace.root.mkdir()
    workspace.stdout.write_bytes(b"x" * 100_000 + b"last\n")
    tails = Tails(tmp_path, output.append)
    tails.want(REF)
    await until(lambda s: text(s, "stdout").endswith(b"last\n"), output)
    assert output[0].offset == 100_005 - 16 * 1024
    with workspace.stdout.open("ab") as file:
        file.write(b"more\n")
    workspace.stderr.write_bytes(b"oh\n")
    await until(lambda s: text(s, "stderr") == b"oh\n", output)
    await until(lambda s: text(s, "stdout").endswith(b"last\nmore\n"), output)
    assert not any(lines.end for lines in output)
    with workspace.stdout.open("ab") as file:
        file.write(b"the end\n")
    workspace.outcome.write_text("{}")
    await until(lambda s: s[-1].end, output)
    assert text(output, "stdout").endswith(b"last\nmore\nthe end\n")
    ends = [lines.offset + len(lines.data) for lines in output if lines.stream == "stdout"]
    assert ends == sorted(ends)


async def test_no_lines_are_sent_without_readers(tmp_path: Path) -> None:
    output: list[LogLines] = []
    workspace = Workspace(tmp_path, LocalAttemptKey("job-1", 1))
    workspace.root.mkdir()
    tails = Tails(tmp_path, output.append)
    tails.want(REF)
    await until(lambda s: len(s) == 2, output)
    tails.stop(REF.key)
    workspace.stdout.write_bytes(b"unheard\n")
    await asyncio.sleep(0.6)
    assert text(output, "stdout") == b""
