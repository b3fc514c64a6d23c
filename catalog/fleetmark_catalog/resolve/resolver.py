"""Resolves benchmark, variations and capabilities to a lockfile, or to reasons why not. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fleetmark_catalog.load.catalog import Catalog
from fleetmark_catalog.load.model import Artifact, Build, Component, WheelFile, WheelSet
from fleetmark_catalog.resolve.bundled_python import InterpreterOffer, offers
from fleetmark_catalog.resolve.configuration import Configuration
from fleetmark_catalog.resolve.device import misfit, unfit
from fleetmark_catalog.resolve.parameters import defaults
from fleetmark_catalog.resolve.result import (
    BuiltWheel,
    Fetch,
    LocalFile,
    Resolution,
    Source,
    WheelSource,
)
from fleetmark_catalog.resolve.runtime_formats import ANOTHER_FORMAT, format_mismatch
from fleetmark_catalog.resolve.selection import CONTENT, Selection, select
from fleetmark_catalog.resolve.solver import PackageRequirement, SolvedPackage, Solver
from fleetmark_catalog.resolve.wheel_match import fit, platforms
from fleetmark_catalog.selectors import Subject
from fleetmark_core.capabilities import Capabilities, Interpreter
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.lockfile import (
    LOCK_FORMAT,
    BlobRef,
    DeclaredOutput,
    Environment,
    LockedComponent,
    Lockfile,
    PackageArchive,
    Program,
)


def resolve(
    catalog: Catalog,
    configuration: Configuration,
    capabilities: Capabilities,
    harness: BlobRef,
) -> Resolution:
    """Resolve `configuration` on a device to a lockfile, or to the reasons why it cannot run.

    The lockfile does not depend on scenario, mode, profile and parameters: those belong to the
    order. The device's interpreters are tried in its own order of preference, then the catalog's.
    `harness` is the wheel that the controller packs; it is part of the environment and has no
    source. If the result has `builds`, its lockfile is provisional: resolve again, with a catalog
    that knows the built wheels, before it is used.

    Raises:
        FleetmarkError: the configuration names something that the catalog does not have, or a
            runtime that does not read the model.
    """
    selection = select(
        catalog, catalog.get("benchmark", configuration.benchmark), (), configuration.variations
    )
    subject = Subject("", {}, capabilities)
    misfits = dict.fromkeys(_misfits(selection, subject))
    story = list(_content(selection))
    if misfits:
        return Resolution(None, tuple(misfits), {}, tuple(story))
    needs = [
        PackageRequirement(f"{part.name} {part.version}", requirement)
        for part in selection.components
        for requirement in selection.requires(part)
        if requirement.choices[0].kind not in CONTENT
    ]
    reasons: dict[str, None] = {}
    if not capabilities.interpreters:
        reasons["the device has no Python interpreter that jobs can use"] = None
    for interpreter, offer in _interpreters(catalog, capabilities, reasons):
        solver = Solver(catalog, interpreter, subject)
        packages = solver.solve(needs)
        if packages is not None:
            _check_format(selection, packages)
            minor = ".".join(interpreter.version.split(".")[:2])
            lock = _lock(selection, packages, minor, harness, offer)
            builds = tuple(_builds(packages))
            story += [f"Python {interpreter.version} at {interpreter.path} is used"]
            story += _chosen(packages)
            sources = _sources(selection, packages, offer)
            return Resolution(lock, (), sources, tuple(story), builds)
        why = "; ".join(solver.reasons)
        story.append(f"Python {interpreter.version} at {interpreter.path} does not fit: {why}")
        reasons.update(solver.reasons)
    return Resolution(None, tuple(reasons), {}, tuple(story))


def _interpreters(
    catalog: Catalog, device: Capabilities, reasons: dict[str, None]
) -> Iterator[tuple[Interpreter, InterpreterOffer | None]]:
    """Yield the device's Pythons, then the catalog's; add reasons against others to `reasons`."""
    for own in device.interpreters:
        yield own, None
    for offer in offers(catalog, device):
        if isinstance(offer, str):
            reasons.setdefault(offer)
        else:
            yield offer.interpreter, offer


def _content(selection: Selection) -> Iterator[str]:
    """Yield lines for users about the components and artifacts that the variations chose."""
    for part in selection.components:
        words = ",".join(word for word, _ in selection.chosen(part))
        yield f"{part.id} {part.version}{f' with {words}' if words else ''}"
        for artifact in selection.artifacts(part):
            size = f"{artifact.size_bytes:,} bytes" if artifact.is_confirmed else "not confirmed"
            yield f"  {artifact.role} is {artifact.name}, {size}"
    if selection.tags:
        yield f"passed tags: {', '.join(sorted(selection.tags))}"


def _chosen(packages: tuple[SolvedPackage, ...]) -> Iterator[str]:
    for chosen in sorted(packages, key=lambda chosen: chosen.label):
        how = "detected on the device"
        if chosen.wheels is not None:
            names = ", ".join(wheel.filename for wheel in chosen.wheels.wheels)
            how = f"installed from {names}"
            if any(wheel.build is not None for wheel in chosen.wheels.wheels):
                how += ", which the controller builds before the job"
        elif chosen.archive is not None:
            how = f"unpacked from {chosen.archive.artifact.name}"
        elif chosen.component.kind != "soft":
            how = "matches the device"
        wanted = f"{chosen.role}, " if chosen.role != chosen.component.name else ""
        by = f"required by {', '.join(chosen.requirers)}; " if chosen.requirers else ""
        yield f"{chosen.component.id} {chosen.version}: {wanted}{by}{how}"


def _misfits(selection: Selection, subject: Subject) -> Iterator[str]:
    """Yield conditions of components and of chosen variations that the device does not meet."""
    for part in selection.components:
        reason = unfit(part, subject)
        if reason:
            yield reason
        for word, variation in selection.chosen(part):
            reason = misfit(variation.when, subject)
            if reason:
                yield f"variation {word} of {part.id} needs {variation.when}: {reason}"
        for artifact in selection.artifacts(part):
            if not artifact.is_confirmed:
                yield (
                    f"unsigned: the publisher of {part.id} states only the MD5 of {artifact.name}; "
                    f"an admin must run `controller catalog confirm {part.id}`"
                )


def _check_format(selection: Selection, packages: tuple[SolvedPackage, ...]) -> None:
    """Check that the chosen runtime reads the model.

    Raises:
        FleetmarkError: NOTHING_FITS: it does not, which is so on every device.
    """
    for chosen in packages:
        if chosen.role != "runtime":
            continue
        adapter = chosen.component.body.get("adapter", chosen.component.name)
        for part in selection.components:
            if part.kind == "model":
                form = str(selection.body(part).get("format", ""))
                reason = format_mismatch(part.id, form, chosen.component.id, adapter)
                if reason:
                    raise FleetmarkError(ErrorKind.NOTHING_FITS, reason, "", ANOTHER_FORMAT)


def _lock(
    selection: Selection,
    packages: tuple[SolvedPackage, ...],
    python: str,
    harness: BlobRef,
    offer: InterpreterOffer | None,
) -> Lockfile:
    program = selection.only("program")
    body = selection.body(program)
    wheels = {
        wheel.sha256: wheel.blob
        for chosen in packages
        if chosen.wheels is not None
        for wheel in chosen.wheels.wheels
    }
    environment = dict(body.get("environment", {}))
    for chosen in packages:
        environment.update(chosen.component.body.get("environment", {}))
    return Lockfile(
        format=LOCK_FORMAT,
        benchmark=selection.components[0].name,
        components=(
            *(_locked(selection, part, part.version) for part in selection.components),
            *sorted(
                (_locked(selection, chosen.component, chosen.version) for chosen in packages),
                key=lambda part: (part.name, part.kind),
            ),
            *([] if offer is None else [_brought(offer.component)]),
        ),
        program=Program(
            command=tuple(body["command"]),
            files=program.files,
            outputs=tuple(
                DeclaredOutput(out["name"], out["role"], out.get("required", True))
                for out in body["outputs"]
            ),
            environment=environment,
            devices=_devices(body, packages),
            network=bool(body.get("network")),
        ),
        inputs=_inputs(selection, body.get("inputs", ())),
        environment=Environment(
            python_version=python,
            wheels=tuple(sorted([*wheels.values(), harness], key=lambda blob: blob.name)),
            system_site=any(chosen.component.body.get("system_site") for chosen in packages),
            provided=None if offer is None else offer.lock,
            archives=_archives(packages),
        ),
        job=_job(selection, packages),
    )


def _devices(program: Mapping[str, Any], packages: tuple[SolvedPackage, ...]) -> tuple[str, ...]:
    """Return the device nodes that the program or one of its packages accesses."""
    bodies = (program, *(chosen.component.body for chosen in packages))
    return tuple(sorted({pattern for body in bodies for pattern in body.get("devices", ())}))


def _archives(packages: tuple[SolvedPackage, ...]) -> tuple[PackageArchive, ...]:
    found = [chosen.archive.lock for chosen in packages if chosen.archive is not None]
    return tuple(sorted(found, key=lambda package: package.name))


def _locked(selection: Selection, component: Component, version: str) -> LockedComponent:
    words = tuple(word for word, _ in selection.chosen(component))
    return LockedComponent(component.kind, component.name, version, component.sha256, words)


def _brought(python: Component) -> LockedComponent:
    return LockedComponent(python.kind, python.name, python.version, python.sha256)


def _inputs(selection: Selection, wanted: Any) -> dict[str, BlobRef]:
    inputs: dict[str, BlobRef] = {}
    for component in selection.components:
        for artifact in selection.artifacts(component):
            if artifact.role in inputs:
                raise FleetmarkError(
                    ErrorKind.NOTHING_FITS,
                    f"{component.id} provides input {artifact.role}, which another "
                    "component already provides",
                )
            inputs[artifact.role] = artifact.blob
    missing = [role for role in wanted if role not in inputs]
    if missing:
        words = ",".join(selection.words) or "no variation"
        raise FleetmarkError(
            ErrorKind.NOTHING_FITS,
            f"no component provides input {missing[0]} for {words}",
            selection.only("program").id,
        )
    return inputs


def _job(selection: Selection, packages: tuple[SolvedPackage, ...]) -> dict[str, Any]:
    """Return what the program must know about the components, as they declare it."""
    by_role = {chosen.role: chosen for chosen in packages}
    job: dict[str, Any] = {
        part.kind: {**selection.body(part), "name": part.name, "version": part.version}
        for part in selection.components
        if part.kind != "program"
    }
    job["defaults"] = defaults(selection.body(selection.only("program")).get("parameters", {}))
    runtime, loadgen = by_role.get("runtime"), by_role.get("loadgen")
    if runtime is not None:
        body = runtime.component.body
        job["runtime"] = {
            "name": body.get("adapter", runtime.component.name),
            "package": runtime.component.name,
            "version": runtime.version,
            "module": body.get("module", ""),
            "memory_bytes": body.get("memory_bytes", 0),
        }
    if loadgen is not None:
        job["loadgen"] = {
            "round": loadgen.component.body.get("round", ""),
            "package_version": loadgen.version,
        }
    return job


def _sources(
    selection: Selection, packages: tuple[SolvedPackage, ...], offer: InterpreterOffer | None
) -> dict[str, Source]:
    sources: dict[str, Source] = {}
    for component in selection.components:
        for blob in component.files:
            sources[blob.sha256] = LocalFile(blob.name, blob.size_bytes, component.path(blob.name))
        for artifact in selection.artifacts(component):
            sources[artifact.sha256] = _source(component, artifact)
    if offer is not None:
        sources[offer.artifact.sha256] = _source(offer.component, offer.artifact)
    for chosen in packages:
        if chosen.wheels is not None:
            sources.update(_wheel_sources(chosen.wheels))
        if chosen.archive is not None:
            artifact = chosen.archive.artifact
            sources[artifact.sha256] = _source(chosen.component, artifact)
    return sources


def _source(component: Component, artifact: Artifact) -> Source:
    if artifact.file:
        return LocalFile(artifact.name, artifact.size_bytes, component.path(artifact.file))
    return Fetch(artifact.name, artifact.size_bytes, artifact.locations)


def _builds(packages: tuple[SolvedPackage, ...]) -> Iterator[Build]:
    for chosen in packages:
        for wheel in chosen.wheels.wheels if chosen.wheels is not None else ():
            if wheel.build is not None:
                yield wheel.build


def wheels_for(
    component: Component, interpreter: Interpreter, built: Mapping[str, WheelFile]
) -> tuple[dict[str, Source], tuple[Build, ...]]:
    """Return the wheels of the first version that fits the interpreter, and builds they need.

    Args:
        component: the package.
        interpreter: the Python.
        built: wheels that were built already, by build key.

    Returns:
        Sources by sha256, and builds; both are empty if no version fits.
    """
    for version in component.versions():
        wheels, _ = fit(component, version, interpreter, built)
        if wheels is not None:
            builds = tuple(wheel.build for wheel in wheels.wheels if wheel.build is not None)
            return _wheel_sources(wheels), builds
    return {}, ()


def _wheel_sources(wheels: WheelSet) -> dict[str, Source]:
    tags = _platforms(wheels)
    return {
        wheel.sha256: BuiltWheel(wheel.filename, wheel.size_bytes)
        if wheel.made or wheel.build is not None
        else WheelSource(
            requirement=f"{wheel.name}=={wheel.version}",
            filename=wheel.filename,
            sha256=wheel.sha256,
            size_bytes=wheel.size_bytes,
            python_version=wheels.python,
            platforms=tags,
        )
        for wheel in wheels.wheels
    }


def _platforms(wheels: WheelSet) -> tuple[str, ...]:
    tags = platforms(wheel.filename for wheel in wheels.wheels)
    return tuple(sorted(tags - {"any"})) or (f"manylinux2014_{wheels.arch}",)
