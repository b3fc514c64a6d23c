"""The command `agent`. Heavy imports are delayed until a command needs them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NoReturn

import click

from fleetmark_agent import AGENT_VERSION
from fleetmark_agent.front.commands import group as front_group
from fleetmark_cli.output import echo
from fleetmark_cli.renamed import renamed

_HOME_HELP = "Home folder of the agent. Default: FLEETMARK_AGENT_HOME, or the user's data folder."


@click.group(name="agent", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(AGENT_VERSION, message="fleetmark agent %(version)s")
def command() -> None:
    """Run the jobs that a Fleetmark controller sends to this device."""


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
@click.option(
    "--controller",
    metavar="HOST:PORT",
    help="Address of the controller, or unix:/FOLDER:PORT of a tunnel to it.",
)
@click.option("--token", metavar="T", help="Enrollment token, for a device that is not enrolled.")
@click.option("--token-file", metavar="FILE", help="File with the enrollment token.")
@click.option(
    "--name",
    help="Name of the device. Default: its name at enrollment, or the host name.",
)
@click.option(
    "--label",
    "labels",
    metavar="KEY=VALUE",
    multiple=True,
    callback=_labels,
    help="Set a label of the device, for selectors; can be repeated.",
)
@click.option("--home", metavar="DIR", help=_HOME_HELP)
@click.option(
    "--sandbox",
    metavar="LEVEL",
    help="Strongest sandbox to use: none, limits, landlock, bubblewrap.",
)
@click.option(
    "--allow-network", is_flag=True, help="Allow the network to jobs whose component requests it."
)
@click.option(
    "--allow-folder",
    "folders",
    metavar="DIR",
    multiple=True,
    help="Let all jobs also write to this folder; can be repeated.",
)
@click.option(
    "--once",
    is_flag=True,
    help="Exit after at least one job, when no more jobs are queued for the device.",
)
@click.option(
    "--log-format",
    metavar="FORMAT",
    help="Form of log lines: text, json or auto. Default: auto, which is text on a terminal.",
)
@click.option("--verbose", is_flag=True, help="Log debug messages.")
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
    log_format: str | None,
    verbose: bool,
) -> None:
    """Run the agent in the foreground, until SIGTERM or Ctrl-C.

    The controller's address comes from --controller, FLEETMARK_CONTROLLER or config.toml.
    Otherwise the agent uses the controller at which the device is enrolled, or one that it finds
    on the local network by mDNS. It retries until it finds a controller.

    A new device needs an enrollment token (--token, --token-file or FLEETMARK_TOKEN) from
    `controller token create`. The agent authenticates the controller before it sends any data.
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
        log_format=log_format,
    )
    exec_daemon(settings, verbose)


@command.command()
@click.option("--home", metavar="DIR", help=_HOME_HELP)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def capabilities(home: str | None, as_json: bool) -> None:
    """Print the capabilities of this device, with its software.

    Each piece of software is found, absent, of a wrong version, or broken: installed, but not
    working.
    """
    from fleetmark_agent.config.loader import load_settings
    from fleetmark_agent.fingerprint import measure
    from fleetmark_agent.software.capabilities import with_findings
    from fleetmark_agent.software.client import detect_in_child
    from fleetmark_cli.output import print_fields, print_json
    from fleetmark_core.serde import to_plain

    findings = detect_in_child().findings
    folder = _home(home)
    facts = measure(home=folder, system_root=Path(load_settings(folder).system_root))
    plain = to_plain(with_findings(facts, findings))
    if as_json:
        print_json({**plain, "detected": to_plain(findings)})
        return
    del plain["software"]
    print_fields({**_flat(plain), **_verdicts(to_plain(findings))})


@command.command()
@click.option("--home", metavar="DIR", help=_HOME_HELP)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def doctor(home: str | None, as_json: bool) -> None:
    """Show the sandbox, the sensors and the settings for jobs, and how to improve them.

    The command tests the sandbox. Only temperature sensors of the SoC are used; the others are
    listed with the reason. Lines that begin with `stable` say for each setting of a stable run to
    what it can be set, or why not.
    """
    from fleetmark_agent.config.loader import load_settings
    from fleetmark_agent.runner.conditioning.doctor import examine_measuring
    from fleetmark_agent.runner.conditioning.tuning import Tuning
    from fleetmark_agent.sandbox.doctor import examine
    from fleetmark_cli.output import print_fields, print_json
    from fleetmark_core.serde import to_plain

    folder = _home(home)
    found = examine(folder)
    settings = load_settings(folder)
    root = Path(settings.system_root)
    tuning = Tuning(folder, root, settings.stable_settings, settings.nvpmodel_mode)
    measuring = examine_measuring(root, tuning.plans())
    if as_json:
        print_json({**to_plain(found), "measuring": to_plain(measuring)})
        return
    print_fields({**found.fields(), **measuring.fields()})
    for name, why in measuring.left_out_sensors.items():
        echo(f"\ntemperature sensor {name} is not used: {why}")
    for shortfall in found.sandbox.shortfalls:
        echo(f"\n{shortfall.what}: {shortfall.reason}\n  remedy: {shortfall.remedy}")


