"""The product: read from the device tree on ARM devices, from DMI on PCs."""

from __future__ import annotations

from pathlib import Path

from fleetmark_agent.fingerprint import sysfs
from fleetmark_core.capabilities import Board

_DEVICE_TREES = ("proc/device-tree", "sys/firmware/devicetree/base")
_MOST_COMPATIBLE = 32
_PLACEHOLDERS = {"to be filled by o.e.m.", "system product name", "default string", "none", "n/a"}


def probe(root: Path = Path("/")) -> Board:
    """Return the model, the vendor, the system on chip, and the container or virtual machine."""
    model = vendor = None
    for tree in _DEVICE_TREES:
        model = model or sysfs.printable(sysfs.text(root / tree / "model"))
    compatible = _compatible(root)
    if model is None:
        model = _dmi(root, "product_name")
        vendor = _dmi(root, "sys_vendor")
    elif compatible:
        # `raspberrypi,4-model-b`: the part before the comma is the vendor's short name.
        vendor = compatible[0].partition(",")[0]
    return Board(
        model=model,
        vendor=vendor,
        container=_container(root),
        virtualization=_virtual(root),
        soc=" ".join(compatible[1:]) or None,
    )


def _compatible(root: Path) -> list[str]:
    """Return the `compatible` list of the device tree, from the most specific entry to the SoC.

    See the Devicetree Specification, "compatible" of the root node.
    """
    for tree in _DEVICE_TREES:
        words = (sysfs.text(root / tree / "compatible") or "").split("\0")[:_MOST_COMPATIBLE]
        found = [name for word in words if (name := sysfs.printable(word, 64)) and "," in name]
        if found:
            return ["_".join(name.split()) for name in found]
    return []


def _dmi(root: Path, name: str) -> str | None:
    value = sysfs.printable(sysfs.text(root / "sys/class/dmi/id" / name))
    return None if value is None or value.lower() in _PLACEHOLDERS else value


def _container(root: Path) -> str | None:
    if (root / ".dockerenv").exists():
        return "docker"
    if (root / "run/.containerenv").exists():
        return "podman"
    # Only root can read this file; it exists only on Linux.
    environment = (sysfs.text(root / "proc/1/environ") or "").split("\0")
    named = next((e.partition("=")[2] for e in environment if e.startswith("container=")), None)
    return sysfs.printable(named, 40)


def _virtual(root: Path) -> str | None:
    kind = sysfs.text(root / "sys/hypervisor/type")
    if kind:
        return sysfs.printable(kind, 40)
    vendor = (sysfs.text(root / "sys/class/dmi/id/sys_vendor") or "").lower()
    product = (sysfs.text(root / "sys/class/dmi/id/product_name") or "").lower()
    for word, name in (
        ("qemu", "qemu"),
        ("kvm", "kvm"),
        ("vmware", "vmware"),
        ("virtualbox", "virtualbox"),
        ("firecracker", "firecracker"),
        ("google compute", "kvm"),
        ("amazon ec2", "kvm"),
        ("microsoft corporation virtual machine", "hyperv"),
    ):
        if word in f"{vendor} {product}":
            return name
    flags = sysfs.text(root / "proc/cpuinfo") or ""
    return "unknown" if " hypervisor" in flags else None
