"""Prints JSON with stable keys for programs, and names with values for people."""

from __future__ import annotations

import json
from collections.abc import Mapping

import click


def print_json(value: object) -> None:
    """One JSON document, and nothing else, on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_fields(fields: Mapping[str, object]) -> None:
    """Name and value, one pair a line, aligned; what is None reads `unavailable`."""
    width = max((len(name) for name in fields), default=0)
    for name, value in fields.items():
        click.echo(f"{name:<{width}}  {'unavailable' if value is None else value}")
