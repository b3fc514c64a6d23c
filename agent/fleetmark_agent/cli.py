"""The command `agent`. Heavy imports are delayed until a command needs them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NoReturn

import click

from fleetmark_cli.output import echo

_HOME_HELP = "Folder of this agent. Default: FLEETMARK_AGENT_HOME, or the user's data folder."


@click.group(name="agent", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="fleetmark", message="%(version)s")
def command() -> None:
    """The light service on a board: runs what a Fleetmark controller sends it."""


def _labels(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> Any:
    from fleetmark_agent.config.loader import parse_label

    labels: dict[str, str] = {}
    for value in values:
        try:
            key, text = parse_label(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error
        labels[key] = text
    return labels


@command.command()
@click.option("--controller", metavar="HOST:PORT", help="Where the controller listens.")
@click.option("--token", metavar="T", help="A join token, for a board without a controller.")
@click.option("--token-file", metavar="FILE", help="A file that holds it.")
@click.option(
    "--name",
    help="Name of this device. Default: the one that it enrolled with, or the host's name.",
)
@click.option(
    "--label",
    "labels",
    metavar="KEY=VALUE",
    multiple=True,
    callback=_labels,
    help="Say something about this device, for selectors; may be given more than once.",
)
@click.option("--home", metavar="DIR", help=_HOME_HELP)
@click.option(
    "--sandbox", metavar="LEVEL", help="Strongest that is used: none, limits, landlock, bubblewrap."
)
@click.option("--allow-network", is_flag=True, help="Give it to jobs whose component asks for it.")
@click.option(
    "--allow-folder",
    "folders",
    metavar="DIR",
    multiple=True,
    help="Every job may write there, too.",
)
@click.option("--once", is_flag=True, help="End when at least one job is done and none waits here.")
@click.option("--verbose", is_flag=True, help="Log what happens in detail.")
def start(
    controller: str | None,
    token: str | None,
    token_file: str | None,
    name: str | None,
    labels: dict[str, str],
    home: str | None,
    sandbox: str | None,
    allow_network: bool,
    folders: tuple[str, ...],
    once: bool,
    verbose: bool,
) -> None:
    """Run the agent in the foreground, until SIGTERM or Ctrl-C.

    The controller's address comes from --controller, FLEETMARK_CONTROLLER or config.toml; else it
    is the controller that this board belongs to, or one that makes itself known on the local
    network. An agent that finds no controller keeps trying.

    A new board needs a join token (--token, --token-file or FLEETMARK_TOKEN), which `controller
    token create` makes. The board checks that it talks to that controller before it says anything.
    """
    from fleetmark_agent.config.loader import load_settings
    from fleetmark_agent.startup.handover import exec_daemon

    settings = load_settings(
        _home(home),
        controller=controller,
        name=name,
        labels=labels,
        once=once,
        token=token,
        token_file=token_file,
        sandbox=sandbox,
        allow_network=allow_network,
        allow_folders=folders,
    )
    exec_daemon(settings, verbose)


@command.command()
@click.option("--home", metavar="DIR", help=_HOME_HELP)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def capabilities(home: str | None, as_json: bool) -> None:
    """Measure this board, look for software, and print both.

    Each piece of software is found, absent, of a wrong version, or broken: there, but not working.
    """
    from fleetmark_agent.fingerprint import measure
    from fleetmark_agent.software.capabilities import with_findings
    from fleetmark_agent.software.client import detect_in_child
    from fleetmark_cli.output import print_fields, print_json
    from fleetmark_core.serde import to_plain

    findings = detect_in_child().findings
    plain = to_plain(with_findings(measure(home=_home(home)), findings))
    if as_json:
        print_json({**plain, "detected": to_plain(findings)})
        return
    del plain["software"]
    print_fields({**_flat(plain), **_verdicts(to_plain(findings))})


@command.command()
@click.option("--home", metavar="DIR", help=_HOME_HELP)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def doctor(home: str | None, as_json: bool) -> None:
    """Show what jobs on this device run in and are measured by, and what would improve it.

    The sandbox is proven now. Of the temperature sensors those of the SoC count; the others are
    shown with the reason why they do not.
    """
    from fleetmark_agent.config.loader import load_settings
    from fleetmark_agent.runner.conditioning.doctor import examine_measuring
    from fleetmark_agent.sandbox.doctor import examine
    from fleetmark_cli.output import print_fields, print_json
    from fleetmark_core.serde import to_plain

    folder = _home(home)
    found = examine(folder)
    measuring = examine_measuring(Path(load_settings(folder).system_root))
    if as_json:
        print_json({**to_plain(found), "measuring": to_plain(measuring)})
        return
    print_fields({**found.fields(), **measuring.fields()})
    for name, why in measuring.left_out_sensors.items():
        echo(f"\ntemperature sensor {name} does not count: {why}")
    for shortfall in found.sandbox.shortfalls:
        echo(f"\n{shortfall.what}: {shortfall.reason}\n  to change that: {shortfall.remedy}")


@command.command()
@click.option("--home", metavar="DIR", help=_HOME_HELP)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def status(home: str | None, as_json: bool) -> int:
    """Show the state of the agent with this home, and what it holds.

    \b
    Exit codes:
      0  connected to its controller
      3  no agent runs with this home
      4  not enrolled: without a controller, or waiting for approval
      5  running, but not connected; `outage` says why
    """  # noqa: D301
    from fleetmark_agent.daemon.status import exit_code, home_status
    from fleetmark_cli.output import print_fields, print_json

    values = home_status(_home(home))
    code = exit_code(values)
    if as_json:
        print_json(values)
        return code
    attempts = values.pop("attempts")
    print_fields({key: _shown(key, value) for key, value in values.items()})
    for attempt in attempts:
        why = f": {attempt['reason']}" if attempt["reason"] else ""
        echo(f"job {attempt['job_id']}, epoch {attempt['epoch']}: {attempt['state']}{why}")
    return code


@command.command(name="new-identity")
@click.option("--home", metavar="DIR", help=_HOME_HELP)
def new_identity(home: str | None) -> None:
    """Make this board a new device, if it was made from a copy of another board's disk.

    Its key and certificate are removed. Then start the agent with a join token.
    """
    from fleetmark_agent.startup.new_identity import become_new_device

    device_id = become_new_device(_home(home))
    echo(f"This board is now device {device_id}. Start its agent with a join token")


@command.command()
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False))
@click.option("--name", help="What people call this device. Default: the host's name.")
@click.option("--home", metavar="DIR", help=_HOME_HELP)
def describe(file: str, name: str | None, home: str | None) -> None:
    """Write into FILE what this board is, for a controller that it cannot reach.

    There, `controller fleet add FILE` registers it. The board gets a key of its own; what the
    controller must compare is printed.
    """
    from dataclasses import replace

    from fleetmark_agent.config.device_name import device_name
    from fleetmark_agent.config.loader import load_settings
    from fleetmark_agent.offline import write_description
    from fleetmark_agent.state.identity import load_enrollment

    settings = load_settings(_home(home), name=name)
    known = load_enrollment(settings.home)
    settings = replace(settings, name=device_name(settings.name, known))
    fingerprint = write_description(settings, Path(file))
    echo(f"{file}: this board, {settings.name}, with key {fingerprint}")


@command.command(name="run-bundle")
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False))
@click.option(
    "--out",
    metavar="RESULTS",
    type=click.Path(dir_okay=False),
    required=True,
    help="Where the results are written.",
)
@click.option(
    "--trust", metavar="PIN", help="Whom a new board trusts: what `bundle export` prints."
)
@click.option("--home", metavar="DIR", help=_HOME_HELP)
@click.option("--verbose", is_flag=True, help="Log what happens in detail.")
def run_bundle(file: str, out: str, trust: str | None, home: str | None, verbose: bool) -> None:
    """Run the order in FILE, on a board without any network, and write its results.

    The same is checked as of an order that comes by network. `controller results import RESULTS`
    takes them in.
    """
    from fleetmark_agent.config.loader import load_settings
    from fleetmark_agent.offline import run_from
    from fleetmark_cli.logging_setup import set_up_logging

    settings = load_settings(_home(home))
    set_up_logging(verbose)
    run_from(settings, Path(file), Path(out), trust or "")


def _home(flag: str | None) -> Path:
    from fleetmark_cli.paths import home_folder

    return home_folder("agent", flag)


def _shown(key: str, value: Any) -> Any:
    from fleetmark_core.resource_model import size

    if isinstance(value, bool):
        return "yes" if value else "no"
    return size(value) if key.endswith("_bytes") and value is not None else value


def _flat(plain: dict[str, Any]) -> dict[str, object]:
    """Return facts as one flat table for display; each list becomes one line."""
    from fleetmark_core.resource_model import size

    shown: dict[str, object] = {}
    for group, values in plain.items():
        if isinstance(values, dict):
            for name, value in values.items():
                key = f"{group}.{name}"
                if isinstance(value, list):
                    shown[key] = " ".join(map(str, value)) or None
                elif name.endswith("_bytes") and value is not None:
                    shown[key.removesuffix("_bytes")] = size(value)
                else:
                    shown[key] = value
        elif isinstance(values, list) and values and isinstance(values[0], dict):
            for number, item in enumerate(values):
                kind = item.get("kind") or item.get("implementation") or ""
                name = item.get("name") or item.get("path")
                more = item.get("version") or item.get("current") or item.get("source") or ""
                shown[f"{group}.{number}"] = " ".join(filter(None, (kind, name, more)))
        elif isinstance(values, list):
            shown[group] = " ".join(map(str, values)) or None
        else:
            shown[group] = values
    return shown


def _verdicts(findings: list[dict[str, Any]]) -> dict[str, object]:
    """Return one line per finding: `gcc  found 12.2.0, /usr/bin/gcc (languages=c c++)`."""
    shown: dict[str, object] = {}
    for finding in findings:
        name = f"software.{finding['software']}"
        number = 2
        while name in shown:
            name, number = f"software.{finding['software']}.{number}", number + 1
        more = " ".join(f"{key}={value}" for key, value in finding["details"].items())
        text = " ".join(filter(None, (finding["verdict"], finding["version"])))
        text = ", ".join(filter(None, (text, finding["path"])))
        shown[name] = text + (f": {finding['reason']}" if finding["reason"] else "")
        shown[name] = f"{shown[name]} ({more})" if more else shown[name]
    return shown


def main() -> NoReturn:
    """Run the command-line interface."""
    # gRPC's own log repeats what the agent already logs.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # The system's resolver knows /etc/hosts, mDNS and host names; gRPC's own resolver does not.
    os.environ.setdefault("GRPC_DNS_RESOLVER", "native")
    from fleetmark_agent.errors import to_problem
    from fleetmark_cli.app import run

    run(command, to_problem)


if __name__ == "__main__":
    main()
