"""Turn a request into jobs: what runs on which device, and which devices are left out. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fleetmark_catalog.load import Catalog
from fleetmark_catalog.resolve import Configuration, Resolution, expand, resolve
from fleetmark_controller.planning import estimates, sustained
from fleetmark_controller.planning.campaign_plan import CampaignPlan, PlannedJob
from fleetmark_controller.planning.campaign_request import CampaignRequest
from fleetmark_controller.planning.device import Device, DeviceList
from fleetmark_controller.planning.device_selection import (
    matching_devices,
    with_sandbox,
    with_temperature,
)
from fleetmark_controller.planning.memory_history import MemoryHistory
from fleetmark_controller.planning.model import JobOption, NewJob
from fleetmark_controller.planning.resources import Speeds, needs_of
from fleetmark_core.clock import NS_PER_S, iso
from fleetmark_core.digest import canonical_json, sha256_hex
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.ids import uuid7
from fleetmark_core.lockfile import BlobRef, Lockfile
from fleetmark_core.parameter_values import runtime_mismatch
from fleetmark_core.plural import counted
from fleetmark_core.resource_model import ResourceNeeds, shortages

DEFAULT_DEADLINE_S = 7 * 24 * 3600
DEFAULT_MAX_ATTEMPTS = 3
MAX_JOBS = 10_000
_TOO_LARGE_SHOWN = 3
DEFAULT_MAX_JOBS = 1_000
"""A larger campaign needs an explicit `max_jobs`."""


def make_plan(
    catalog: Catalog,
    request: CampaignRequest,
    devices: Sequence[Device],
    harness: BlobRef,
    now_ns: int,
    speeds: Speeds | None = None,
    saved: Mapping[str, str] | None = None,
    dry_run: bool = False,
    online: Collection[str] | None = None,
    history: MemoryHistory | None = None,
) -> CampaignPlan:
    """Resolve a request for the matching devices on which it can run.

    Args:
        catalog: the current catalog.
        request: the request of the campaign.
        devices: the devices of the fleet.
        harness: the packed harness.
        now_ns: the current wall-clock time.
        speeds: times per sample that devices have shown in earlier runs.
        saved: the selectors of saved fleets.
        dry_run: also explain every device, even if nothing would run.
        online: the ids of the devices that are connected now; None if unknown.
        history: memory peaks of earlier runs.

    Raises:
        FleetmarkError: an unknown benchmark, word or parameter; an invalid component; NO_MATCH,
            NOTHING_FITS, USAGE.
    """
    request = _sustained(request)
    configurations = expand(
        catalog,
        request.benchmark,
        scenarios=request.scenarios,
        modes=request.modes,
        variations=request.variations,
        parameters=request.parameters,
        profile=request.profile,
    )
    sustained.check_scenarios(configurations, request.sustain_s)
    plan = CampaignPlan()
    roll = devices if isinstance(devices, DeviceList) else DeviceList(devices)
    matching = matching_devices(request.selector, roll, plan, saved or {}, dry_run, online)
    if request.interleave and len(configurations) == 1:
        raise FleetmarkError(
            ErrorKind.USAGE,
            "needs at least two configurations to alternate",
            "--interleave",
            "Give --param or --variation several values, or omit --interleave",
        )
    matching = with_sandbox(request.min_sandbox, matching, plan)
    if request.start_below_c:
        matching = with_temperature(matching, plan)
    _check_bound(request, len(configurations), len(matching), dry_run)
    fitting = _resolve_all(
        catalog,
        configurations,
        matching,
        harness,
        _Earlier(speeds or {}, history or {}),
        plan,
        request.min_sandbox,
    )
    if request.interleave and request.any_device:
        fitting = _on_common_devices(fitting)
    for repetition in range(1, request.repetitions + 1):
        for configuration in configurations:
            options = fitting[configuration.label()]
            groups = [options] if request.any_device and options else [[one] for one in options]
            for group in groups:
                planned = _job(request, configuration, repetition, group, now_ns)
                if request.interleave:
                    # With any_device, the whole group runs on one device. Otherwise each device
                    # runs a group of its own.
                    device_id = "" if request.any_device else group[0].device.device_id
                    job = replace(
                        planned.job,
                        interleave_group=f"{request.campaign_id}:{device_id}",
                        interleave_index=len(plan.jobs) + 1,
                    )
                    planned = replace(planned, job=job)
                plan.jobs.append(planned)
    if not plan.jobs and not dry_run:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in plan.left_out[:5])
        raise FleetmarkError(
            ErrorKind.NOTHING_FITS, f"no matching device can run {request.benchmark} ({reasons})"
        )
    return plan


def _sustained(request: CampaignRequest) -> CampaignRequest:
    """Return a request whose runs last `sustain_s`; the same request if it is not sustained."""
    if not request.sustain_s:
        return request
    sustained.check_request(
        request.sustain_s,
        request.modes,
        request.scenarios,
        request.parameters,
        request.timeout_s,
    )
    parameters = {**request.parameters, sustained.DURATION: (f"{request.sustain_s:.12g}",)}
    return replace(request, modes=(sustained.MODE,), parameters=parameters)


def _check_bound(
    request: CampaignRequest, configurations: int, devices: int, dry_run: bool
) -> None:
    each_on = 1 if request.any_device else devices
    size = configurations * request.repetitions * each_on
    bound = MAX_JOBS if dry_run else min(request.max_jobs or DEFAULT_MAX_JOBS, MAX_JOBS)
    if size <= bound:
        return
    parts = [counted(configurations, "configuration")]
    if request.repetitions > 1:
        parts.append(counted(request.repetitions, "repetition"))
    if not request.any_device:
        parts.append(counted(each_on, "device"))
    raise FleetmarkError(
        ErrorKind.USAGE,
        f"{counted(size, 'job')} ({' × '.join(parts)}), more than {bound}",
        "--max-jobs",
        "Submit fewer jobs at a time"
        if size > MAX_JOBS
        else f"Submit fewer jobs, or raise the limit: --max-jobs {size}",
    )


def _on_common_devices(fitting: dict[str, list[_Fit]]) -> dict[str, list[_Fit]]:
    """Return only the devices on which every configuration fits: one device must run them all."""
    common = set.intersection(*({f.device.device_id for f in fits} for fits in fitting.values()))
    return {
        label: [fit for fit in fits if fit.device.device_id in common]
        for label, fits in fitting.items()
    }


@dataclass(frozen=True)
class _Fit:
    device: Device
    lock: Lockfile
    option: JobOption
    needs: ResourceNeeds


@dataclass(frozen=True)
class _Earlier:
    speeds: Speeds
    history: MemoryHistory


def _resolve_all(
    catalog: Catalog,
    configurations: Sequence[Configuration],
    devices: Sequence[Device],
    harness: BlobRef,
    earlier: _Earlier,
    plan: CampaignPlan,
    min_sandbox: str,
) -> dict[str, list[_Fit]]:
    fitting: dict[str, list[_Fit]] = {item.label(): [] for item in configurations}
    # Devices of one type share a lockfile: resolve once per distinct set of capabilities.
    known: dict[tuple[str, ...], Resolution] = {}
    wanted: dict[tuple[str, ...], Resolution] = {}
    # Canonical form and digest of each lockfile.
    contents: dict[tuple[str, ...], tuple[bytes, str]] = {}
    for device in devices:
        reasons: list[str] = []
        too_large: list[str] = []
        for configuration in configurations:
            group = (*configuration.variations, configuration.benchmark, device.facts_sha256)
            resolution = known.get(group)
            if resolution is None:
                resolution = resolve(catalog, configuration, device.capabilities, harness)
                known[group] = resolution
            lock = resolution.lock
            if lock is None:
                reasons.extend(r for r in resolution.reasons if r not in reasons)
                continue
            if foreign := _foreign_parameter(catalog, lock, configuration):
                reasons.extend([foreign] if foreign not in reasons else [])
                continue
            if group not in contents:
                canonical = lock.canonical()
                contents[group] = canonical, sha256_hex(canonical)
            content, digest = contents[group]
            needs = needs_of(lock, digest, configuration, device, earlier.speeds, earlier.history)
            short = shortages(needs, lock.size_bytes(), device.capabilities)
            if short:
                too_large.append(f"{configuration.label()}: {', and '.join(short)}")
                continue
            # Only blobs of lockfiles that will run are obtained and stored.
            wanted[group] = resolution
            plan.locks[digest] = content
            option = JobOption(
                device.device_id,
                digest,
                len(content),
                lock.size_bytes(),
                needs.memory_bytes,
                needs.environment_bytes,
                needs.output_bytes,
                min_sandbox,
            )
            fitting[configuration.label()].append(_Fit(device, lock, option, needs))
        reasons.extend(too_large[:_TOO_LARGE_SHOWN])
        if len(too_large) > _TOO_LARGE_SHOWN:
            reasons.append(f"and {len(too_large) - _TOO_LARGE_SHOWN} more that do not fit")
        if reasons:
            plan.left_out.append((device.name, "; ".join(reasons)))
    plan.resolutions.extend(wanted.values())
    return fitting


def _foreign_parameter(catalog: Catalog, lock: Lockfile, configuration: Configuration) -> str:
    """Return why a parameter does not apply to the resolved runtime; empty if all apply."""
    locked = lock.component("program")
    program = catalog.find("program", locked.name) if locked is not None else None
    definitions = program.body.get("parameters", {}) if program is not None else {}
    runtime = str(lock.job.get("runtime", {}).get("name", ""))
    return runtime_mismatch(configuration.parameters, definitions, runtime)


def _job(
    request: CampaignRequest,
    configuration: Configuration,
    repetition: int,
    group: Sequence[_Fit],
    now_ns: int,
) -> PlannedJob:
    values, key = describe_configuration(
        configuration,
        stable=request.stable,
        start_below_c=request.start_below_c,
        is_sustained=request.sustain_s > 0,
    )
    deadline_s = request.deadline_s or DEFAULT_DEADLINE_S
    job = NewJob(
        job_id=uuid7(),
        label=configuration.label(),
        configuration=values,
        configuration_key=key,
        repetition=repetition,
        priority=request.priority,
        timeout_s=request.timeout_s
        or sustained.timeout_s(_timeout_s(group[0].lock, request.profile), request.sustain_s),
        deadline_at=iso(now_ns + int(deadline_s * NS_PER_S)),
        max_attempts=request.max_attempts or DEFAULT_MAX_ATTEMPTS,
        options=tuple(fit.option for fit in group),
        expected_s=estimates.by_profile(
            group[0].lock.job["benchmark"]["profiles"][request.profile],
            configuration.scenario,
            configuration.mode,
        )
        + request.sustain_s,
    )
    names = ", ".join(fit.device.name for fit in group[:5])
    name = names if len(group) == 1 else f"any of {names}{' …' if len(group) > 5 else ''}"
    most = max((fit.needs for fit in group), key=lambda needs: needs.memory_bytes)
    return PlannedJob(
        job,
        name,
        max(fit.option.bundle_bytes for fit in group),
        most.memory_bytes,
        max(fit.option.disk_bytes for fit in group),
        tuple(fit.device.name for fit in group),
        most.memory_source.value,
    )


def describe_configuration(
    configuration: Configuration,
    *,
    stable: bool,
    start_below_c: float = 0.0,
    is_sustained: bool = False,
) -> tuple[dict[str, Any], str]:
    """Return the configuration as a job stores it, and the key that its runs of all modes share."""
    values: dict[str, Any] = {
        "benchmark": configuration.benchmark,
        "variations": list(configuration.variations),
        "scenario": configuration.scenario,
        "mode": configuration.mode,
        "profile": configuration.profile,
        "parameters": configuration.parameters,
    }
    if stable:
        values["stable"] = True
    if start_below_c:
        values["start_below_c"] = start_below_c
    if is_sustained:
        values["sustained"] = True
    shared = {name: value for name, value in values.items() if name != "mode"}
    return values, sha256_hex(canonical_json(shared))


def _timeout_s(lock: Lockfile, profile: str) -> float:
    """Return the time limit that the benchmark sets for one attempt of this profile."""
    return float(lock.job["benchmark"]["profiles"][profile]["timeout_s"])
