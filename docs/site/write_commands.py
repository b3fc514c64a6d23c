"""Generator of docs/reference/{agent,controller}-commands.md, which `make docs` calls."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator

import click

from fleetmark_agent.cli import command as agent
from fleetmark_controller.cli import controller

PROGRAMS: dict[str, click.Command] = {"agent": agent, "controller": controller}

_HEAD = """# The command {program}

All commands of `{program}` with their arguments and options. This page is made by
`docs/site/write_commands.py` from the code; `{program} COMMAND --help` prints the same text. Every
command takes `-h` and `--help`.
"""
_TABLE = "\n| option | meaning |\n|---|---|\n"
_DEEPEST_HEADING = 4


def text(program: str) -> str:
    """Return the page of one program."""
    command = PROGRAMS[program]
    return _HEAD.format(program=program) + "".join(
        _section(context)
        for context in _commands(
            click.Context(command, info_name=program, **command.context_settings)
        )
    )


def _commands(context: click.Context) -> Iterator[click.Context]:
    """Yield a command and all below it that are not hidden, in the order of the help text."""
    yield context
    group = context.command
    if isinstance(group, click.Group):
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if command is not None and not command.hidden:
                yield from _commands(
                    click.Context(
                        command, info_name=name, parent=context, **command.context_settings
                    )
                )


def _section(context: click.Context) -> str:
    """Return the heading, the usage, the help text and the options of one command."""
    depth = context.command_path.count(" ")
    usage = " ".join([context.command_path, *context.command.collect_usage_pieces(context)])
    body = [
        f"\n{'#' * min(depth + 1, _DEEPEST_HEADING)} {context.command_path}\n" if depth else "",
        f"\n```\n{usage}\n```\n",
        f"\n{_help(context.command)}\n",
    ]
    # `params` does not contain --help, which the head of the page describes.
    records = [
        record
        for parameter in context.command.params
        if isinstance(parameter, click.Option)
        and (record := parameter.get_help_record(context)) is not None
    ]
    if records:
        body.append(_TABLE)
        body += [f"| `{_cell(option)}` | {_escaped(_cell(help_))} |\n" for option, help_ in records]
    return "".join(body)


def _help(command: click.Command) -> str:
    """Return a command's help text as Markdown, one line a paragraph.

    A paragraph that click does not wrap (it begins with a backspace character) becomes a code
    block.
    """
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(command.help or ""))
    return "\n\n".join(
        "```\n" + paragraph[1:].strip("\n") + "\n```"
        if paragraph.startswith("\b")
        else _escaped(" ".join(paragraph.split()))
        for paragraph in paragraphs
    )


def _cell(words: str) -> str:
    return " ".join(words.split()).replace("|", "\\|")


def _escaped(words: str) -> str:
    """Escape what Markdown would read as emphasis or as a tag, outside of code."""
    parts = re.split(r"(`[^`]*`)", words)
    return "".join(
        part if part.startswith("`") else re.sub(r"([*<])", r"\\\1", part) for part in parts
    )


if __name__ == "__main__":
    sys.stdout.write(text(sys.argv[1]))
