from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from fleetmark_catalog.load import BUILTIN, KINDS, load_catalog, read_component
from fleetmark_catalog.load.schema import schema
from fleetmark_core.digest import sha256_file
from fleetmark_core.errors import ErrorKind, FleetmarkError

MODEL = """
kind = "model"
name = "tiny"
version = "1.0"
title = "A tiny model"
license = "MIT"
[model]
task = "image-classification"
input = { shape = [28, 28, 1] }
output = { classes = 10 }
"""
PROGRAM = """
kind = "program"
name = "tiny"
version = "1.0"
title = "A program"
license = "MIT"
[program]
contract = 1
command = ["{python}", "{program}/main.py"]
files = ["main.py"]
outputs = [{ name = "result.json", role = "result" }]
"""
PACKAGE = """
kind = "package"
name = "tiny"
version = "1.0"
title = "A package"
license = "MIT"
[package]
distribution = "tiny"
"""
MD5_FILE = f'[[artifacts]]\nname = "a.onnx"\nrole = "model"\nmd5 = "{"0" * 32}"\n'
MD5_PLACE = '[[artifacts.locations]]\nurl = "https://example.org/a.onnx"\nsize_bytes = 9\n'


def place(folder: Path, text: str, kind: str = "model", name: str = "tiny") -> Path:
    target = folder / kind / name
    target.mkdir(parents=True)
    (target / "component.toml").write_text(text)
    return target


def test_the_built_in_catalog_loads_and_is_whole() -> None:
    catalog = load_catalog()
    assert {component.kind for component in catalog.all()} >= {
        *("benchmark", "program", "model", "dataset", "package", "suite")
    }
    for component in catalog.all():
        assert catalog.get(component.kind, component.name) is component
        own = sha256_file(component.folder / "component.toml")
        assert (component.sha256 == own) == (not component.parents)
        for artifact in component.artifacts:
            if artifact.file:
                path = component.folder / artifact.file
                assert sha256_file(path) == artifact.sha256, artifact.name
                assert path.stat().st_size == artifact.size_bytes, artifact.name


def test_every_file_of_a_model_or_data_set_is_declared() -> None:
    for component in load_catalog().all():
        if component.kind in ("model", "dataset"):
            there = {path.name for path in component.folder.iterdir()}
            assert there - {"component.toml", "NOTICE", "README.md"} == {
                artifact.file for artifact in component.artifacts if artifact.file
            }


def test_shipped_data_has_a_license() -> None:
    notice = (BUILTIN / "dataset" / "fashion-mnist-1000" / "NOTICE").read_text()
    assert "Zalando" in notice
    assert "Permission is hereby granted" in notice
    assert "WITHOUT WARRANTY OF ANY KIND" in notice


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_valid_schema(kind: str) -> None:
    Draft202012Validator.check_schema(schema(kind))


