"""Tags: short words by which operators select devices, derived only from capabilities."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fleetmark_core.capabilities import Accelerator, Capabilities

_ARCHES = {"aarch64": "arm64", "armv7l": "armv7", "armv6l": "armv6", "i686": "x86"}
_BOARD_MODELS = (
    # One digit also covers the 400 and the 500, which are computers in a keyboard, and the 3B+.
    (r"raspberry pi (?:compute module )?(\d)", "rpi{0}"),
    (r"raspberry pi compute module (\d)", "cm{0}"),
    (r"raspberry pi zero 2", "rpizero2"),
    (r"raspberry pi zero", "rpizero"),
    (r"raspberry pi", "rpi"),
    (r"jetson[ -](?:agx )?(nano|xavier|orin|tx2|thor)", "jetson-{0}"),
    (r"jetson[ -](agx)", "jetson-{0}"),
    (r"jetson", "jetson"),
    (r"\b(rk3\d{3})", "{0}"),
    (r"\b(?:rock|rock pi) (\d)", "rock{0}"),
    (r"\brock (\d\w)", "rock{0}"),
    (r"orange ?pi (\d)", "orangepi{0}"),
    (r"orange ?pi", "orangepi"),
    (r"banana ?pi", "bananapi"),
    (r"nano ?pi", "nanopi"),
    (r"khadas", "khadas"),
    (r"odroid", "odroid"),
    (r"beaglebone|beagleplay|beagley", "beagle"),
    (r"visionfive", "visionfive"),
    (r"coral", "coral"),
)
"""Tags of families of board models, by a pattern of the model's name in lower case."""

_SOCS = (
    (r"(?:rockchip|rk),(rk|px|rv)(\d{4})(\w*)", ("{0}{1}{2}", "{0}{1}")),
    (r"(?:brcm|raspberrypi),(bcm)(\d{4})(\w*)", ("{0}{1}{2}", "{0}{1}")),
    (r"nvidia,(tegra\w+)", ("{0}",)),
    (r"qcom,((?:sdm|sm|sc|sa|msm|apq|qcs|qcm|qrb|ipq|x1e|x1p)\w*\d\w*)", ("{0}",)),
    (r"allwinner,(sun\d+i\w*(?:-\w+)*)", ("{0}",)),
    (r"amlogic,((?:s|t|a|g|meson-)\w+)", ("{0}",)),
    (r"mediatek,(mt\d\w+)", ("{0}",)),
    (r"samsung,(exynos\w+)", ("{0}",)),
    (r"fsl,(imx\d\w+|ls\d\w+)", ("{0}",)),
    (r"ti,((?:am|j7|omap|dra)\w+)", ("{0}",)),
    (r"starfive,(jh\d\w+)", ("{0}",)),
    (r"renesas,(r[789]\w+)", ("{0}",)),
    (r"xlnx,(zynq\w*|versal\w*)", ("{0}",)),
    (r"(?:apple),(t\d{4}\w*)", ("{0}",)),
    (r"(?:sophgo|spacemit|thead),([a-z]+\d\w+)", ("{0}",)),
)
"""Tags of systems on chip, by the device tree's `compatible`; `rk3588s` is also an `rk3588`."""

_FAMILY_OF_SOC = {"bcm2711": "rpi4", "bcm2712": "rpi5"}
"""Families of board models by SoC: a family has one SoC, and no other family has it.

The Zero 2 W and the 3 share a SoC (BCM2837), so it does not identify the model.
"""


def derive(facts: Capabilities) -> tuple[str, ...]:
    """Return all tags of a device, sorted."""
    return tuple(sorted(set(_all(facts))))


def _all(facts: Capabilities) -> Iterator[str]:
    yield _ARCHES.get(facts.arch, facts.arch)
    yield facts.os.family
    distribution = facts.os.name.split()
    if distribution and facts.os.family == "linux":
        yield re.sub(r"[^a-z0-9]", "", distribution[0].lower())
    model = (facts.board.model or "").lower()
    for pattern, tag in _BOARD_MODELS:
        found = re.search(pattern, model, re.ASCII)
        if found:
            yield tag.format(*found.groups())
    yield from _of_soc(facts.board.soc or "")
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


def _of_soc(compatible: str) -> Iterator[str]:
    """Yield the tags of the SoCs in `compatible`, a list of names separated by spaces."""
    for word in compatible.lower().split():
        for pattern, forms in _SOCS:
            found = re.fullmatch(pattern, word, re.ASCII)
            for form in forms if found else ():
                tag = form.format(*(found.groups() if found else ()))
                yield tag
                if tag in _FAMILY_OF_SOC:
                    yield _FAMILY_OF_SOC[tag]


def _of_accelerator(accelerator: Accelerator) -> Iterator[str]:
    yield accelerator.kind
    if accelerator.vendor == "NVIDIA" and accelerator.kind == "gpu":
        # Only NVIDIA's own driver provides CUDA; its version is known only while it is loaded.
        yield "nvidia"
        if accelerator.driver_version:
            yield "cuda"
    if "Edge TPU" in accelerator.name:
        yield "edgetpu"
    if accelerator.vendor in ("Hailo", "Rockchip"):
        yield accelerator.vendor.lower()
