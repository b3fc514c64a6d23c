"""Tags: the short words by which people choose boards. They follow from the facts, nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fleetmark_core.capabilities import Accelerator, Capabilities

_ARCHES = {"aarch64": "arm64", "armv7l": "armv7", "armv6l": "armv6", "i686": "x86"}
_BOARDS = (
    (r"raspberry pi (\d)", "rpi{0}"),
    (r"raspberry pi zero 2", "rpizero2"),
    (r"raspberry pi", "rpi"),
    (r"jetson (nano|xavier|orin|tx2|agx)", "jetson-{0}"),
    (r"jetson", "jetson"),
    (r"rk3588", "rk3588"),
    (r"rock (\d\w?)", "rock{0}"),
    (r"odroid", "odroid"),
    (r"beaglebone|beagleplay", "beagle"),
    (r"coral", "coral"),
)


def derive(facts: Capabilities) -> tuple[str, ...]:
    """All tags of a board, sorted."""
    return tuple(sorted(set(_all(facts))))


def _all(facts: Capabilities) -> Iterator[str]:
    yield _ARCHES.get(facts.arch, facts.arch)
    yield facts.os.family
    distribution = facts.os.name.split()
    if distribution and facts.os.family == "linux":
        yield re.sub(r"[^a-z0-9]", "", distribution[0].lower())
    model = (facts.board.model or "").lower()
    for pattern, tag in _BOARDS:
        found = re.search(pattern, model)
        if found:
            yield tag.format(*found.groups())
    if facts.os.libc:
        yield facts.os.libc
    if facts.board.container:
        yield "container"
    if facts.board.virtualization:
        yield "virtual"
    for accelerator in facts.accelerators:
        yield from _of_accelerator(accelerator)
    for software in facts.software:
        yield software.name


def _of_accelerator(accelerator: Accelerator) -> Iterator[str]:
    yield accelerator.kind
    if accelerator.vendor == "NVIDIA" and accelerator.kind == "gpu":
        # Only NVIDIA's own driver brings CUDA; its version is known when that one is loaded.
        yield "nvidia"
        if accelerator.driver_version:
            yield "cuda"
    if "Edge TPU" in accelerator.name:
        yield "edgetpu"
    if accelerator.vendor in ("Hailo", "Rockchip"):
        yield accelerator.vendor.lower()