@command.command()
@click.option(
    "--out",
    metavar="FILE",
    default="fleetmark-proof.tar.gz",
    show_default=True,
    type=click.Path(dir_okay=False),
    help="Archive to write.",
)
@click.option(
    "--runtimes",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False),
    help="Folder with the wheels of runtimes, one folder for each; each runtime runs once.",
)
@click.option("--home", metavar="DIR", help=_HOME_HELP)
def proof(out: str, runtimes: str | None, home: str | None) -> None:
    """Write an archive with what Fleetmark reads of this device, to test it without the device.

    The archive has the kernel's files that are read, the answers of the vendor's programs, the
    sensors, the settings and the output of `agent doctor`. Host and user names, addresses, serial
    numbers and home folders are replaced. It is plain text: read it before you send it. The command
    changes no setting and sends nothing.
    """
    from fleetmark_agent.proof.proof_archive import write_proof

    document = write_proof(_home(home), Path(out), None if runtimes is None else Path(runtimes))
    for run in document["runs"]:
        echo(f"runtime {run['runtime']}: {run['fault'] or 'it computes'}")
    echo(
        f"{out} has {document['files']} files. Read it before you send it: tar xOf {out} proof.json"
    )


@command.command()
@click.option("--home", metavar="DIR", help=_HOME_HELP)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def status(home: str | None, as_json: bool) -> int:
    """Show the state of the agent with this home, and its attempts.

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
    """Give this device a new identity, if its disk is a copy of another device's disk.

    The command removes its key and certificate. Then start the agent with an enrollment token.
    """
    from fleetmark_agent.startup.new_identity import become_new_device

    device_id = become_new_device(_home(home))
    echo(f"This device now has the id {device_id}. Start its agent with an enrollment token")


@command.command(name="export-identity")
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False))
@click.option("--name", help="Name of the device. Default: the host name.")
@click.option("--home", metavar="DIR", help=_HOME_HELP)
def export_identity(file: str, name: str | None, home: str | None) -> None:
    """Write the identity of this device to FILE, for a controller that it cannot reach.

    `controller fleet add FILE` registers the device. The command creates a key for the device, and
    prints its fingerprint, which the operator must compare.
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
    echo(f"{file}: device {settings.name}, with key {fingerprint}")


command.add_command(renamed(export_identity, "describe", "agent export-identity"))
command.add_command(front_group)


@command.command(name="run-bundle")
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False))
@click.option(
    "--out",
    metavar="RESULTS",
    type=click.Path(dir_okay=False),
    required=True,
    help="Results file to write.",
)
@click.option(
    "--trust", metavar="PIN", help="Pin that a new device trusts, as `bundle export` prints it."
)
@click.option("--home", metavar="DIR", help=_HOME_HELP)
@click.option("--verbose", is_flag=True, help="Log debug messages.")
def run_bundle(file: str, out: str, trust: str | None, home: str | None, verbose: bool) -> None:
    """Run the order in FILE on a device without a network, and write its results.

    The agent verifies it like an order from the network. `controller results import RESULTS`
    imports the results.
    """
    from fleetmark_agent.config.loader import load_settings
    from fleetmark_agent.offline import run_from
    from fleetmark_cli.logging_setup import set_up_logging

    settings = load_settings(_home(home))
    device = {"device": settings.name} if settings.name else {}
    set_up_logging(verbose, settings.log_format, device)
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
    """Return capabilities for display: nested tables as one level, lists as one line each."""
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
    """Entry point."""
    # gRPC's own log repeats the messages of our log.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # The system's resolver knows /etc/hosts, mDNS and host names; gRPC's own resolver does not.
    os.environ.setdefault("GRPC_DNS_RESOLVER", "native")
    from fleetmark_agent.errors import to_problem
    from fleetmark_cli.app import run

    run(command, to_problem)


if __name__ == "__main__":
    main()
