"""`controller catalog`, against a running controller with one device."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from fleetmark_catalog.load import BUILTIN, KINDS
from tests.support.model_files import Value
from tests.support.processes import Fleet, fleet_in
from tests.support.runnable_models import Op, floats, onnx_model

pytestmark = pytest.mark.e2e
MODELS = BUILTIN / "model" / "fashion-mnist-dscnn"
MODEL = """
kind = "model"
name = "{name}"
version = "1.0"
title = "{name}"
license = "MIT"
[model]
task = "image-classification"
input = {{ shape = [28, 28, 1] }}
output = {{ classes = 10 }}
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_in(tmp_path_factory.mktemp("catalog")) as fleet:
        fleet.start_controller()
        fleet.start_agent("bench-01")
        yield fleet


def catalog(fleet: Fleet, *arguments: str, code: int = 0) -> str:
    """What `controller catalog …` printed; its exit code is as expected."""
    done = fleet.run("catalog", *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 else done.stdout + done.stderr


def files(fleet: Fleet) -> set[str]:
    """Everything that a refused request must not have changed."""
    kept = ("blobs", "catalog", "catalogs", "catalogs.json")
    return {
        str(path.relative_to(fleet.home))
        for name in kept
        for path in [fleet.home / name, *(fleet.home / name).rglob("*")]
        if path.is_file()
    }


def write(folder: Path, name: str, more: str = "") -> Path:
    place = folder / "model" / name
    place.mkdir(parents=True)
    (place / "component.toml").write_text(MODEL.format(name=name) + more)
    return folder


def git(folder: Path, *arguments: str) -> str:
    if shutil.which("git") is None:
        pytest.skip("no git")
    name = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    return subprocess.run(
        ["git", "-C", str(folder), *name, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def repository(folder: Path) -> str:
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=x")
    return git(folder, "rev-parse", "HEAD")


@pytest.mark.parametrize("kind", KINDS)
def test_the_schema_of_each_kind_is_published(fleet: Fleet, kind: str) -> None:
    Draft202012Validator.check_schema(json.loads(catalog(fleet, "schema", kind)))


def test_unknown_words_are_usage(fleet: Fleet) -> None:
    assert "Did you mean 'model'?" in catalog(fleet, "schema", "modle", code=2)
    assert "Did you mean 'model'?" in catalog(fleet, "list", "modle", code=2)
    assert "Did you mean" in catalog(fleet, "show", "nmpy", code=3)


def test_show_and_resolve_are_json(fleet: Fleet) -> None:
    shown = json.loads(catalog(fleet, "show", "package/numpy", "--resolved", "--json"))
    assert shown["resolved"]["body"]["distribution"] == "numpy"
    model = json.loads(catalog(fleet, "show", "model/magika", "--json"))
    assert all(file["locations"] for file in model["files"]) and model["files"]
    answers = json.loads(
        catalog(
            fleet,
            *("resolve", "fashion-mnist", "--device", "bench-01", "--variation", "tflite"),
            *("--explain", "--json"),
        )
    )
    assert [answer["fits"] for answer in answers] == [True]
    lock = json.dumps(
        answers[0]["lockfile"], sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    assert hashlib.sha256(lock.encode()).hexdigest() == answers[0]["lockfile_sha256"]
    assert any("is used" in line for line in answers[0]["explanation"])


def test_what_fits_nothing_says_why(fleet: Fleet, tmp_path: Path) -> None:
    place = tmp_path / "benchmark" / "giant"
    place.mkdir(parents=True)
    (place / "component.toml").write_text(
        'kind = "benchmark"\nname = "giant"\nextends = "fashion-mnist"\ndevice = "memory>=900TiB"\n'
    )
    catalog(fleet, "add", str(tmp_path))
    output = catalog(fleet, "resolve", "giant", "--device", "bench-01", "--explain", code=3)
    assert "needs memory>=900TiB: memory>=900TiB: memory is" in output
    assert "Did you mean 'bench-01'" in catalog(
        fleet, "resolve", "giant", "--device", "bench-02", code=3
    )


def test_validate_needs_no_controller_and_names_every_fault(fleet: Fleet, tmp_path: Path) -> None:
    write(tmp_path, "good")
    write(tmp_path, "bad-one", "colour = 1\n")
    write(tmp_path, "bad-two").joinpath("model", "bad-two", "component.toml").write_text("x = = 1")
    done = subprocess.run(
        [str(Path(fleet.children["controller"].args[0])), "catalog", "validate", str(tmp_path)],  # type: ignore[index,arg-type]
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "FLEETMARK_CONTROLLER": "127.0.0.1:1"},
    )
    assert done.returncode == 4
    assert "colour" in done.stderr
    assert "is not TOML" in done.stderr
    assert "2 faults" in done.stderr
    reported = json.loads(fleet.run("catalog", "validate", str(tmp_path), "--json").stdout)
    assert reported["valid"] is False
    assert reported["components"] == ["model/good"]


def test_a_bad_catalog_is_not_added(fleet: Fleet, tmp_path: Path) -> None:
    before = files(fleet)
    write(tmp_path / "a", "bad", "requires = 1\n")
    assert "model.requires" in catalog(fleet, "add", str(tmp_path / "a"), code=4)
    reference = 'requires = [{ component = "package/nmpy" }]\n'
    write(tmp_path / "b", "m").joinpath("model", "m", "component.toml").write_text(
        reference + MODEL.format(name="m")
    )
    assert "no component package/nmpy" in catalog(fleet, "add", str(tmp_path / "b"), code=4)
    write(tmp_path / "c", "fashion-mnist-dscnn")
    assert "is already in" in catalog(fleet, "add", str(tmp_path / "c"), code=4)
    (tmp_path / "d").mkdir()
    assert "holds no component" in catalog(fleet, "add", str(tmp_path / "d"), code=4)
    catalog(fleet, "add", str(tmp_path / "e"), code=4)
    assert files(fleet) == before


def test_a_repository_is_added_at_a_commit_only(fleet: Fleet, tmp_path: Path) -> None:
    before = files(fleet)
    commit = repository(write(tmp_path, "from-git"))
    for bad in ("main", "HEAD", commit[:12], "-x"):
        catalog(fleet, "add", str(tmp_path), f"--commit={bad}", code=2)
    catalog(fleet, "add", "https://localhost:1/x.git", code=2)
    catalog(fleet, "add", str(tmp_path), "--commit", "0" * 40, code=4)
    catalog(fleet, "add", "ext::sh -c id", "--commit", "0" * 40, code=2)
    assert files(fleet) == before
    assert catalog(fleet, "add", str(tmp_path), "--commit", commit).split() == ["model/from-git"]
    assert "already registered" in catalog(fleet, "add", str(tmp_path), "--commit", commit, code=4)
    # What the repository becomes later does not matter.
    shutil.rmtree(tmp_path / ".git")
    assert "from-git" in catalog(fleet, "list", "model")


def test_a_repository_with_a_link_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    write(tmp_path, "linked").joinpath("model", "linked", "data").symlink_to("/etc/passwd")
    commit = repository(tmp_path)
    before = files(fleet)
    output = catalog(fleet, "add", str(tmp_path), "--commit", commit, code=4)
    assert "symbolic link" in output
    assert files(fleet) == before


def test_an_imported_model_can_be_scheduled_after_a_restart(fleet: Fleet, tmp_path: Path) -> None:
    mine = str(tmp_path / "Mine.onnx")
    shutil.copyfile(MODELS / "dscnn_int8.onnx", mine)
    lines = catalog(fleet, "import", mine).splitlines()
    assert lines[:2] == ["model/mine", "benchmark/mine"]
    (row,) = (line for line in lines if line.split()[:1] == ["input"])
    assert "image   float32   [batch, 28, 28, 1]   random 0 to 1" in row
    assert "precision: int8" in lines
    again = json.loads(catalog(fleet, "import", mine, "--json"))
    assert (again["added"], again["version"]) == ([], "1.0")
    output = catalog(fleet, "import", mine, "--precision", "mixed", code=4)
    assert "Give --replace" in output
    replaced = json.loads(
        catalog(fleet, "import", mine, "--precision", "mixed", "--replace", "--json")
    )
    assert replaced["added"] == ["model/mine", "benchmark/mine"]
    assert (replaced["version"], replaced["precision"]) == ("1.1", "mixed")
    fleet.kill("controller", signal.SIGTERM)
    fleet.start_controller()
    done = fleet.run("schedule", "mine", "--fleet", "linux", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "mine" in done.stdout


def test_an_import_asks_for_what_the_file_does_not_say(fleet: Fleet, tmp_path: Path) -> None:
    model = onnx_model(
        [
            Op("Cast", ["ids"], "i", {"to": 1}),
            Op("Cast", ["attention_mask"], "m", {"to": 1}),
            Op("Mul", ["i", "m"], "p"),
            Op("ReduceMean", ["p"], "r", {"axes": [1], "keepdims": 1}),
            Op("MatMul", ["r", "w"], "y"),
        ],
        [
            Value("ids", "int64", ["batch", "seq"]),
            Value("attention_mask", "int64", ["batch", "seq"]),
        ],
        [Value("y", "float32", ["batch", 10])],
        {"w": floats(1, 10)},
    )
    file = tmp_path / "Asks.onnx"
    file.write_bytes(model)
    before = files(fleet)
    output = catalog(fleet, "import", str(file), code=2)
    for name in ("ids", "attention_mask"):
        line = f"input {name}: [batch, seq] has open dimensions; give --shape {name}=1x128"
        assert line in output
    output = catalog(fleet, "import", str(file), "--shape", "ids=1x16", code=2)
    assert "Give --input ids=randint:0:999" in output
    # Nothing was uploaded.
    assert files(fleet) == before
    wanted = ("--shape", "ids=1x16", "--input", "ids=randint:0:99")
    reply = json.loads(catalog(fleet, "import", str(file), *wanted, "--json"))
    assert reply["inputs"] == [
        {
            "name": "ids",
            "dtype": "int64",
            "shape": [1, 16],
            "batch_axis": 0,
            "values": "random 0 to 99",
            "reason": None,
        },
        {
            "name": "attention_mask",
            "dtype": "int64",
            "shape": [1, 16],
            "batch_axis": 0,
            "values": "ones",
            "reason": "it is a mask by its name",
        },
    ]
    assert [output["shape"] for output in reply["outputs"]] == [[1, 10]]
    assert catalog(fleet, "remove", "asks").split() == ["benchmark/asks", "model/asks"]
    assert "no imported model" in catalog(fleet, "remove", "asks", code=3)
    assert "asks" not in catalog(fleet, "list", "model")


def test_what_is_no_model_is_not_imported(fleet: Fleet, tmp_path: Path) -> None:
    before = files(fleet)
    (tmp_path / "p.onnx").write_bytes(pickle.dumps([1]))
    assert "is a pickle" in catalog(fleet, "import", str(tmp_path / "p.onnx"), code=4)
    (tmp_path / "p.pt").write_bytes(b"PK")
    catalog(fleet, "import", str(tmp_path / "p.pt"), code=2)
    shutil.copyfile(MODELS / "dscnn_int8.onnx", tmp_path / "ok.onnx")
    catalog(fleet, "import", str(tmp_path / "ok.onnx"), "--name", "../up", code=2)
    new = files(fleet) - before
    # The bytes of a good model may stay as a blob; a component may not.
    assert all(path.startswith("blobs/") for path in new)


def test_walled_data_is_provided_by_its_digest(fleet: Fleet, tmp_path: Path) -> None:
    data = b"behind a wall" * 1000
    digest = hashlib.sha256(data).hexdigest()
    text = (
        f'\n[[artifacts]]\nname = "wall.bin"\nrole = "data"\nsha256 = "{digest}"\n'
        f"size_bytes = {len(data)}\n[[artifacts.locations]]\n"
        f'provided = "sign at example.org"\nsize_bytes = {len(data)}\n'
    )
    catalog(fleet, "add", str(write(tmp_path / "catalog", "walled", text)))
    assert "sign at example.org" in catalog(fleet, "fetch", "model/walled", code=4)
    before = files(fleet)
    given = tmp_path / "given"
    given.mkdir()
    catalog(fleet, "provide", "model/walled", str(given), code=3)
    (given / "wall.bin").write_bytes(data[:-1] + b"!")
    assert "is not the expected wall.bin" in catalog(
        fleet, "provide", "model/walled", str(given), code=4
    )
    assert files(fleet) == before
    (given / "wall.bin").unlink()
    (given / "renamed").write_bytes(data)
    assert "is complete" in catalog(fleet, "provide", "model/walled", str(given))
    fetched = json.loads(catalog(fleet, "fetch", "model/walled", "--json"))
    assert (fetched["files"], fetched["new_files"]) == (1, 0)


def test_fetch_gets_what_a_component_has(fleet: Fleet) -> None:
    reported = json.loads(catalog(fleet, "fetch", "dataset/fashion-mnist-1000", "--json"))
    assert (reported["files"], reported["size_bytes"]) == (1, 440728)
    assert (
        json.loads(catalog(fleet, "fetch", "dataset/fashion-mnist-1000", "--json"))["new_files"]
        == 0
    )
    assert "no file to fetch" in catalog(fleet, "fetch", "soft/gcc", code=3)
