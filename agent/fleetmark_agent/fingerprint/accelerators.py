"""Accelerators: GPUs, NPUs and TPUs that can run models."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from fleetmark_agent.fingerprint import jetson, sysfs
from fleetmark_core import subprocesses
from fleetmark_core.capabilities import Accelerator

_NVIDIA_LIMIT_S = 10.0
_RKNPU_DRIVER = "RKNPU"
_RKNPU_VERSIONS = ("sys/module/rknpu/version", "sys/kernel/debug/rknpu/version")
"""The second one, `RKNPU driver: v0.9.8`, is for root only."""
_VERSION = re.compile(r"\d+(?:\.\d+){1,3}")

_PCI_VENDORS = {"0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel"}
_USB = {
    ("1a6e", "089a"): ("tpu", "Coral Edge TPU (USB)", "Google"),
    ("18d1", "9302"): ("tpu", "Coral Edge TPU (USB)", "Google"),
    ("03e7", "2485"): ("npu", "Movidius Myriad X", "Intel"),
}
_NODES = {
    "apex_*": ("tpu", "Coral Edge TPU (PCIe)", "Google"),
    "hailo*": ("npu", "Hailo", "Hailo"),
    "ethosu*": ("npu", "Ethos-U", "ARM"),
}


def probe(root: Path = Path("/")) -> tuple[Accelerator, ...]:
    """Return the GPUs, NPUs and TPUs that the kernel shows."""
    nvidia = _nvidia_smi() if root == Path("/") else []
    nvidia = nvidia or list(_nvidia_proc(root)) or list(_tegra(root))
    others = [found for found in _drm(root) if not (nvidia and found.vendor == "NVIDIA")]
    return (*nvidia, *others, *_rockchip(root), *_usb(root), *_nodes(root))


def _nvidia_smi() -> list[Accelerator]:
    query = ["--query-gpu=name,driver_version,memory.total", "--format=csv,noheader,nounits"]
    done = subprocesses.run_tool(["nvidia-smi", *query], _NVIDIA_LIMIT_S)
    if done.fault:
        return []
    found: list[Accelerator] = []
    for line in done.output.splitlines():
        name, driver, memory = (word.strip() for word in (line + ",,").split(",")[:3])
        size = int(memory) * 1024 * 1024 if memory.isdecimal() else None
        found.append(Accelerator("gpu", name, "NVIDIA", driver or None, size))
    return found


def _nvidia_proc(root: Path) -> Iterator[Accelerator]:
    version = (sysfs.text(root / "proc/driver/nvidia/version") or "").split("Kernel Module")
    driver = version[1].split()[0] if len(version) > 1 and version[1].split() else None
    for path in sorted((root / "proc/driver/nvidia/gpus").glob("*/information")):
        for line in (sysfs.text(path) or "").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "Model":
                yield Accelerator("gpu", value.strip(), "NVIDIA", driver)


def _tegra(root: Path) -> Iterator[Accelerator]:
    """Yield the GPU of a Jetson; it is not a PCI device."""
    if jetson.is_jetson(root):
        yield Accelerator("gpu", "Tegra", "NVIDIA", jetson.l4t_version(root))


def _drm(root: Path) -> Iterator[Accelerator]:
    """Yield GPUs by render node, named by PCI ids, or by the driver's name on ARM devices."""
    for path in sorted((root / "sys/class/drm").glob("renderD*/device")):
        vendor = _PCI_VENDORS.get(sysfs.text(path / "vendor") or "")
        device = sysfs.text(path / "device")
        events = (sysfs.text(path / "uevent") or "").splitlines()
        driver = next(
            (line.partition("=")[2] for line in events if line.startswith("DRIVER=")), None
        )
        if (vendor or driver) and driver != _RKNPU_DRIVER:
            yield Accelerator("gpu", f"{vendor or driver} {device or ''}".strip(), vendor)
    for path in sorted((root / "sys/class/accel").glob("accel*/device")):
        vendor = _PCI_VENDORS.get(sysfs.text(path / "vendor") or "")
        yield Accelerator(
            "npu", f"{vendor or 'accelerator'} {sysfs.text(path / 'device') or ''}".strip(), vendor
        )


def _rockchip(root: Path) -> Iterator[Accelerator]:
    """Yield the NPU of a Rockchip SoC: a device file of its own, or one of the driver's devices."""
    bound = root.glob(f"sys/bus/platform/drivers/{_RKNPU_DRIVER}/*npu*")
    if any((root / "dev").glob("rknpu*")) or any(bound):
        texts = (sysfs.text(root / name) for name in _RKNPU_VERSIONS)
        found = (_VERSION.search(text) for text in texts if text)
        version = next((match.group(0) for match in found if match), None)
        yield Accelerator("npu", "Rockchip NPU", "Rockchip", version)


def _usb(root: Path) -> Iterator[Accelerator]:
    for path in sorted((root / "sys/bus/usb/devices").glob("*/idVendor")):
        key = (sysfs.text(path) or "", sysfs.text(path.with_name("idProduct")) or "")
        if key in _USB:
            yield Accelerator(*_USB[key])


def _nodes(root: Path) -> Iterator[Accelerator]:
    for pattern, known in _NODES.items():
        for _ in sorted((root / "dev").glob(pattern)):
            yield Accelerator(*known)
