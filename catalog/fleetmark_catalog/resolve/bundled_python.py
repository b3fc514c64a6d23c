"""Pythons that the catalog provides, for devices whose own do not fit a job's packages. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fleetmark_catalog.load.catalog import Catalog
from fleetmark_catalog.load.model import Artifact, Component
from fleetmark_catalog.resolve.device import glibc_minor, glibc_misfit
from fleetmark_core.capabilities import Capabilities, Interpreter
from fleetmark_core.lockfile import ProvidedPython

PLACE = "{provided}"
"""Placeholder for the folder into which the agent unpacks the archive."""
_OLDEST_GLIBC = 17
_OLD_NAMES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


@dataclass(frozen=True)
class InterpreterOffer:
    """A Python that a device can be given, and the archive that contains it."""

    component: Component
    artifact: Artifact
    interpreter: Interpreter
    lock: ProvidedPython


def offers(catalog: Catalog, device: Capabilities) -> Iterator[InterpreterOffer | str]:
    """Yield the catalog's Pythons for this device; for each that does not run there, the reason."""
    for component in catalog.all("package"):
        for build in component.body.get("interpreters", ()):
            if build["arch"] == device.arch:
                reason = glibc_misfit(build["glibc"], device)
                if reason:
                    yield f"{component.name} {component.version} {reason}"
                else:
                    yield _offer(component, build, device)


def _offer(
    component: Component, build: dict[str, object], device: Capabilities
) -> InterpreterOffer:
    (artifact,) = (a for a in component.artifacts if a.name == build["artifact"])
    major, minor = component.version.split(".")[:2]
    abis = (f"cp{major}{minor}",)
    platforms = tuple(_platforms(device))
    provided = ProvidedPython(
        archive=artifact.blob,
        python=str(build["python"]),
        version=component.version,
        abis=abis,
        platforms=platforms,
        unpacked_bytes=int(str(build["unpacked_bytes"])),
    )
    path = f"{PLACE}/{provided.python}"
    interpreter = Interpreter(path, component.version, "cpython", abis, platforms)
    return InterpreterOffer(component, artifact, interpreter, provided)


def _platforms(device: Capabilities) -> Iterator[str]:
    """Yield the platform tags of PEP 600 for the device's C library, the newest first."""
    for minor in range(glibc_minor(device.os.libc_version or ""), _OLDEST_GLIBC - 1, -1):
        yield f"manylinux_2_{minor}_{device.arch}"
        if minor in _OLD_NAMES:
            yield f"{_OLD_NAMES[minor]}_{device.arch}"
    yield f"linux_{device.arch}"
