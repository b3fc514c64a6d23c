"""`controller schedule`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fleetmark_cli.output import echo, sentence
from fleetmark_cli.renamed import RenamedOption
from fleetmark_controller.cli import options
from fleetmark_core.plural import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fleetmark_protos.v1.jobs_pb2 import CampaignEstimate, PlannedJob, SubmitResult

EXIT_NOTHING = 3
_MAX_NAMES = 5
_DEADLINE_S = 7 * 24 * 3600.0
"""The controller's default deadline."""


@click.command(name="schedule")
@click.argument("benchmark", default="default")
@options.fleet
@click.option("--scenario", "scenarios", metavar="S,...", multiple=True, help="LoadGen scenarios.")
@click.option(
    "--mode",
    "modes",
    metavar="M,...",
    multiple=True,
    help="Modes: performance, accuracy, compliance, find-performance.",
)
@click.option(
    "--param",
    "settings",
    cls=RenamedOption,
    old=("--set",),
    metavar="KEY=V1,V2",
    multiple=True,
    help="Values of a parameter; several make a grid.",
)
@click.option(
    "--variation",
    "variations",
    cls=RenamedOption,
    old=("--with",),
    metavar="V,...",
    multiple=True,
    help="Variations; several of one group make a grid.",
)
@click.option("--profile", default="quick", show_default=True, help="Profile: quick or valid.")
@click.option(
    "--round", "round_name", metavar="R", help="Use the LoadGen of this MLPerf round: v5.1 or v6.1."
)
@click.option("--repeat", type=click.IntRange(1, 1000), default=1, help="Repetitions of each job.")
@click.option(
    "--any-device",
    cls=RenamedOption,
    old=("--any",),
    is_flag=True,
    help="Run each job once, on any device that fits.",
)
@click.option("--priority", type=click.IntRange(-1000, 1000), default=0)
@click.option(
    "--timeout", "timeout_s", type=options.TERM, help="Time limit of one attempt, such as 90s."
)
@click.option(
    "--deadline",
    "deadline_s",
    type=options.TERM,
    help="Time limit for each job, such as 12h [default: 7d].",
)
@click.option("--max-attempts", type=click.IntRange(1, 100), default=3, show_default=True)
@click.option(
    "--interleave",
    is_flag=True,
    help="Alternate configurations on each device (A B A B ...), with no other job between them.",
)
@click.option(
    "--cool-down", "cool_down_s", type=options.DURATION, default=0, help="Pause before each job."
)
@click.option(
    "--stable",
    is_flag=True,
    help="Cool down first, set the governor if allowed, repeat until the figure is precise.",
)
@click.option(
    "--sustain",
    "sustain_s",
    type=options.TERM,
    metavar="TIME",
    help="Run for this time, such as 30m, and find the steady state after throttling.",
)
@click.option(
    "--start-below",
    "start_below_c",
    type=options.CELSIUS,
    metavar="TEMPERATURE",
    help="Start each run only when the device is cooler than this, such as 40C.",
)
@click.option(
    "--min-sandbox",
    metavar="LEVEL",
    default="",
    help="Exclude devices with a weaker sandbox than limits, landlock or bubblewrap.",
)
@click.option(
    "--max-jobs", type=click.IntRange(1), default=1000, show_default=True, help="Limit of jobs."
)
@click.option(
    "--profile-ops",
    is_flag=True,
    help="Measure each operator in a pass after each performance run (--param profile_ops=true).",
)
@click.option("--wait", is_flag=True, help="Show progress, and exit with the campaign's result.")
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
    round_name: str | None,
    repeat: int,
    any_device: bool,
    priority: int,
    timeout_s: float | None,
    deadline_s: float | None,
    max_attempts: int,
    interleave: bool,
    cool_down_s: float,
    stable: bool,
    sustain_s: float | None,
    start_below_c: float | None,
    min_sandbox: str,
    max_jobs: int,
    profile_ops: bool,
    wait: bool,
    dry_run: bool,
    as_json: bool,
    address: str | None,
) -> int:
    """Run BENCHMARK, or a suite, on every device that fits.

    Without BENCHMARK, run the default suite.
    """
    from fleetmark_cli import output
    from fleetmark_controller.cli import watch
    from fleetmark_core.ids import uuid7
    from fleetmark_protos.v1 import jobs_pb2

    request = jobs_pb2.SubmitRequest(
        campaign_id=uuid7(),
        benchmark=benchmark,
        selector=selector,
        scenarios=options.words(scenarios),
        modes=options.words(modes),
        variations=[*options.words(variations), *([round_name] if round_name else [])],
        parameters={k: jobs_pb2.Values(values=v) for k, v in _grid(settings, profile_ops).items()},
        profile=profile,
        repetitions=repeat,
        any_device=any_device,
        priority=priority,
        timeout_ns=int((timeout_s or 0) * 1e9),
        deadline_ns=int((deadline_s or 0) * 1e9),
        max_attempts=max_attempts,
        dry_run=dry_run,
        interleave=interleave,
        max_jobs=max_jobs,
        cool_down_ns=int(cool_down_s * 1e9),
        min_sandbox=min_sandbox,
        stable=stable,
        sustain_ns=int((sustain_s or 0) * 1e9),
        start_below_c=start_below_c or 0.0,
    )
    with options.connect(address) as client:
        result = None
        size: list[str] = []
        for event in watch.submit(client, request):
            body = event.WhichOneof("body")
            if body == "estimate":
                size = (
                    []
                    if as_json
                    else [_size(event.estimate), *_offline(event.estimate, deadline_s, any_device)]
                )
                continue
            # Printed first, but only after the first check of the request succeeded.
            for line in size:
                sentence(line)
            size = []
            if body == "progress":
                echo(event.progress, err=True)
            else:
                result = event.result
        assert result is not None
        if dry_run:
            return _show_plan(result, as_json)
        if not as_json:
            _say_submitted(result)
            if stable:
                echo("Each job is repeated until its figure is precise enough")
        code = 0
        if wait:
            code = watch.watch_campaign(client, result.campaign_id, quiet=as_json)
        if as_json:
            output.print_json(_plain(result, code if wait else None))
        return code


