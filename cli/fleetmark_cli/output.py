"""The only writer of command output: text without control characters, and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping

import click

from fleetmark_cli.sanitize import clean, clean_line, escape_json


def echo(message: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Write text for users to standard output, or to standard error if `err`."""
    click.echo(clean(str(message)), err=err, nl=nl)


def heading(title: str) -> None:
    """Write a heading for the next step of a command, in bold if the terminal supports it."""
    click.secho(f"» {clean_line(title)}", bold=True)


def print_json(value: object) -> None:
    """Write one JSON document, and nothing else, to stdout."""
    click.echo(escape_json(json.dumps(value, indent=2, ensure_ascii=False)))


def print_fields(fields: Mapping[str, object]) -> None:
    """Write aligned lines of name and value; None is written as `unavailable`."""
    width = max((len(name) for name in fields), default=0)
    for name, value in fields.items():
        shown = "unavailable" if value is None else clean_line(str(value))
        click.echo(f"{clean_line(name):<{width}}  {shown}")
