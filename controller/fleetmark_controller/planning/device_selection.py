"""Choose the devices of a campaign, with the reasons for those that are left out. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from fleetmark_catalog.selectors import check_words, parse_selector
from fleetmark_controller.planning import sustained
from fleetmark_controller.planning.campaign_plan import CampaignPlan
from fleetmark_controller.planning.device import Device, DeviceList
from fleetmark_controller.scheduling import predicates
from fleetmark_core import sandbox_levels
from fleetmark_core.errors import ErrorKind, FleetmarkError


def matching_devices(
    selector_text: str,
    devices: DeviceList,
    plan: CampaignPlan,
    saved: Mapping[str, str],
    dry_run: bool,
    online: Collection[str] | None,
) -> list[Device]:
    """Return the devices that the selector matches, and note in `plan` why.

    Args:
        selector_text: the selector; empty for every device.
        devices: the devices of the fleet.
        plan: gets the reasons of the devices that match, and of those that do not.
        saved: the selectors of saved fleets.
        dry_run: explain every device, and do not fail if none matches.
        online: the ids of the devices that are connected now; None if unknown.

    Raises:
        FleetmarkError: NO_MATCH: no device is registered or matches; or the selector is not valid.
    """
    if not devices:
        raise FleetmarkError(
            ErrorKind.NO_MATCH,
            "no device is registered",
            next_step="Run `agent start` on a device",
        )
    if not selector_text:
        plan.matching.extend((device.name, "every device") for device in devices)
        return list(devices)
    selector = parse_selector(selector_text, saved)
    check_words(selector, devices.words)
    matching = devices.matching(selector, online)

    def reason(device: Device) -> str:
        return selector.explain(device.subject_now(online)).reason

    plan.matching.extend((d.name, reason(d)) for d in matching)
    # An operator who submits has chosen the devices; only a dry run explains all of thousands of
    # others.
    if dry_run or not matching:
        known = {device.device_id for device in matching}
        others = [d for d in devices if d.device_id not in known]
        explained = others if dry_run else others[:5]
        plan.left_out.extend((d.name, reason(d)) for d in explained)
    if not matching and not dry_run:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in plan.left_out)
        raise FleetmarkError(ErrorKind.NO_MATCH, f"no device matches {selector_text!r} ({reasons})")
    return matching


def with_sandbox(wanted: str, devices: list[Device], plan: CampaignPlan) -> list[Device]:
    """Return the devices whose sandbox is strong enough; add the others to `plan.left_out`."""
    strong = []
    for device in devices:
        found = device.capabilities.sandbox
        level = "" if found is None else found.level
        if sandbox_levels.at_least(level, wanted):
            strong.append(device)
            continue
        short = () if found is None else found.shortfalls
        why = next(
            (f" ({s.what}: {s.reason})" for s in short if s.what in sandbox_levels.LEVELS), ""
        )
        plan.left_out.append((device.name, f"{predicates.weaker(level, wanted)}{why}"))
    return strong


def with_temperature(devices: list[Device], plan: CampaignPlan) -> list[Device]:
    """Return the devices with a trusted temperature; add the others to `plan.left_out`."""
    reasons = [(device, sustained.no_temperature_reason(device.capabilities)) for device in devices]
    plan.left_out.extend((device.name, reason) for device, reason in reasons if reason)
    return [device for device, reason in reasons if not reason]
