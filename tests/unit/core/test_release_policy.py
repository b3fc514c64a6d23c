"""What a device checks of a lock and an order: all that resolving makes follows, nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fleetmark_catalog.load import Catalog, Component, load_catalog
from fleetmark_catalog.load.release_definitions import definition
from fleetmark_catalog.resolve import Configuration, expand, resolve
from fleetmark_core.digest import sha256_hex
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.lockfile import BlobRef, Lockfile, parse_lockfile
from fleetmark_core.order import Order
from fleetmark_core.release import Release, parse_release
from fleetmark_core.release_policy import check_lock, check_order
from tests.support.sample_devices import HARNESS, interpreter, sample_device


def confirmed(catalog: Catalog) -> Catalog:
    """Return the catalog as after an admin confirmed all files with an MD5."""

    def with_files(component: Component) -> Component:
        files = (
            replace(file, sha256=sha256_hex(file.md5.encode()), size_bytes=1000)
            if file.md5
            else file
            for file in component.artifacts
        )
        return replace(component, artifacts=tuple(files))

    return catalog.replacing([with_files(component) for component in catalog.all()])


CATALOG = confirmed(load_catalog())


def released(catalog: Catalog = CATALOG) -> Release:
    made = Release(
        7,
        1_000_000,
        2_000_000,
        tuple(definition(part) for part in catalog.all()),
        ((HARNESS.name, HARNESS.sha256, HARNESS.size_bytes),),
        (),
    )
    return parse_release(made.canonical())


RELEASE = released()
DEVICES = [
    sample_device(),
    sample_device(arch="aarch64"),
    sample_device(interpreter("3.13.2")),
    sample_device(interpreter("3.10.4", glibc=31)),
]


def lock_of(name: str = "fashion-mnist", **more: Any) -> tuple[Lockfile, Configuration]:
    configuration = expand(CATALOG, name, **more)[0]
    found = resolve(CATALOG, configuration, DEVICES[0], HARNESS)
    assert found.lock is not None, found.reasons
    return parse_lockfile(found.lock.canonical()), configuration


def order_of(lock: Lockfile, configuration: Configuration, **parameters: Any) -> Order:
    return Order(
        format=1,
        device_id="device",
        campaign_id="campaign",
        job_id="job",
        epoch=1,
        lock_sha256="0" * 64,
        lock_bytes=1,
        bundle_bytes=1,
        scenario=configuration.scenario,
        mode=configuration.mode,
        profile=configuration.profile,
        timeout_s=60.0,
        parameters=parameters,
    )


@pytest.mark.parametrize("name", [part.name for part in CATALOG.all("benchmark")])
def test_every_lock_that_resolving_makes_follows_from_the_release(name: str) -> None:
    checked = 0
    words = {w for part in CATALOG.all("program") for w in part.variations if "#" not in w}
    for variations in [(), *((word,) for word in sorted(words))]:
        try:
            configurations = expand(CATALOG, name, variations=variations)
        except FleetmarkError:
            continue  # a word that this benchmark does not know
        for facts in DEVICES:
            for configuration in configurations:
                try:
                    found = resolve(CATALOG, configuration, facts, HARNESS)
                except FleetmarkError:
                    continue  # its model has no such file
                if found.lock is None or found.builds:
                    continue
                lock = parse_lockfile(found.lock.canonical())
                check_lock(RELEASE, lock)
                check_order(RELEASE, order_of(lock, configuration), lock)
                checked += 1
    assert checked


def changed(lock: Lockfile, change: Callable[[dict[str, Any]], None]) -> Lockfile:
    values = json.loads(lock.canonical())
    change(values)
    return parse_lockfile(json.dumps(values).encode())


STRANGE = BlobRef("evil.py", "e" * 64, 10)


def _set(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(values: dict[str, Any]) -> None:
        place: Any = values
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "fault", "named"),
    [
        (_set("program", "command", to=["/bin/sh", "-c", "id"]), "NOT_ALLOWED", "/bin/sh -c id"),
        (_set("program", "command", 0, to="{python} "), "NOT_ALLOWED", "is not the command of"),
        (
            _set("program", "files", 0, "sha256", to="e" * 64),
            "NOT_RELEASED",
            "not a file of program",
        ),
        (_set("program", "files", to=[]), "NOT_ALLOWED", "missing"),
        (_set("program", "outputs", to=[]), "NOT_ALLOWED", "outputs"),
        (_set("program", "environment", to={"LD_PRELOAD": "x"}), "NOT_ALLOWED", "LD_PRELOAD"),
        (_set("inputs", "model", "sha256", to="e" * 64), "NOT_RELEASED", "model"),
        (_set("inputs", "model", "size_bytes", to=1), "NOT_RELEASED", "model"),
        (_set("environment", "wheels", 0, "sha256", to="e" * 64), "NOT_RELEASED", "wheel"),
        (_set("environment", "system_site", to=True), "NOT_ALLOWED", "system's Python packages"),
        (_set("components", 0, "sha256", to="e" * 64), "NOT_RELEASED", "is not in release 7"),
        (_set("components", 0, "variations", to=["evil"]), "NOT_ALLOWED", "no variation"),
        (_set("components", to=[]), "NOT_ALLOWED", "0 components of kind program"),
        (_set("job", "defaults", "threads", to=10_000), "NOT_ALLOWED", "defaults"),
        (_set("job", "evil", to={}), "NOT_ALLOWED", "evil"),
        (_set("job", "runtime", "module", to="os"), "NOT_ALLOWED", "runtime"),
        (_set("job", "benchmark", "profiles", to={}), "NOT_ALLOWED", "benchmark"),
        (_set("benchmark", to="other"), "NOT_ALLOWED", "another benchmark"),
    ],
)
def test_whatever_else_a_lock_says_is_refused(
    change: Callable[[dict[str, Any]], None], fault: str, named: str
) -> None:
    lock, _ = lock_of()
    with pytest.raises(FleetmarkError) as caught:
        check_lock(RELEASE, changed(lock, change))
    assert caught.value.kind is ErrorKind[fault]
    assert named in str(caught.value)


def test_archives_and_pythons_must_be_those_of_the_release() -> None:
    lock, _ = lock_of()
    plain = json.loads(lock.canonical())
    archive = {
        "name": "evil",
        "archive": {"name": "evil.tar", "sha256": "e" * 64, "size_bytes": 9},
        "unpacked_bytes": 9,
        "bin": ["."],
        "lib": [],
        "python": [],
    }
    plain["environment"]["archives"] = [archive]
    with pytest.raises(FleetmarkError, match="not an archive of the lockfile's packages"):
        check_lock(RELEASE, parse_lockfile(json.dumps(plain).encode()))
    del plain["environment"]["archives"]
    plain["environment"]["provided"] = {
        "archive": archive["archive"],
        "python": "bin/python",
        "version": "3.11.0",
        "abis": ["cp311"],
        "platforms": ["linux_x86_64"],
        "unpacked_bytes": 9,
    }
    with pytest.raises(FleetmarkError, match="not a Python of the lockfile's packages"):
        check_lock(RELEASE, parse_lockfile(json.dumps(plain).encode()))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"parameters": {"threads": 100_000}}, "threads cannot be '100000'. Allowed: int from 1"),
        ({"parameters": {"threads": "2; rm"}}, "threads cannot be"),
        ({"parameters": {"threads": True}}, "threads cannot be 'True'"),
        ({"parameters": {"threads": 1.5}}, "threads cannot be '1.5'"),
        ({"parameters": {"evil": 1}}, "no parameter 'evil'"),
        (
            {"parameters": {"xnnpack": False}},
            "parameter xnnpack does not apply to runtime onnxruntime, only to tflite",
        ),
        ({"parameters": {"execution_provider": "../evil"}}, "cannot be '../evil'"),
        ({"scenario": "Evil"}, "no scenario 'Evil'"),
        ({"mode": "evil"}, "no mode 'evil'"),
        ({"profile": "evil"}, "no profile 'evil'"),
    ],
)
def test_an_order_stays_within_its_components_ranges(change: dict[str, Any], named: str) -> None:
    lock, configuration = lock_of()
    check_order(RELEASE, order_of(lock, configuration, threads=2), lock)
    for mode in ("accuracy", "TEST01", "TEST04", "find-performance"):
        check_order(RELEASE, replace(order_of(lock, configuration), mode=mode), lock)
    with pytest.raises(FleetmarkError) as caught:
        check_order(RELEASE, replace(order_of(lock, configuration), **change), lock)
    assert caught.value.kind is ErrorKind.NOT_ALLOWED
    assert named in str(caught.value)


def test_equal_catalogs_have_equal_releases() -> None:
    assert released(confirmed(load_catalog())).canonical() == RELEASE.canonical()
