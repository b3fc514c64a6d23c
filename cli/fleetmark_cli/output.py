"""The only writer of command output: text without control characters, and JSON."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Mapping

import click

from fleetmark_cli.encoding import is_unicode
from fleetmark_cli.sanitize import clean, clean_line, escape_json

# Each call names its stream: click would write UTF-8 to a stream whose encoding is ASCII.


def echo(message: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Write a text, to standard error if `err`."""
    click.echo(clean(str(message)), file=sys.stderr if err else sys.stdout, nl=nl)


def sentence(text: str, *, err: bool = False) -> None:
    """Write a sentence; on a terminal it is wrapped between words, never inside one."""
    stream = sys.stderr if err else sys.stdout
    if stream.isatty():
        width = shutil.get_terminal_size().columns
        lines = (_wrapped(line, width) for line in text.splitlines())
        text = "\n".join("\n".join(found) for found in lines)
    echo(text, err=err)


def _wrapped(line: str, width: int, indent: str = "") -> list[str]:
    if len(line) <= width:
        return [line]
    return textwrap.wrap(
        line,
        max(width, 20),
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def heading(title: str) -> None:
    """Write the next step of a command, in bold if the terminal supports it."""
    click.secho(f"» {clean_line(title)}", file=sys.stdout, bold=True)


def print_json(value: object) -> None:
    """Write one JSON document, and nothing else, to standard output.

    If the stream is not UTF-8, other characters are escaped, not replaced.
    """
    document = json.dumps(value, indent=2, ensure_ascii=not is_unicode(sys.stdout))
    click.echo(escape_json(document), file=sys.stdout)


def print_fields(fields: Mapping[str, object]) -> None:
    """Write aligned lines of name and value; None is written as `unavailable`."""
    width = max((len(name) for name in fields), default=0)
    for name, value in fields.items():
        shown = "unavailable" if value is None else clean_line(str(value))
        line = f"{clean_line(name):<{width}}  {shown}"
        if sys.stdout.isatty():
            columns = shutil.get_terminal_size().columns
            line = "\n".join(_wrapped(line, columns, " " * (width + 2)))
        click.echo(line, file=sys.stdout)
