"""Generates a catalog of any size and devices of many kinds, deterministically."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

from fleetmark_catalog.load import BUILTIN, Catalog, load_catalog
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

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
ARCHES = ("x86_64", "aarch64")
LAYERS = 3
VERSIONS = 4


def write_catalog(folder: Path, components: int, seed: int = 1) -> None:
    """Write components below `folder`, so that there are `components` with the built-in ones.

    Six of ten are packages in layers. Each has four versions, which need two or three packages of
    the layer below within a version range. The others are models and benchmarks, whose programs
    need packages of the top layer.
    """
    chance = random.Random(seed)
    wanted = components - len(load_catalog().all())
    packages = int(wanted * 0.6)
    layers: list[list[str]] = [[] for _ in range(LAYERS)]
    for number in range(packages):
        layer = number * LAYERS // packages
        layers[layer].append(name := f"lib-{layer}-{number}")
        _write_package(folder, name, layers[layer - 1] if layer else [], chance)
    rest = wanted - packages
    for number in range(rest // 3):
        _write_benchmark(folder, f"bench-{number}", chance.sample(layers[-1], 3), chance)
    for number in range(rest - rest // 3 * 3):
        _write_model(folder, f"spare-{number}")


def _write_package(folder: Path, name: str, below: list[str], chance: random.Random) -> None:
    needs = chance.sample(below, min(len(below), chance.randint(2, 3))) if below else []
    ranges = [f">={chance.randint(1, 2)}", f">=1,<{chance.randint(3, 5)}", ""]
    lines = [
        f'[[requires]]\ncomponent = "package/{need}"\nversion = "{chance.choice(ranges)}"\n'
        for need in needs
    ]
    older = ", ".join(f'"{version}.0"' for version in range(VERSIONS - 1, 0, -1))
    body = f'[package]\ndistribution = "{name}"\nolder = [{older}]\n'
    place = _write(folder, "package", name, "\n".join(lines) + body, f"{VERSIONS}.0")
    (place / "wheels.json").write_text(json.dumps(_wheels(name)))


def _wheels(name: str) -> dict[str, object]:
    sets, wheels = [], {}
    for version in range(VERSIONS, 0, -1):
        for python in PYTHONS:
            for arch in ARCHES:
                tag = "cp" + python.replace(".", "")
                file = f"{name.replace('-', '_')}-{version}.0-{tag}-{tag}-manylinux_2_28_{arch}.whl"
                digest = hashlib.sha256(file.encode()).hexdigest()
                wheels[file] = {
                    "name": name,
                    "version": f"{version}.0",
                    "sha256": digest,
                    "size_bytes": 1000,
                }
                entry = {"version": f"{version}.0", "python": python, "arch": arch}
                sets.append({**entry, "wheels": [file]})
    return {"format": 1, "distribution": name, "sets": sets, "wheels": wheels}


def _write_model(folder: Path, name: str) -> None:
    text = (BUILTIN / "model" / "fashion-mnist-dscnn" / "component.toml").read_text()
    text = text.replace('name = "fashion-mnist-dscnn"', f'name = "{name}"')
    place = folder / "model" / name
    place.mkdir(parents=True)
    (place / "component.toml").write_text(text)


def _write_benchmark(folder: Path, name: str, needs: list[str], chance: random.Random) -> None:
    _write_model(folder, f"{name}-model")
    source = BUILTIN / "program" / "image-classification" / "component.toml"
    more = "".join(f'\n[[requires]]\ncomponent = "package/{need}"\n' for need in needs)
    text = source.read_text().replace("\n[variations.onnx]", more + "\n[variations.onnx]", 1)
    text = text.replace('name = "image-classification"', f'name = "{name}-program"', 1)
    place = folder / "program" / f"{name}-program"
    place.mkdir(parents=True)
    (place / "component.toml").write_text(text)
    (place / "main.py").write_text("")
    text = (BUILTIN / "benchmark" / "fashion-mnist" / "component.toml").read_text()
    text = text.replace('name = "fashion-mnist"', f'name = "{name}"', 1)
    text = text.replace("program/image-classification", f"program/{name}-program")
    text = text.replace("model/fashion-mnist-dscnn", f"model/{name}-model")
    if chance.random() < 0.1:
        text = text.replace("[benchmark]\n", 'device = "memory>=8GiB"\n[benchmark]\n', 1)
    place = folder / "benchmark" / name
    place.mkdir(parents=True)
    # A top-level key must precede the first table.
    head, mark, tail = text.partition('device = "memory>=8GiB"\n')
    (place / "component.toml").write_text(mark + head + tail)


def _write(folder: Path, kind: str, name: str, text: str, version: str) -> Path:
    place = folder / kind / name
    place.mkdir(parents=True)
    head = (
        f'kind = "{kind}"\nname = "{name}"\nversion = "{version}"\n'
        f'title = "{name}"\nlicense = "MIT"\n\n'
    )
    (place / "component.toml").write_text(head + text)
    return place


def make_devices(count: int) -> list[Capabilities]:
    """Return different devices: architecture, interpreters, C library, memory and software vary."""
    return [_device(number) for number in range(count)]


def _device(number: int) -> Capabilities:
    arch = "aarch64" if number % 8 == 7 else "x86_64"
    glibc = 28 + number % 9
    versions = [PYTHONS[(number + step) % 4] + f".{number % 12}" for step in range(1 + number % 3)]
    return Capabilities(
        os=Os("linux", "debian", "12", f"6.{number}.0", "glibc", f"2.{glibc}"),
        arch=arch,
        board=Board(model=f"Model {number}"),
        cpu=Cpu(logical_cores=4, usable_cores=4),
        memory=Memory((4 + number % 8) << 30, 0),
        storage=Storage(32 << 30, 8 << 30),
        software=(Software("gcc", f"{9 + number % 5}.1.0", "/usr/bin/gcc"),),
        interpreters=tuple(_interpreter(version, arch, glibc) for version in versions),
        tags=("linux", "arm64" if arch == "aarch64" else arch),
    )


def _interpreter(version: str, arch: str, glibc: int) -> Interpreter:
    platforms = [f"manylinux_2_{minor}_{arch}" for minor in range(glibc, 16, -1)]
    abi = "cp" + "".join(version.split(".")[:2])
    return Interpreter(
        f"/usr/bin/python{version}",
        version,
        "cpython",
        (abi, "abi3", "none"),
        (*platforms, f"manylinux2014_{arch}", f"linux_{arch}"),
    )


def load(folder: Path) -> Catalog:
    """Load the built-in catalog together with the generated one."""
    return load_catalog([folder])