BAD = {
    "no toml": (MODEL + "x = = 1", ["is not TOML", "line"]),
    "not a kind": (MODEL.replace('kind = "model"', ""), ["key kind", "found None", "benchmark"]),
    "unknown kind": (
        MODEL.replace('kind = "model"', 'kind = "modle"'),
        ["found 'modle'", "did you mean 'model'"],
    ),
    "unknown key": (
        'lisense = "MIT"\n' + MODEL.replace('license = "MIT"', ""),
        ["key lisense", "unknown key", "Did you mean 'license'?"],
    ),
    "unknown nested key": (
        MODEL.replace("classes = 10", "clases = 10"),
        ["key model.output.clases", "Did you mean 'classes'?"],
    ),
    "missing key": (
        MODEL.replace('title = "A tiny model"', ""),
        ["key title", "required, but missing"],
    ),
    "missing body": (MODEL.split("[model]", maxsplit=1)[0], ["key model", "required, but missing"]),
    "wrong type": (
        MODEL.replace("classes = 10", 'classes = "ten"'),
        ["key model.output.classes", 'found "ten"', "integer"],
    ),
    "too small": (
        MODEL.replace("classes = 10", "classes = 0"),
        ["key model.output.classes", "found 0", "at least 1"],
    ),
    "bad name": (MODEL.replace('"tiny"', '"../tiny"'), ["key name", '"../tiny"', "text like"]),
    "artifact without digest": (
        MODEL + '[[artifacts]]\nname = "a.onnx"\nrole = "model"\nfile = "a.onnx"\nsize_bytes = 1\n',
        ["key artifacts.0.sha256", "required, but missing"],
    ),
    "artifact with md5 and sha256": (
        MODEL + MD5_FILE + f'sha256 = "{"0" * 64}"\nsize_bytes = 1\n' + MD5_PLACE,
        ["key artifacts: artifact a.onnx", "allowed one of the two"],
    ),
    "artifact with a wrong md5": (
        MODEL + MD5_FILE.replace("0" * 32, "0" * 31) + MD5_PLACE,
        ["key artifacts.0.md5", "text like"],
    ),
    "file of the folder with an md5": (
        MODEL + MD5_FILE + 'file = "a.onnx"\n',
        ["artifact a.onnx: found md5 and file", "has a sha256"],
    ),
    "what a recipe makes with an md5": (
        MODEL + MD5_FILE + '[[artifacts.locations]]\nrecipe = "wav-clips"\nsize_bytes = 1\n',
        ["artifact a.onnx: found md5 and a recipe"],
    ),
    "package with an md5": (
        PACKAGE + MD5_FILE + MD5_PLACE,
        ["artifact a.onnx: found md5", "kind model or dataset"],
    ),
    "rounds of an unknown suite": (
        MODEL + '[model.rounds]\nclosed = ["v5.1"]\n',
        ["key model.rounds.closed: unknown key", "inference-edge"],
    ),
    "round without its v": (
        MODEL + '[model.rounds]\ntiny = ["1.0"]\n',
        ["key model.rounds.tiny.0", '"1.0"', "text like"],
    ),
    "artifact with a path": (
        MODEL + '[[artifacts]]\nname = "a"\nrole = "model"\nfile = "../a"\nsize_bytes = 1\n'
        f'sha256 = "{"0" * 64}"\n',
        ["key artifacts.0.file", '"../a"'],
    ),
    "artifact from nowhere": (
        MODEL + '[[artifacts]]\nname = "a"\nrole = "model"\nsize_bytes = 1\n'
        f'sha256 = "{"0" * 64}"\n',
        ["key artifacts.0", "file | locations"],
    ),
    "plain http": (
        MODEL + '[[artifacts]]\nname = "a"\nrole = "model"\nsize_bytes = 1\n'
        f'sha256 = "{"0" * 64}"\nlocations = [{{ url = "http://x/a", size_bytes = 1 }}]\n',
        ["key artifacts.0.locations.0.url", "http://x/a"],
    ),
    "unknown variation of an artifact": (
        MODEL + '[variations.int8]\ngroup = "p"\n[[artifacts]]\nname = "a"\nrole = "model"\n'
        f'file = "a"\nsize_bytes = 1\nsha256 = "{"0" * 64}"\nwhen = ["int9"]\n',
        ["artifact a", "'int9'", "Did you mean 'int8'?"],
    ),
    "two defaults": (
        MODEL
        + '[variations.a]\ngroup = "p"\ndefault = true\n'
        + '[variations.b]\ngroup = "p"\ndefault = true\n',
        ["group p has 2 defaults", "a, b"],
    ),
    "requires both ways": (
        'requires = [{ component = "package/x", any_of = [{ component = "package/y" }] }]\n'
        + MODEL,
        ["key requires.0", "exactly one of: component | kind and tags | any_of"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_component_is_named_with_key_and_cure(tmp_path: Path, case: str) -> None:
    text, expected = BAD[case]
    folder = place(tmp_path, text)
    with pytest.raises(FleetmarkError) as caught:
        read_component(folder)
    assert caught.value.kind is ErrorKind.INVALID_COMPONENT
    assert caught.value.where == str(folder / "component.toml")
    for part in expected:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        ('type = "int"\nhelp = "x"\nmin = 3\nmax = 2', "min 3 is above max 2"),
        ('type = "integer"\nhelp = "x"', "int, float, string, bool"),
        ('type = "int"', "key program.parameters.threads.help"),
    ],
)
def test_a_bad_parameter_is_named(tmp_path: Path, parameter: str, expected: str) -> None:
    folder = place(tmp_path, PROGRAM + f"[program.parameters.threads]\n{parameter}\n", "program")
    (folder / "main.py").write_text("")
    with pytest.raises(FleetmarkError, match=expected):
        read_component(folder)


def test_a_program_without_its_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FleetmarkError, match=r"main\.py is not in the component's folder"):
        read_component(place(tmp_path, PROGRAM, "program"))


def test_a_component_out_of_place_is_refused(tmp_path: Path) -> None:
    place(tmp_path, MODEL, name="other")
    with pytest.raises(
        FleetmarkError, match="declares model/tiny, but is in the folder model/other"
    ):
        load_catalog([tmp_path])


def test_further_catalogs_add_but_do_not_replace(tmp_path: Path) -> None:
    place(tmp_path / "mine", MODEL)
    assert load_catalog([tmp_path / "mine"]).get("model", "tiny").title == "A tiny model"
    shutil.copytree(BUILTIN / "package" / "numpy", tmp_path / "evil" / "package" / "numpy")
    with pytest.raises(FleetmarkError, match="package/numpy is already in"):
        load_catalog([tmp_path / "evil"])


def test_an_unknown_component_gets_the_nearest_name() -> None:
    with pytest.raises(FleetmarkError) as caught:
        load_catalog().get("model", "fashion-mnist-dscn")
    assert caught.value.kind is ErrorKind.NOT_FOUND
    assert "fashion-mnist-dscnn" in caught.value.next_step


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", "is not a valid wheel lockfile"),
        ("{", "is not a valid wheel lockfile"),
        ('{"sets": [], "wheels": {"a": {"name": "a"}}}', "is not a valid wheel lockfile"),
        (
            '{"sets": [], "wheels": {"a": {"name": "a", "version": "1", "sha256": "x",'
            ' "size_bytes": 1}}}',
            "is not a SHA-256 digest",
        ),
    ],
)
def test_a_bad_wheel_lock_is_named(tmp_path: Path, text: str, expected: str) -> None:
    folder = tmp_path / "numpy"
    shutil.copytree(BUILTIN / "package" / "numpy", folder)
    (folder / "wheels.json").write_text(text)
    with pytest.raises(FleetmarkError, match=expected) as caught:
        read_component(folder)
    assert caught.value.where.endswith("wheels.json")
