"""A Python that the catalog brings, for devices whose own does not fit."""

from __future__ import annotations

import dataclasses

import pytest

from fleetmark_catalog.load import load_catalog
from fleetmark_catalog.resolve import Resolution, expand, resolve
from fleetmark_core.capabilities import Capabilities, Os
from fleetmark_core.errors import FleetmarkError
from fleetmark_core.lockfile import Lockfile, parse_lockfile
from fleetmark_core.resource_model import Run, predict
from tests.support.sample_devices import HARNESS, interpreter, sample_device

CATALOG = load_catalog()
PYTHON = CATALOG.get("package", "python-3.11")
NEW = sample_device(interpreter("3.13.1"))


def answer(facts: Capabilities, word: str = "tflite-runtime") -> Resolution:
    configuration = expand(CATALOG, "fashion-mnist", variations=[word])[0]
    return resolve(CATALOG, configuration, facts, HARNESS)


def lock_on(facts: Capabilities) -> Lockfile:
    lock = answer(facts).lock
    assert lock is not None
    return lock


def test_a_device_with_a_newer_python_only_gets_one_for_tflite_runtime() -> None:
    lock = lock_on(NEW)
    environment = lock.environment
    assert environment.provided is not None
    assert environment.python_version == "3.11"
    assert environment.provided.archive in list(lock.blobs())
    names = [wheel.name for wheel in environment.wheels]
    assert [n for n in names if n.startswith("tflite_runtime")] == [
        "tflite_runtime-2.14.0-cp311-cp311-manylinux2014_x86_64.whl"
    ]
    assert ("package", "python-3.11") in {(part.kind, part.name) for part in lock.components}
    assert environment.provided.archive.sha256 in answer(NEW).sources
    assert parse_lockfile(lock.canonical()) == lock
    assert any("at {provided}/usr/bin/python3.11 is used" in t for t in answer(NEW).explanation)


def test_the_devices_own_python_is_preferred() -> None:
    assert lock_on(sample_device()).environment.provided is None
    both = sample_device(interpreter("3.13.1"), interpreter("3.11.7"))
    assert lock_on(both).environment.provided is None
    # And where its newer one does, nothing older is brought.
    lock = answer(NEW, "onnx").lock
    assert lock is not None and lock.environment.provided is None
    assert lock.environment.python_version == "3.13"


def test_a_device_without_any_python_for_jobs_gets_one() -> None:
    none = dataclasses.replace(NEW, interpreters=())
    assert lock_on(none).environment.provided is not None


@pytest.mark.parametrize(
    ("system", "words"),
    [
        (
            Os("linux", "debian", "11", "5.10", "glibc", "2.31"),
            "python-3.11 3.11.2 needs glibc 2.36 or newer: the device has 2.31",
        ),
        (
            Os("linux", "alpine", "3.19", "6.1", "musl", "1.2.4"),
            "python-3.11 3.11.2 needs glibc: the device has musl",
        ),
    ],
)
def test_a_device_that_it_does_not_run_on_is_reported_why(system: Os, words: str) -> None:
    found = answer(dataclasses.replace(NEW, os=system))
    assert found.lock is None
    assert words in found.reasons
    assert any("has no wheel for cp313" in reason for reason in found.reasons)


def test_it_is_part_of_the_environments_name_and_of_what_is_needed() -> None:
    environment = lock_on(NEW).environment
    bare = dataclasses.replace(environment, provided=None)
    assert environment.key("manylinux_2_36_x86_64") != bare.key("manylinux_2_36_x86_64")
    run = Run("SingleStream", "accuracy", "quick", {})
    without = dataclasses.replace(lock_on(NEW), environment=bare)
    more = predict(lock_on(NEW), run).environment_bytes - predict(without, run).environment_bytes
    assert more == 32_000_000


@pytest.mark.parametrize("path", ["../python", "/usr/bin/python3", "usr//python", "a\x1b"])
def test_a_lock_with_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    lock = lock_on(NEW)
    assert lock.environment.provided is not None
    provided = dataclasses.replace(lock.environment.provided, python=path)
    bad = dataclasses.replace(
        lock, environment=dataclasses.replace(lock.environment, provided=provided)
    )
    with pytest.raises(FleetmarkError, match="not a plain file name"):
        parse_lockfile(bad.canonical())
