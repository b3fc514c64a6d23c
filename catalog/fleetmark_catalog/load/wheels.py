"""Writes the wheel lockfiles of package components: exact wheels per Python and architecture.

    python -m fleetmark_catalog.load.wheels [--catalog FOLDER] [--upgrade] [NAME ...]

For every package component (or the named ones), version, Python 3.10 to 3.13 and Linux
architecture, pip reports which wheels it would install (`--dry-run`, binary wheels only, for the
foreign platform). Then the wheels are downloaded once, so that size and digest are those of the
real bytes, and `wheels.json` beside the component is rewritten. Locked versions stay unless
`--upgrade` is given. The file does not name an index.

pip evaluates environment markers for the Python that it runs on, not for the target. Therefore
dependencies are followed here, step by step, with markers evaluated for the target.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name, parse_wheel_filename

from fleetmark_catalog.load.catalog import BUILTIN, Catalog, read_folder
from fleetmark_catalog.load.model import Component
from fleetmark_catalog.load.parse import WHEELS_FILE, read_wheels
from fleetmark_core.digest import sha256_file

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
ARCHES = ("x86_64", "aarch64")
NEWEST_GLIBC = 39
TIME_LIMIT_S = 600


@dataclass(frozen=True)
class Target:
    """A Python version on a Linux architecture."""

    python: str
    arch: str

    def platforms(self) -> list[str]:
        """Return the platform tags from the newest glibc down, so that pip may choose any wheel."""
        modern = [f"manylinux_2_{minor}_{self.arch}" for minor in range(NEWEST_GLIBC, 16, -1)]
        return [*modern, f"manylinux2014_{self.arch}", f"linux_{self.arch}"]

    def environment(self) -> dict[str, str]:
        """Return the values of the environment markers (PEP 508)."""
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "os_name": "posix",
            "platform_machine": self.arch,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": "linux",
            "extra": "",
        }

    def pip_options(self) -> list[str]:
        """Return the options that make pip resolve for this target."""
        platforms = [f"--platform={platform}" for platform in self.platforms()]
        return [*platforms, f"--python-version={self.python}", "--only-binary=:all:", "--no-deps"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m fleetmark_catalog.load.wheels")
    parser.add_argument("--catalog", type=Path, default=BUILTIN, help="components folder")
    parser.add_argument(
        "--upgrade", action="store_true", help="update dependencies to newer versions"
    )
    parser.add_argument("names", nargs="*", help="package components (default: all)")
    options = parser.parse_args(arguments)
    catalog = Catalog(read_folder(options.catalog))
    for component in catalog.all("package"):
        # A package that contains a Python or archives has no wheels.
        asked = not options.names or component.name in options.names
        if asked and not {"interpreters", "archives"} & component.body.keys():
            document = lock_package(catalog, component, options.upgrade)
            text = json.dumps(document, indent=1, sort_keys=True) + "\n"
            (component.folder / WHEELS_FILE).write_text(text)
            print(f"{component.id}: {len(document['sets'])} sets, {len(document['wheels'])} wheels")  # noqa: T201
    return 0


def lock_package(catalog: Catalog, component: Component, upgrade: bool) -> dict[str, Any]:
    """Return the content of `wheels.json` for one package component."""
    supplied = {
        canonicalize_name(catalog.get(choice.kind, choice.name).body["distribution"])
        for requirement in component.requires
        for choice in requirement.choices
    }
    left_out = supplied | {canonicalize_name(name) for name in component.body.get("omit", {})}
    locked = {} if upgrade else _locked(component)
    sets, wheels = [], {}
    with tempfile.TemporaryDirectory(prefix="fleetmark-wheels-") as scratch:
        for version in component.versions():
            for target in (Target(python, arch) for python in PYTHONS for arch in ARCHES):
                key = (version, target.python, target.arch)
                root = f"{component.body['distribution']}=={version}"
                pins = [*locked.get(key, ()), *component.body.get("constraints", ())]
                chosen = resolve_wheels(root, target, left_out, pins)
                if not chosen:
                    continue
                names = []
                for file in download(chosen, target, Path(scratch)):
                    names.append(file.name)
                    name, wheel_version = parse_wheel_filename(file.name)[:2]
                    wheels[file.name] = {
                        "name": str(name),
                        "version": str(wheel_version),
                        "sha256": sha256_file(file),
                        "size_bytes": file.stat().st_size,
                    }
                sets.append(
                    {
                        "version": version,
                        "python": target.python,
                        "arch": target.arch,
                        "wheels": names,
                    }
                )
    return {
        "format": 1,
        "distribution": component.body["distribution"],
        "sets": sets,
        "wheels": wheels,
    }


def _locked(component: Component) -> dict[tuple[str, str, str], list[str]]:
    return {
        (entry.version, entry.python, entry.arch): [
            f"{wheel.name}=={wheel.version}" for wheel in entry.wheels[1:]
        ]
        for entry in read_wheels(component.folder / WHEELS_FILE)
    }


def resolve_wheels(
    root: str, target: Target, left_out: set[NormalizedName], pins: Sequence[str]
) -> list[tuple[str, str]]:
    """Resolve the root requirement and all its dependencies for a target.

    Args:
        root: requirement of the root, as `name==version`.
        target: Python and architecture.
        left_out: distributions that are not followed.
        pins: additional version constraints.

    Returns:
        Pairs of `name==version` and file name, the root first. Empty if no wheel of the root fits
        the target.
    """
    wanted: dict[NormalizedName, set[str]] = {canonicalize_name(Requirement(root).name): {root}}
    bound: dict[NormalizedName, list[str]] = {}
    for pin in pins:
        bound.setdefault(canonicalize_name(Requirement(pin).name), []).append(pin)
    first = canonicalize_name(Requirement(root).name)
    while True:
        asked = [line for name in wanted for line in [*sorted(wanted[name]), *bound.get(name, ())]]
        report = _dry_run(asked, target)
        if report is None:
            if len(wanted) == 1:
                return []
            raise SystemExit(f"no wheels for {target.python} {target.arch} meet {', '.join(asked)}")
        before = sum(map(len, wanted.values()))
        for item in report["install"]:
            for text in item["metadata"].get("requires_dist", ()):
                need = Requirement(text)
                name = canonicalize_name(need.name)
                applies = need.marker is None or need.marker.evaluate(target.environment())
                if applies and name not in left_out:
                    wanted.setdefault(name, set()).add(f"{need.name}{need.specifier}")
        if sum(map(len, wanted.values())) == before:
            break
    chosen = {
        canonicalize_name(item["metadata"]["name"]): (
            f"{item['metadata']['name']}=={item['metadata']['version']}",
            str(item["download_info"]["url"]).rpartition("/")[2].partition("#")[0],
        )
        for item in report["install"]
    }
    rest = sorted(name for name in chosen if name != first)
    return [chosen[name] for name in (first, *rest)]


def _dry_run(requirements: Sequence[str], target: Target) -> Any:
    # pip rejects foreign platforms without --target; nothing is written there.
    command = [
        *(sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"),
        *("--report", "-", "--target", tempfile.gettempdir()),
        *target.pip_options(),
        *requirements,
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False
    )
    if done.returncode == 0:
        return json.loads(done.stdout)
    if "No matching distribution" in done.stderr:
        return None
    raise SystemExit(f"pip failed: {done.stderr.strip()}")


def download(chosen: Sequence[tuple[str, str]], target: Target, folder: Path) -> list[Path]:
    """Return the chosen wheels as files in `folder`, in the given order; download missing ones."""
    missing = [requirement for requirement, name in chosen if not (folder / name).is_file()]
    if missing:
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder)),
            *target.pip_options(),
            *missing,
        ]
        subprocess.run(command, timeout=TIME_LIMIT_S, check=True)
    return [folder / name for _, name in chosen]


if __name__ == "__main__":
    sys.exit(main())
