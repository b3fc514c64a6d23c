"""The only writer of command output: text without control characters, and JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

import click

from fleetmark_cli.encoding import is_unicode
from fleetmark_cli.sanitize import clean, clean_line, escape_json

# Streams are named in each call: click would write UTF-8 to a stream whose encoding is ASCII.


def echo(message: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Write a text for a person, to standard error if `err`."""
    click.echo(clean(str(message)), file=sys.stderr if err else sys.stdout, nl=nl)


def heading(title: str) -> None:
    """Write what a command does next, in bold where the terminal can."""
    click.secho(f"» {clean_line(title)}", file=sys.stdout, bold=True)


def print_json(value: object) -> None:
    """Write one JSON document, and nothing else, to standard output.

    Where the stream is not UTF-8, other characters are escaped and not replaced.
    """
    document = json.dumps(value, indent=2, ensure_ascii=not is_unicode(sys.stdout))
    click.echo(escape_json(document), file=sys.stdout)


def print_fields(fields: Mapping[str, object]) -> None:
    """Write aligned lines of name and value; None is written as `unavailable`."""
    width = max((len(name) for name in fields), default=0)
    for name, value in fields.items():
        shown = "unavailable" if value is None else clean_line(str(value))
        click.echo(f"{clean_line(name):<{width}}  {shown}", file=sys.stdout)
