"""Generator of docs/reference/configuration.md, which `make docs` calls."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Iterable
from dataclasses import MISSING, Field, fields
from typing import Any

import click

from fleetmark_agent.cli import start
from fleetmark_agent.config.loader import KEYS
from fleetmark_agent.config.settings import AgentSettings
from fleetmark_cli.variables import VARIABLES
from fleetmark_controller.cli.serve import command as serve
from fleetmark_controller.home.settings import CHOICES, RANGES, ControllerSettings

_HEAD = """# Configuration

All keys of both `config.toml` files and all environment variables. This page is made by
`docs/site/write_configuration.py` from the code.

A flag counts more than an environment variable, that more than `config.toml`, and that more than
the default. A key that does not exist is refused, with the nearest one that does. Sizes are in
bytes and times in seconds.
"""
_AGENT = """
## config.toml of an agent

In the agent's folder, which is `--home`, FLEETMARK_AGENT_HOME, or `~/.local/share/fleetmark/agent`.
`install-agent.sh` puts it into `/var/lib/fleetmark/agent`. Read when the agent starts. For example:

```toml
controller = "192.0.2.10:7117"
name = "bench-07"
cache_limit_bytes = 8_000_000_000

[labels]
site = "lab1"
```

"""
_CONTROLLER = """
## config.toml of a controller

In the controller's folder, which is `--home`, FLEETMARK_CONTROLLER_HOME, or
`~/.local/share/fleetmark/controller`. Read when the controller starts; `controller serve
--check-config` checks it. For example:

```toml
listen = "192.0.2.10:7117"
heartbeat_idle_s = 5.0
quarantine_after = 5
```

"""
_VARIABLES = """
## Environment variables

| variable | read by | meaning |
|---|---|---|
"""
_TABLE = "| key | takes | default | flag | meaning |\n|---|---|---|---|---|\n"
_FLAG_OF_KEY = {"allow_folders": "folders"}
"""Parameters of commands that are not called like their key."""


def text() -> str:
    """Return the page."""
    agent = (name for name in (field.name for field in fields(AgentSettings)) if name in KEYS)
    controller = (field.name for field in fields(ControllerSettings))
    return "".join(
        [
            _HEAD,
            _AGENT,
            _table(AgentSettings, agent, start, lambda name: KEYS[name].allowed),
            _CONTROLLER,
            _table(ControllerSettings, controller, serve, _taken_by_controller),
            _VARIABLES,
            *(f"| `{v.name}` | {v.reader} | {v.meaning} |\n" for v in VARIABLES),
        ]
    )


def _table(
    settings: type[Any], names: Iterable[str], command: click.Command, takes: Callable[[str], str]
) -> str:
    """Return one row for each key."""
    meanings, defaults = _meanings(settings), {f.name: f for f in fields(settings)}
    flags = {parameter.name: parameter.opts[0] for parameter in command.params}
    rows = [_TABLE]
    for name in names:
        value = _default_of(defaults[name])
        flag = flags.get(_FLAG_OF_KEY.get(name, name))
        shown = f"`{flag}`" if flag else ""
        rows.append(
            f"| `{name}` | {takes(name)} | {_default(value)} | {shown} | {meanings[name]} |\n"
        )
    return "".join(rows)


def _default_of(field: Field[Any]) -> object:
    if field.default is not MISSING:
        return field.default
    assert field.default_factory is not MISSING
    return field.default_factory()


def _meanings(settings: type[Any]) -> dict[str, str]:
    """Return the text below each field of a dataclass: Python itself does not keep it."""
    (definition,) = ast.parse(inspect.getsource(settings)).body
    assert isinstance(definition, ast.ClassDef)
    found: dict[str, str] = {}
    for field, following in zip(definition.body, definition.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
        ):
            found[field.target.id] = " ".join(str(following.value.value).split())
    return found


def _taken_by_controller(name: str) -> str:
    default = next(field.default for field in fields(ControllerSettings) if field.name == name)
    if isinstance(default, bool):
        return "true or false"
    if isinstance(default, tuple):
        return "list of texts"
    if name in CHOICES:
        return ", ".join(CHOICES[name])
    if isinstance(default, str):
        return "text"
    least, most = RANGES[name]
    kind = "whole number" if isinstance(default, int) else "number"
    return f"{kind}, {_number(least)} to {_number(most)}"


def _default(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value in ("", (), [], {}):
        return "none"
    return _number(value) if isinstance(value, (int, float)) else f"`{value}`"


def _number(value: float) -> str:
    return f"{int(value):,}" if float(value).is_integer() else f"{value:g}"


if __name__ == "__main__":
    sys.stdout.write(text())
