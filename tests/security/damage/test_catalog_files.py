"""Damaged files that operators pass in: catalogs, models, device files, releases, keys, results.

Each is handed to a real command. Of each: the command ends by itself, with a code that is no crash,
in one line that names the file and what is wrong with it, and its memory stays small; and the
controller, where one is asked, serves on.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.model_files import (
    onnx_with_names,
    onnx_with_nodes,
    sparse,
    tflite,
    tflite_of_many_graphs,
    tflite_of_many_tensors,
)
from tests.support.processes import BIN, Fleet, environment, fleet_in

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.xdist_group("catalog-files")]
PATIENCE_S = 120.0
PEAK_BYTES = 256 << 20
LARGE_BYTES = 600 << 20

# A program of its own, since a child begins with the peak of the process that it came from.
_MEASURE = """
import json, resource, subprocess, sys
limit, patience, *words = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_AS, (int(limit), int(limit)))
try:
    done = subprocess.run(words, capture_output=True, text=True, timeout=float(patience),
                          stdin=subprocess.DEVNULL)
    said = [done.returncode, done.stdout, done.stderr]
except subprocess.TimeoutExpired:
    said = [None, "", "did not end"]
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10
print(json.dumps([*said, peak]))
"""


@dataclass(frozen=True)
class End:
    """How a command ended; `code` is None if it had to be killed."""

    code: int | None
    out: str
    output: str
    peak_bytes: int


def command(*words: str, env: dict[str, str] | None = None, program: str = "controller") -> End:
    """Run one command, and measure the most memory that it had."""
    measured = subprocess.run(
        [
            *(sys.executable, "-c", _MEASURE, str(8 << 30), str(PATIENCE_S)),
            *(str(BIN / program), *words),
        ],
        env=env or environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return End(*json.loads(measured.stdout))


Make = Callable[[Path], object]
"""Makes the file at a path."""


def written(data: bytes | str) -> Make:
    return lambda path: path.write_bytes(data.encode() if isinstance(data, str) else data)


def linked(place: str) -> Make:
    return lambda path: path.symlink_to(place)


def large(path: Path) -> None:
    """Make a sparse file of 600 MB."""
    sparse(path, LARGE_BYTES)


SPECIAL: dict[str, tuple[Make, str]] = {
    "a FIFO": (os.mkfifo, "FIFO, not a regular file"),
    "a link to /dev/zero": (linked("/dev/zero"), "device node, not a regular file"),
    "600 MB": (large, "larger than"),
}
"""What no reader may wait for or read whole."""
FOLDER: dict[str, tuple[Make, str]] = {"a folder": (Path.mkdir, "directory")}

HEAD = """kind = "model"
name = "m"
version = "1.0"
title = "T"
license = "MIT"
"""
BODY = """
[model]
task = "speed"
precision = "fp32"
format = "onnx"
input = { shape = [1] }
output = { shape = [1] }
"""


def toml(more: str) -> Make:
    return written(f"{HEAD}{more}\n{BODY}")


COMPONENTS: dict[str, tuple[Make, str]] = {
    **SPECIAL,
    **FOLDER,
    "an integer of 5,000 digits": (toml(f"a = {'9' * 5000}"), "line 6: an integer does not fit"),
    "an integer of hexadecimal digits": (toml(f"a = 0x{'f' * 5000}"), "key a: an integer does not"),
    "an integer of 64 bits without a sign": (toml("a = 18446744073709551615"), "key a: an integer"),
    "nested 5,000 deep": (toml(f"a = {'[' * 5000}"), "nested deeper than 64"),
    "nested 100 deep": (toml(f"a = {'[' * 100}{']' * 100}"), "nested deeper than 64"),
    "nested by a key": (toml(f"{'.'.join('a' * 100)} = 1"), "nested deeper than 64"),
    "a key of 100,000 parts": (toml(f"{'.'.join('a' * 100_000)} = 1"), "more than 250 dots"),
    "a table of 100,000 parts": (toml(f"[{'.'.join('a' * 100_000)}]"), "more than 64 dots"),
    "60,000 tables for tags": (
        toml(f"tags = [{', '.join(f'{{a={n}}}' for n in range(60_000))}]"),
        "key tags",
    ),
    "tags twice": (toml('tags = ["a", "a"]'), "key tags"),
    "a key of a megabyte": (toml(f"{'a' * 1_000_000} = 1"), "unknown key"),
    "a kind of a megabyte": (written(f'kind = "{"a" * 1_000_000}"'), "key kind: found 'aaa"),
    "a date": (toml("[variations.x]\nset = { a = 2020-01-01 }"), "key variations.x.set.a: a date"),
    "NaN": (toml("a = nan"), "key a: nan is not a finite number"),
    "bytes": (written(bytes(range(256))), "is not TOML"),
    "nothing": (written(b""), "key kind"),
}
"""What stands in the place of `component.toml`."""


def wheels(size: str) -> Make:
    entry = '{"name": "n", "version": "1", "sha256": "%s", "size_bytes": %s}'
    return written(f'{{"wheels": {{"n.whl": {entry % ("0" * 64, size)}}}, "sets": []}}')


WHEELS: dict[str, tuple[Make, str]] = {
    **SPECIAL,
    **FOLDER,
    "an integer of 5,000 digits": (wheels("9" * 5000), "64 bits"),
    "an infinity": (wheels("Infinity"), "Infinity is not a JSON number"),
    "an infinity in digits": (wheels("1e999"), "not a finite number"),
    "nested 100,000 deep": (written("[" * 100_000), "nested deeper than 64"),
    "millions of values": (written("[" + "[]," * 4_000_000 + "0]"), "more than 2,000,000 values"),
}
"""What stands in the place of `wheels.json`."""


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(1 << 20):
            digest.update(data)
    return digest.hexdigest()


def model_catalog(folder: Path, make: Make, name: str, digest: str = "") -> Path:
    """Write a catalog of one model whose file lies beside it; return the place of the file."""
    place = folder / "model" / "m"
    place.mkdir(parents=True)
    make(place / name)
    regular = (place / name).is_file()
    digest = digest or (sha256(place / name) if regular else "0" * 64)
    size = (place / name).stat().st_size if regular else 4
    (place / "component.toml").write_text(
        f'{HEAD}{BODY}\n[[artifacts]]\nname = "{name}"\nrole = "model"\nsha256 = "{digest}"\n'
        f'size_bytes = {size}\nfile = "{name}"\n'
    )
    return place / name


MODELS: dict[str, tuple[str, Make, str]] = {
    "TFLite of 600 MB": ("m.tflite", large, "does not have the mark TFL3"),
    "TFLite of 150 million graphs": (
        "m.tflite",
        lambda path: tflite_of_many_graphs(path, LARGE_BYTES),
        "a graph without inputs or outputs",
    ),
    "TFLite that points outside": (
        "m.tflite",
        written(b"\xff\xff\xff\x7fTFL3" + bytes(99)),
        "truncated",
    ),
    "TFLite that points back": ("m.tflite", written(tflite(back=True)), "truncated or damaged"),
    "TFLite cut": ("m.tflite", written(tflite()[:-40]), "truncated or damaged"),
    "ONNX of 600 MB": ("m.onnx", large, "not a protobuf message at byte 0"),
    "ONNX of endless names": (
        "m.onnx",
        lambda path: onnx_with_names(path, 10_000, 4000),
        "too many names",
    ),
    "ONNX of endless nodes": (
        "m.onnx",
        lambda path: onnx_with_nodes(path, 1_000_000),
        "too many names",
    ),
    "TFLite of too many tensors": (
        "m.tflite",
        lambda path: tflite_of_many_tensors(path, 100_001),
        "truncated or damaged",
    ),
    "ONNX nested": ("m.onnx", written(b"\x3a\x7f" * 5000), "is not a model in ONNX format"),
    "ONNX cut": ("m.onnx", written(b"\x08\x08\x3a\xff\xff\xff\x7f"), "truncated"),
}
"""Files of models; each has the digest that its component gives."""
MODEL_PLACES: dict[str, tuple[Make, str]] = {
    "a FIFO": (os.mkfifo, "not a regular file"),
    "a link to /dev/zero": (linked("/dev/zero"), "not a regular file"),
    "a folder": (Path.mkdir, "directory"),
}


def check_one_line(end: End, code: int, *says: str) -> None:
    """Check for one line about the error, no traceback, and little memory."""
    assert end.code == code, end
    lines = [line for line in end.output.splitlines() if not line.endswith((" fault", " faults"))]
    assert len(lines) == 1, end.output[-3000:]
    assert "Traceback" not in end.output
    assert len(lines[0]) < 1000, lines[0]
    assert all(output in lines[0] for output in says), lines[0]
    assert end.peak_bytes < PEAK_BYTES, f"{end.peak_bytes >> 20} MiB"


@pytest.mark.parametrize("what", COMPONENTS)
def test_a_bad_component_is_named(tmp_path: Path, what: str) -> None:
    make, says = COMPONENTS[what]
    place = tmp_path / "model" / "m"
    place.mkdir(parents=True)
    make(place / "component.toml")
    end = command("catalog", "validate", str(tmp_path))
    check_one_line(end, 4, str(place / "component.toml"), says)


@pytest.mark.parametrize("what", WHEELS)
def test_a_bad_wheel_lock_is_named(tmp_path: Path, what: str) -> None:
    make, says = WHEELS[what]
    place = tmp_path / "package" / "p"
    place.mkdir(parents=True)
    (place / "component.toml").write_text(
        f"{HEAD.replace('model', 'package').replace(chr(34) + 'm', chr(34) + 'p')}[package]\n"
        'distribution = "p"\nmodule = "p"\n'
    )
    make(place / "wheels.json")
    end = command("catalog", "validate", str(tmp_path))
    check_one_line(end, 4, str(place / "wheels.json"), says)


@pytest.mark.parametrize("what", MODELS)
def test_a_bad_model_in_a_catalog_is_named(tmp_path: Path, what: str) -> None:
    name, make, says = MODELS[what]
    file = model_catalog(tmp_path, make, name)
    check_one_line(command("catalog", "validate", str(tmp_path)), 4, str(file), says)


@pytest.mark.parametrize("what", MODEL_PLACES)
def test_a_model_that_is_no_regular_file_is_named(tmp_path: Path, what: str) -> None:
    make, says = MODEL_PLACES[what]
    file = model_catalog(tmp_path, make, "m.onnx")
    check_one_line(command("catalog", "validate", str(tmp_path)), 4, str(file), says)


def test_a_model_of_another_size_is_not_read(tmp_path: Path) -> None:
    """A terabyte that the disk does not hold."""
    file = model_catalog(tmp_path, written(b"x" * 100), "m.onnx")
    os.truncate(file, 1 << 40)
    check_one_line(
        command("catalog", "validate", str(tmp_path)), 4, str(file), f"size is {1 << 40} bytes"
    )


DEEP = "[" * 100_000
DIGITS = "9" * 5000
DOCUMENTS: dict[str, tuple[Make, str]] = {
    **SPECIAL,
    "nested 100,000 deep": (written(f'{{"format": 1, "rotations": {DEEP}'), "nested deeper than"),
    "an integer of 5,000 digits": (written(f'{{"format": {DIGITS}}}'), "64 bits"),
}


@pytest.mark.parametrize("what", DOCUMENTS)
def test_a_bad_key_is_named(tmp_path: Path, what: str) -> None:
    make, says = DOCUMENTS[what]
    file = tmp_path / "key.json"
    make(file)
    check_one_line(command("catalog", "key", "show", "--key", str(file)), 2, str(file), says)


@pytest.mark.parametrize("what", SPECIAL)
def test_a_bad_pack_is_named(tmp_path: Path, what: str) -> None:
    make, says = SPECIAL[what]
    file = tmp_path / "pack.zip"
    make(file)
    end = command("pack", "verify", str(file), str(tmp_path / "out"))
    check_one_line(end, 4, str(file), "" if what == "600 MB" else says)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("what", DOCUMENTS)
def test_bad_credentials_are_named(tmp_path: Path, what: str) -> None:
    make, says = DOCUMENTS[what]
    file = tmp_path / "admin.json"
    make(file)
    if file.is_file():
        file.chmod(0o600)  # else a second line warns that others may read it
    end = command("fleet", "list", "--credentials", str(file))
    check_one_line(end, 2, str(file), says if what in SPECIAL else "not a valid credentials file")


@pytest.mark.parametrize("what", SPECIAL)
@pytest.mark.parametrize("kind", ["a bundle", "a token"])
def test_a_file_for_an_agent_is_named(tmp_path: Path, kind: str, what: str) -> None:
    make, says = SPECIAL[what]
    file = tmp_path / "file"
    make(file)
    words = {
        "a bundle": ("run-bundle", str(file), "--out", str(tmp_path / "out")),
        "a token": ("start", "--token-file", str(file), "--controller", "127.0.0.1:1"),
    }[kind]
    end = command(*words, "--home", str(tmp_path / "home"), program="agent")
    assert end.code in (2, 4), end
    unmatched_lines = kind == "a bundle" and what == "600 MB"
    check_one_line(end, end.code, str(file), "not a zip file" if unmatched_lines else says)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Start a controller for all the following requests."""
    with fleet_in(tmp_path_factory.mktemp("fleet")) as fleet:
        fleet.start_controller()
        yield fleet


