"""List the files for `controller catalog fetch`: those that the fleet's devices would receive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fleetmark_catalog.load import Build, Catalog, Component
from fleetmark_catalog.resolve import Fetch, LocalFile, Source, expand, resolve, wheels_for
from fleetmark_controller.artifacts.harness import pack_harness
from fleetmark_controller.planning.device import Device
from fleetmark_core.errors import ErrorKind, FleetmarkError


def sources_of(
    catalog: Catalog, name: str, devices: Sequence[Device]
) -> tuple[dict[str, Source], tuple[Build, ...]]:
    """Return every file of component `name`, by SHA-256, and the wheels that must be built.

    Wheels are those that `devices` need. After building, call this again to include the built
    wheels.

    Raises:
        FleetmarkError: NOT_FOUND. NOTHING_FITS: the component has no file, or no device can use
            one.
    """
    kind, slash, bare = name.partition("/")
    if not slash:
        kind = next((k for k in ("suite", "benchmark") if catalog.has(k, name)), "")
        bare = name
    builds: dict[Build, None] = {}
    if kind in ("suite", "benchmark"):
        catalog.get(kind, bare)
        found = _of_benchmark(catalog, bare, devices, builds)
    else:
        component = catalog.named(name)
        found = dict(_of_component(component))
        if component.kind == "package":
            for device in devices:
                for interpreter in device.capabilities.interpreters:
                    wheels, missing = wheels_for(component, interpreter, catalog.built)
                    found.update(wheels)
                    builds.update(dict.fromkeys(missing))
        if not found:
            advice = "" if devices or component.kind != "package" else "Enroll a device first"
            if any(artifact.md5 for artifact in component.artifacts):
                advice = f"Run `controller catalog confirm {component.id}`"
            raise FleetmarkError(
                ErrorKind.NOTHING_FITS, f"{component.id} has no file to fetch", "", advice
            )
    return found, tuple(builds)


def _of_component(component: Component) -> Iterator[tuple[str, Source]]:
    for blob in component.files:
        yield blob.sha256, LocalFile(blob.name, blob.size_bytes, component.path(blob.name))
    for artifact in component.artifacts:
        if not artifact.is_confirmed:
            continue
        if artifact.file:
            path = component.path(artifact.file)
            yield artifact.sha256, LocalFile(artifact.name, artifact.size_bytes, path)
        else:
            yield artifact.sha256, Fetch(artifact.name, artifact.size_bytes, artifact.locations)


def _of_benchmark(
    catalog: Catalog, name: str, devices: Sequence[Device], builds: dict[Build, None]
) -> dict[str, Source]:
    if not devices:
        raise FleetmarkError(
            ErrorKind.NOTHING_FITS,
            f"the files of {name} depend on the devices, and no device is registered",
            "",
            "Run `agent start` on a device, or fetch the models and data sets by name",
        )
    harness, _ = pack_harness()
    found: dict[str, Source] = {}
    reasons: dict[str, None] = {}
    for configuration in expand(catalog, name):
        for device in devices:
            answer = resolve(catalog, configuration, device.capabilities, harness)
            found.update(answer.sources)
            builds.update(dict.fromkeys(answer.builds))
            for reason in answer.reasons:
                reasons.setdefault(f"{device.name}: {reason}")
    if not found:
        why = "; ".join(list(reasons)[:5])
        raise FleetmarkError(ErrorKind.NOTHING_FITS, f"no registered device can run {name} ({why})")
    return found
