"""Old names of commands and options: hidden from help, and accepted for one more release."""

from __future__ import annotations

import copy
from typing import Any

import click

from fleetmark_cli.output import echo


class RenamedOption(click.Option):
    """An option with old names. They work like the new one, and `--help` does not show them."""

    def __init__(self, *arguments: Any, old: tuple[str, ...], **keywords: Any) -> None:
        """Accept the names in `old` too, such as `("--set",)`."""
        super().__init__(*arguments, **keywords)
        self._shown = self.opts
        self.opts = [*self.opts, *old]

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the help line, without the old names."""
        shown = copy.copy(self)
        shown.opts = self._shown
        return super(RenamedOption, shown).get_help_record(ctx)


def renamed(command: click.Command, name: str, now: str) -> click.Command:
    """Return a hidden copy of `command`, called `name`.

    Args:
        command: the command under its new name.
        name: its old name.
        now: the new words, such as `controller campaign pause`. The copy prints them on standard
            error before it runs.
    """
    alias = copy.copy(command)
    alias.name, alias.hidden = name, True
    run = command.callback
    assert run is not None

    def callback(*arguments: Any, **keywords: Any) -> Any:
        note(now)
        return run(*arguments, **keywords)

    alias.callback = callback
    return alias


def note(now: str) -> None:
    """Print that the command has a new name."""
    path = click.get_current_context().command_path
    echo(f"`{path}` is now `{now}`; the old name will be removed in the next release", err=True)