@pytest.fixture
def served(fleet: Fleet) -> Iterator[Fleet]:
    """Yield the controller; afterwards it must serve, with little memory and no internal error."""
    yield fleet
    assert fleet.run("catalog", "list").returncode == 0
    assert "Traceback" not in fleet.log("controller")
    status = Path(f"/proc/{fleet.children['controller'].pid}/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    assert int(peak.split()[1]) << 10 < 2 * PEAK_BYTES, peak


def asked(fleet: Fleet, *words: str) -> End:
    return command(*words, env=fleet.environment())


@pytest.mark.parametrize(
    "what", ["a FIFO", "a link to /dev/zero", "600 MB", "an integer of 5,000 digits"]
)
def test_a_bad_catalog_is_not_added(tmp_path: Path, served: Fleet, what: str) -> None:
    make, says = COMPONENTS[what]
    place = tmp_path / "model" / "m"
    place.mkdir(parents=True)
    make(place / "component.toml")
    end = asked(served, "catalog", "add", str(tmp_path))
    check_one_line(end, 4, str(place / "component.toml"), says)


@pytest.mark.parametrize("what", MODELS)
def test_a_bad_model_is_not_imported(tmp_path: Path, served: Fleet, what: str) -> None:
    name, make, says = MODELS[what]
    make(tmp_path / name)
    check_one_line(asked(served, "catalog", "import", str(tmp_path / name)), 4, name, says)


def test_a_model_of_many_tensors_needs_little_memory(tmp_path: Path, served: Fleet) -> None:
    tflite_of_many_tensors(tmp_path / "many.tflite", 100_000)
    # The runtime refuses the file: only the import's own reader is measured.
    end = asked(served, "catalog", "import", str(tmp_path / "many.tflite"), "--no-trial")
    assert end.code == 0, end
    assert end.peak_bytes < PEAK_BYTES, f"{end.peak_bytes >> 20} MiB"
    assert asked(served, "catalog", "remove", "many").code == 0


@pytest.mark.parametrize("what", ["a FIFO", "a link to /dev/zero"])
def test_an_import_of_no_regular_file_is_named(tmp_path: Path, served: Fleet, what: str) -> None:
    make, says = SPECIAL[what]
    make(tmp_path / "m.onnx")
    end = asked(served, "catalog", "import", str(tmp_path / "m.onnx"))
    check_one_line(end, 2, str(tmp_path / "m.onnx"), says)


COMMANDS: dict[str, tuple[str, ...]] = {
    "a device file": ("fleet", "add"),
    "a release": ("catalog", "release", "install"),
    "results": ("results", "import"),
    "a log of power": ("results", "import-power", "0198"),
}


@pytest.mark.parametrize("what", SPECIAL)
@pytest.mark.parametrize("kind", COMMANDS)
def test_a_file_for_the_controller_is_named(
    tmp_path: Path, served: Fleet, kind: str, what: str
) -> None:
    make, says = SPECIAL[what]
    file = tmp_path / "file"
    make(file)
    end = asked(served, *COMMANDS[kind], str(file))
    assert end.code in (2, 4), end
    check_one_line(end, end.code, str(file), "" if what == "600 MB" else says)


@pytest.mark.parametrize("kind", ["a device file", "a release"])
@pytest.mark.parametrize("data", [DEEP, f'{{"format": {DIGITS}}}'], ids=["nested", "digits"])
def test_a_document_for_the_controller_is_named(
    tmp_path: Path, served: Fleet, kind: str, data: str
) -> None:
    file = tmp_path / "file"
    file.write_text(data)
    end = asked(served, *COMMANDS[kind], str(file))
    check_one_line(end, 4, "nested deeper" if data == DEEP else "64 bits")


def test_a_model_that_changes_after_it_was_added_is_named(tmp_path: Path, fleet: Fleet) -> None:
    """By what a campaign does first: it takes the files of its components."""
    file = model_catalog(tmp_path, written(tflite()), "m.tflite")
    assert fleet.run("catalog", "add", str(tmp_path)).returncode == 0
    assert fleet.run("catalog", "fetch", "model/m").returncode == 0
    for make, says in (*MODEL_PLACES.values(), (large, "sha256 is")):
        file.rmdir() if file.is_dir() else file.unlink()
        make(file)
        end = asked(fleet, "catalog", "fetch", "model/m")
        check_one_line(end, 4, str(file), says)


def test_a_controller_serves_without_a_catalog_that_changed(tmp_path: Path) -> None:
    """It says so in its log; the list of catalogs itself must be readable."""
    with fleet_in(tmp_path / "fleet") as fleet:
        fleet.start_controller()
        place = model_catalog(tmp_path / "catalog", written(tflite()), "m.tflite").parent
        assert fleet.run("catalog", "add", str(tmp_path / "catalog")).returncode == 0
        assert fleet.run("catalog", "show", "model/m").returncode == 0
        (place / "component.toml").unlink()
        os.mkfifo(place / "component.toml")
        end = asked(fleet, "catalog", "show", "model/m")
        check_one_line(end, 4, "component.toml", "not a regular file")
        fleet.children["controller"].terminate()
        fleet.children["controller"].wait(30)
        fleet.start_controller()
        assert fleet.run("catalog", "show", "model/m").returncode == 3
        assert "catalog not loaded" in fleet.log("controller")
        assert "Traceback" not in fleet.log("controller")
        fleet.children["controller"].terminate()
        fleet.children["controller"].wait(30)
        (fleet.home / "catalogs.json").unlink()
        os.mkfifo(fleet.home / "catalogs.json")
        end = command("serve", "--home", str(fleet.home), "--listen", fleet.address)
        assert end.code in (2, 4), end
        assert "catalogs.json" in end.output.splitlines()[-1]
        assert "Traceback" not in end.output
