"""The command `controller`. Subcommands are imported on first use, so that --help is fast."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import NoReturn

import click

from fleetmark_cli import app, exit_codes
from fleetmark_controller import __version__

_COMMANDS = {
    "serve": ("serve", "Run the controller."),
    "token": ("token", "Create, list and revoke enrollment tokens for new devices."),
    "fleet": ("fleet", "List and manage the devices of the fleet."),
    "schedule": ("schedule", "Run a benchmark on every device that fits."),
    "campaign": ("campaign", "List, watch, pause, cancel and retry campaigns."),
    "jobs": ("jobs", "List, show, cancel and retry jobs, and print their output."),
    "bundle": ("bundle", "Export jobs to files, for devices without a network."),
    "results": ("results", "Show results, and import results from files."),
    "export": ("export", "Write results to files."),
    "compare": ("compare", "Compare the results of two campaigns."),
    "replay": ("replay", "Repeat a run and show the differences."),
    "crosscheck": ("crosscheck", "Explain the figure of a run by its parts."),
    "catalog": ("catalog", "Manage the components that can run."),
    "pack": ("pack", "Verify the archives that `controller campaign pack` writes."),
    "operator": ("operator", "Create, list and revoke credentials of operators."),
    "audit": ("audit", "Show and verify the audit log."),
    "backup": ("backup", "Back up the data of a controller."),
    "restore": ("restore", "Restore a backup as a new home."),
    "demo": ("demo", "Run the demo: a controller, an agent and the default suite on this host."),
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"fleetmark_controller.cli.{_COMMANDS[cmd_name][0]}")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in _COMMANDS:
            from fleetmark_core.suggest import hint

            raise click.UsageError(f"no command {args[0]!r}. {hint(args[0], _COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(
    name="controller",
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="fleetmark controller %(version)s")
def controller() -> None:
    """Run ML benchmarks on a fleet of devices and store the results."""


def _translate(error: Exception) -> exit_codes.Problem | None:
    from fleetmark_core.disk_space import disk_full_error, is_disk_full
    from fleetmark_core.errors import FleetmarkError

    if isinstance(error, OSError) and is_disk_full(error) and error.filename:
        error = disk_full_error(Path(str(error.filename)).parent)
    if isinstance(error, FleetmarkError):
        return exit_codes.Problem(str(error), error.kind.exit_code)
    if isinstance(error, OSError) and error.filename is not None:
        # A file that was named on the command line, or that the home should contain.
        what = error.strerror or str(error)
        return exit_codes.Problem(f"{os.fsdecode(error.filename)}: {what}", exit_codes.EXIT_USAGE)
    return None


def run() -> NoReturn:
    """Entry point: every error becomes one line and an exit code."""
    # gRPC logs each failed handshake, which any client can cause.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # The system's resolver knows /etc/hosts, mDNS and host names; gRPC's own resolver does not.
    os.environ.setdefault("GRPC_DNS_RESOLVER", "native")
    app.run(controller, _translate)
