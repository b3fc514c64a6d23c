"""Packages that have a recipe and no wheel: what is to be built, and the lock once it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetmark_catalog.load import Catalog, WheelFile, load_catalog, read_component
from fleetmark_catalog.resolve import BuiltWheel, expand, resolve, wheels_for
from fleetmark_controller.artifacts.acquire import obtain
from fleetmark_controller.artifacts.fetch_plan import sources_of
from fleetmark_controller.planning.campaign_request import CampaignRequest
from fleetmark_controller.planning.device import Device
from fleetmark_controller.planning.plan import make_plan
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.errors import ErrorKind, FleetmarkError
from tests.support.sample_devices import HARNESS, interpreter, sample_device

CATALOG = load_catalog()
CONFIGURATIONS = expand(CATALOG, "default")
WHEEL = "mlcommons_loadgen-6.0.17-cp311-cp311-manylinux_2_28_aarch64.whl"
ARM = sample_device(arch="aarch64")
NAMES = ("arm-1", "arm-2", "desk")
DEVICES = [
    Device(
        f"id-{name}", name, {}, sample_device() if name == "desk" else ARM, "0.1", "boot", "", ""
    )
    for name in NAMES
]


def knowing(catalog: Catalog = CATALOG) -> Catalog:
    """The catalog after LoadGen was built for Python 3.11 on aarch64."""
    [build] = resolve(catalog, CONFIGURATIONS[0], ARM, HARNESS).builds
    wheel = WheelFile(build.filename, build.distribution, build.version, "5" * 64, 77, made=True)
    return catalog.knowing({build.key: wheel})


def test_what_is_missing_is_to_be_built_and_the_lock_is_provisional() -> None:
    answer = resolve(CATALOG, CONFIGURATIONS[0], ARM, HARNESS)
    [build] = answer.builds
    assert build.filename == WHEEL
    assert answer.lock is not None and not answer.reasons
    [loadgen] = [w for w in answer.lock.environment.wheels if "loadgen" in w.name]
    assert (loadgen.name, loadgen.sha256, loadgen.size_bytes) == (WHEEL, build.key, 0)
    assert any("which the controller builds before the job" in line for line in answer.explanation)


def test_once_it_is_built_the_lock_names_it_like_any_other() -> None:
    answer = resolve(knowing(), CONFIGURATIONS[0], ARM, HARNESS)
    assert answer.builds == () and answer.lock is not None
    [loadgen] = [w for w in answer.lock.environment.wheels if "loadgen" in w.name]
    assert (loadgen.name, loadgen.sha256, loadgen.size_bytes) == (WHEEL, "5" * 64, 77)
    assert answer.sources["5" * 64] == BuiltWheel(WHEEL, 77)


def test_nothing_is_built_for_a_device_that_has_a_wheel() -> None:
    for configuration in CONFIGURATIONS:
        assert resolve(CATALOG, configuration, sample_device(), HARNESS).builds == ()


@pytest.mark.parametrize("python", ["3.10.1", "3.11.1", "3.12.1", "3.13.1"])
def test_each_python_has_a_build_of_its_own(python: str) -> None:
    arm = sample_device(interpreter(python, "aarch64"), arch="aarch64")
    configuration = expand(CATALOG, "fashion-mnist", variations=["tflite"])[0]
    [build] = resolve(CATALOG, configuration, arm, HARNESS).builds
    assert build.python == python.rpartition(".")[0]


def test_a_plan_names_each_build_once_for_all_devices_and_configurations() -> None:
    plan = make_plan(CATALOG, CampaignRequest("c", "default"), DEVICES, HARNESS, 0)
    assert [build.filename for build in plan.builds] == [WHEEL]
    assert {job.device for job in plan.jobs} == set(NAMES)
    assert make_plan(knowing(), CampaignRequest("c", "default"), DEVICES, HARNESS, 0).builds == ()


def test_fetching_a_package_or_benchmark_asks_for_the_build_first() -> None:
    for name in ("mlcommons-loadgen", "fashion-mnist"):
        _, builds = sources_of(CATALOG, name, DEVICES)
        assert [build.filename for build in builds] == [WHEEL]
        sources, builds = sources_of(knowing(), name, DEVICES)
        assert builds == () and "5" * 64 in sources


def test_the_first_version_that_fits_or_can_be_built_is_fetched() -> None:
    package = CATALOG.get("package", "mlcommons-loadgen")
    sources, builds = wheels_for(package, interpreter(arch="aarch64"), {})
    assert [build.filename for build in builds] == [WHEEL]
    assert list(sources) == [builds[0].key]
    assert wheels_for(package, interpreter("3.9.2"), {}) == ({}, ())


def test_a_built_wheel_that_is_gone_is_output(tmp_path: Path) -> None:
    blobs = BlobFolder(tmp_path / "blobs")
    sources = {"5" * 64: BuiltWheel(WHEEL, 77)}
    with pytest.raises(FleetmarkError) as caught:
        obtain(sources, blobs, None, print)
    assert caught.value.kind is ErrorKind.ARTIFACT_UNAVAILABLE
    assert WHEEL in caught.value.what and "build it again" in caught.value.next_step


RECIPE = """\
kind = "package"
name = "thing"
version = "1.0"
title = "Thing"
license = "MIT"

[package]
distribution = "thing"

[package.build]
where = "controller"
arches = ["aarch64"]
pythons = ["3.11"]
glibc = "2.28"
tools = [{ requirement = "setuptools==80.9.0", sha256 = "DIGEST" }]
sdists."1.0" = { file = "thing-1.0.tar.gz", sha256 = "DIGEST", size_bytes = 10 }
""".replace("DIGEST", "a" * 64)


def component(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "component.toml").write_text(text)
    return folder


def test_a_recipe_is_read(tmp_path: Path) -> None:
    recipe = read_component(component(tmp_path / "thing", RECIPE)).recipe
    assert recipe is not None
    assert (recipe.arches, recipe.pythons, recipe.glibc) == (("aarch64",), ("3.11",), "2.28")
    assert recipe.sdists["1.0"].file == "thing-1.0.tar.gz"
    assert recipe.tools[0].requirement == "setuptools==80.9.0"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('where = "controller"', 'where = "board"', ["where", "controller"]),
        ('["aarch64"]', '["armv7l"]', ["arches", "aarch64"]),
        ('"2.28"', '"2.5"', ["glibc"]),
        ('["3.11"]', '["2.7"]', ["pythons"]),
        ('"setuptools==80.9.0"', '"setuptools>=80"', ["requirement"]),
        ("a" * 64, "a" * 63, ["sha256"]),
        ('sdists."1.0"', 'sdists."1.1"', ["package.build.sdists", "'1.1'", "allowed 1.0"]),
        ('"thing-1.0.tar.gz"', '"../thing.tar.gz"', ["file"]),
        ('where = "controller"', 'command = "make"', ["command"]),
    ],
)
def test_a_wrong_recipe_is_reported_with_its_key(
    tmp_path: Path, old: str, new: str, words: list[str]
) -> None:
    assert old in RECIPE
    with pytest.raises(FleetmarkError) as caught:
        read_component(component(tmp_path / "thing", RECIPE.replace(old, new)))
    assert caught.value.kind is ErrorKind.INVALID_COMPONENT
    for word in words:
        assert word in str(caught.value)
