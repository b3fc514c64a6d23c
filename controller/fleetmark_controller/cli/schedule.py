"""`controller schedule`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fleetmark_controller.cli import options

if TYPE_CHECKING:
    from fleetmark_protos.v1.jobs_pb2 import SubmitResult


@click.command(name="schedule")
@click.argument("benchmark", default="default")
@options.fleet
@click.option("--scenario", "scenarios", metavar="S,…", multiple=True, help="LoadGen scenarios.")
@click.option("--mode", "modes", metavar="M,…", multiple=True, help="performance, accuracy, …")
@click.option("--set", "settings", metavar="KEY=V1,V2", multiple=True, help="Grid of a parameter.")
@click.option("--with", "variations", metavar="VARIATION", multiple=True, help="Named changes.")
@click.option("--profile", default="quick", show_default=True, help="quick or valid.")
@click.option("--repeat", type=click.IntRange(1, 1000), default=1, help="Repetitions of each.")
@click.option("--any", "any_device", is_flag=True, help="Each job once, on any board that fits.")
@click.option("--priority", type=click.IntRange(-1000, 1000), default=0)
@click.option("--timeout", "timeout_s", type=click.FloatRange(1), help="Seconds of one attempt.")
@click.option(
    "--deadline", "deadline_s", type=click.FloatRange(1), help="Seconds [default: 7 days]."
)
@click.option("--max-attempts", type=click.IntRange(1, 100), default=3, show_default=True)
@click.option("--wait", is_flag=True, help="Show progress; exit with the campaign's result.")
@click.option("--dry-run", is_flag=True, help="Only show what would run where.")
@options.as_json
@options.controller
def command(
    benchmark: str,
    selector: str,
    scenarios: tuple[str, ...],
    modes: tuple[str, ...],
    settings: tuple[str, ...],
    variations: tuple[str, ...],
    profile: str,
    repeat: int,
    any_device: bool,
    priority: int,
    timeout_s: float | None,
    deadline_s: float | None,
    max_attempts: int,
    wait: bool,
    dry_run: bool,
    as_json: bool,
    address: str | None,
) -> int:
    """Run BENCHMARK (or a suite; without a name the default suite) on every board that fits."""
    from fleetmark_cli import output
    from fleetmark_controller.cli import watching
    from fleetmark_controller.ids import uuid7
    from fleetmark_protos.v1 import jobs_pb2

    request = jobs_pb2.SubmitRequest(
        campaign_id=uuid7(),
        benchmark=benchmark,
        selector=selector,
        scenarios=options.words(scenarios),
        modes=options.words(modes),
        variations=options.words(variations),
        parameters={k: jobs_pb2.Values(values=v) for k, v in _grid(settings).items()},
        profile=profile,
        repetitions=repeat,
        any_device=any_device,
        priority=priority,
        timeout_ns=int((timeout_s or 0) * 1e9),
        deadline_ns=int((deadline_s or 0) * 1e9),
        max_attempts=max_attempts,
        dry_run=dry_run,
    )
    with options.connect(address) as client:
        result = None
        for event in client.stream(client.jobs.Submit, request):
            if event.WhichOneof("body") == "progress":
                click.echo(event.progress, err=True)
            else:
                result = event.result
        assert result is not None
        if dry_run:
            _show_plan(result, as_json)
            return 0
        if not as_json:
            _say_submitted(result)
        code = 0
        if wait:
            code = watching.follow(client, result.campaign_id, quiet=as_json)
        if as_json:
            output.print_json(_plain(result, code if wait else None))
        return code


def _grid(settings: tuple[str, ...]) -> dict[str, list[str]]:
    grid: dict[str, list[str]] = {}
    for setting in settings:
        key, separator, values = setting.partition("=")
        if not separator or not key or not values:
            raise click.UsageError(f"--set {setting!r} is not KEY=VALUE[,VALUE…]")
        grid.setdefault(key, []).extend(value for value in values.split(",") if value)
    return grid


def _say_submitted(result: SubmitResult) -> None:
    devices = {job.device for job in result.jobs}
    click.echo(f"Campaign {result.campaign_id}: {len(result.jobs)} jobs on {len(devices)} boards")
    for left in result.left_out:
        click.echo(f"Left out: {left.device}: {left.reason}", err=True)


def _show_plan(result: SubmitResult, as_json: bool) -> None:
    from fleetmark_catalog.core.footprint import size
    from fleetmark_cli import output, tables

    if as_json:
        output.print_json(_plain(result, None))
        return
    tables.print_table(
        ("device", "configuration", "bundle", "memory", "disk"),
        [
            (
                job.device,
                job.configuration,
                size(job.bundle_bytes),
                size(job.memory_bytes),
                size(job.disk_bytes),
            )
            for job in result.jobs
        ],
        title="Would run",
    )
    if result.builds:
        tables.print_table(
            ("wheel", "about"),
            [(build.wheel, f"{build.minutes} min") for build in result.builds],
            title="Built first, once",
        )
    if result.left_out:
        tables.print_table(
            ("device", "because"), [(x.device, x.reason) for x in result.left_out], "Left out"
        )


def _plain(result: SubmitResult, exit_code: int | None) -> dict[str, object]:
    from fleetmark_protos.plain import to_plain

    plain = to_plain(result)
    if exit_code is not None:
        plain["succeeded"] = exit_code == 0
    return plain
