"""Devices for tests: capabilities as an agent would report them."""

from __future__ import annotations

from fleetmark_catalog.selectors import Subject
from fleetmark_core.capabilities import (
    Board,
    Capabilities,
    Cpu,
    Interpreter,
    Memory,
    Os,
    Software,
    Storage,
)
from fleetmark_core.lockfile import BlobRef

HARNESS = BlobRef("fleetmark_harness-1.0.0-py3-none-any.whl", "0" * 64, 1000)


def interpreter(version: str = "3.11.7", arch: str = "x86_64", glibc: int = 36) -> Interpreter:
    platforms = [f"manylinux_2_{minor}_{arch}" for minor in range(glibc, 16, -1)]
    abi = "cp" + "".join(version.split(".")[:2])
    return Interpreter(
        f"/usr/bin/python{version}",
        version,
        "cpython",
        (abi, "abi3", "none"),
        (*platforms, f"manylinux2014_{arch}", f"linux_{arch}"),
    )


def sample_device(
    *interpreters: Interpreter, arch: str = "x86_64", memory: int = 4 << 30
) -> Capabilities:
    tag = {"aarch64": "arm64"}.get(arch, arch)
    return Capabilities(
        os=Os("linux", "debian", "12", "6.1.0-13-amd64", "glibc", "2.36"),
        arch=arch,
        board=Board(model="Raspberry Pi 4 Model B", soc="brcm,bcm2711"),
        cpu=Cpu(logical_cores=4, usable_cores=4, max_frequency_hz=1_500_000_000),
        memory=Memory(memory, 0),
        storage=Storage(32 << 30, 8 << 30),
        software=(Software("onnxruntime", "1.23.2", "/usr/lib/python3"),),
        interpreters=interpreters or (interpreter(arch=arch),),
        tags=("linux", tag, "rpi4", "onnxruntime"),
    )


def subject(**changes: object) -> Subject:
    name = str(changes.pop("name", "bench-07"))
    labels = changes.pop("labels", {"site": "lab1", "row": "3"})
    return Subject(name, dict(labels), sample_device(**changes))  # type: ignore[call-overload,arg-type]