def _grid(settings: tuple[str, ...], profile_ops: bool) -> dict[str, list[str]]:
    grid: dict[str, list[str]] = {"profile_ops": ["true"]} if profile_ops else {}
    for setting in settings:
        key, separator, values = setting.partition("=")
        if not separator or not key or not values:
            raise click.UsageError(f"--param {setting!r} is not KEY=VALUE[,VALUE...]")
        grid.setdefault(key, []).extend(value for value in values.split(",") if value)
    return grid


def _say_submitted(result: SubmitResult) -> None:
    on = f"{counted(len(result.jobs), 'job')} on {counted(result.estimate.devices, 'device')}"
    echo(f"Campaign {result.campaign_id}: {on}")
    for left in result.excluded:
        sentence(f"Left out: {left.device}: {left.reason}", err=True)


def _size(size: CampaignEstimate) -> str:
    """Return the size of a campaign as one line."""
    from fleetmark_controller.cli.durations import about

    if not size.jobs:
        return "No job"
    jobs = counted(size.jobs, "job")
    devices = counted(size.devices, "device")
    slowest = f" ({size.critical_device} takes longest)" if size.devices > 1 else ""
    slowest = slowest if size.critical_device else ""
    source = (
        "from earlier runs"
        if size.estimated_from_history == size.jobs
        else f"{size.estimated_from_history} of them from earlier runs, the others from the profile"
        if size.estimated_from_history
        else "from the profile"
    )
    return f"{jobs} on {devices}, {about(size.makespan_ns / 1e9)}{slowest}, estimated {source}"


def _offline(size: CampaignEstimate, deadline_s: float | None, any_device: bool) -> Iterator[str]:
    """Yield a line about the devices of a campaign that are not online."""
    from fleetmark_controller.cli.durations import left

    names = list(size.offline_devices)
    if not names:
        return
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    verb, pronoun = ("is", "it") if len(names) == 1 else ("are", "them")
    fate = f"Jobs wait for {pronoun} for at most {left(deadline_s or _DEADLINE_S)} (--deadline)"
    if any_device and len(names) < size.devices:
        fate = "Jobs run on the others"
    yield (
        f"{len(names)} of {counted(size.devices, 'device')} {verb} offline:"
        f" {', '.join(names[:_MAX_NAMES])}{more}. {fate}; `--fleet online` excludes {pronoun}"
    )


def _show_plan(result: SubmitResult, as_json: bool) -> int:
    """Print what would run and why; return 3 if there is nothing."""
    from fleetmark_cli import output, tables
    from fleetmark_controller.cli.durations import about
    from fleetmark_core.resource_model import size

    code = 0 if result.jobs else EXIT_NOTHING
    if as_json:
        output.print_json(_plain(result, None))
        return code
    tables.print_table(
        ("device", "configuration", "bundle", "memory", "disk", "time"),
        [
            (
                job.device,
                job.configuration,
                size(job.bundle_bytes),
                _memory(job),
                size(job.disk_bytes),
                about(job.expected_ns / 1e9),
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
    if result.matched:
        tables.print_table(
            ("device", "because"), [(x.device, x.reason) for x in result.matched], "Matches"
        )
    if result.excluded:
        tables.print_table(
            ("device", "because"), [(x.device, x.reason) for x in result.excluded], "Left out"
        )
    if code:
        echo("Nothing would run", err=True)
    return code


def _memory(job: PlannedJob) -> str:
    """Return the predicted memory with its source: `81.2 MB (measured)`."""
    from fleetmark_core.resource_model import size

    source = f" ({job.memory_source})" if job.memory_source else ""
    return f"{size(job.memory_bytes)}{source}"


def _plain(result: SubmitResult, exit_code: int | None) -> dict[str, object]:
    from fleetmark_protos.plain import to_plain

    plain = to_plain(result)
    if exit_code is not None:
        plain["succeeded"] = exit_code == 0
    return plain
