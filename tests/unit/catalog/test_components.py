"""What components can say: extends, variations, tags, alternatives, conditions, software."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from fleetmark_catalog.load import Catalog, check_catalog, load_catalog
from fleetmark_catalog.resolve import Resolution, expand, resolve
from fleetmark_core.capabilities import Capabilities, Software
from fleetmark_core.errors import ErrorKind, FleetmarkError
from tests.support.sample_devices import HARNESS, interpreter, sample_device

HEAD = 'version = "1"\ntitle = "T"\nlicense = "MIT"\n'
MODEL = (
    '[model]\ntask = "image-classification"\ninput = { shape = [4] }\noutput = { classes = 2 }\n'
)
PROFILE = """
[benchmark]
task = "image-classification"
modes = ["performance"]
scenarios = { Offline = { metric = "throughput_samples_per_s" } }
quality = { metric = "top-1", reference = 0.9, target = 0.9 }
[benchmark.profiles.quick]
submittable = false
timeout_s = 60
warmup_ms = 1
calibration_ms = 1
Offline = { min_duration_ms = 100 }
"""
PROGRAM = """
[program]
contract = 1
command = ["{python}", "{program}/main.py"]
files = ["main.py"]
inputs = ["model"]
outputs = [{ name = "result.json", role = "result" }]
[program.parameters.threads]
type = "int"
min = 1
max = 64
default = 1
help = "threads"
"""


def artifact(name: str, number: int, more: str = "", role: str = "model") -> str:
    return (
        f'[[artifacts]]\nname = "{name}"\nrole = "{role}"\nsha256 = "{number:064x}"\n'
        f'size_bytes = 5\nlocations = [{{ url = "https://localhost/{name}", size_bytes = 5 }}]\n'
        f"{more}\n"
    )


def write(folder: Path, kind: str, name: str, text: str, head: str = HEAD) -> Path:
    place = folder / kind / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "component.toml").write_text(f'kind = "{kind}"\nname = "{name}"\n{head}{text}')
    return place


def world(
    folder: Path, model: str, program: str = "", benchmark: str = "", dataset: str = ""
) -> Catalog:
    """A benchmark `b` of model, program and data set of the same name, below `folder`."""
    requires = [f'{{ role = "{kind}", component = "{kind}/b" }}' for kind in ("program", "model")]
    if dataset:
        write(folder, "dataset", "b", dataset)
        requires.append('{ role = "dataset", component = "dataset/b" }')
    listed = benchmark or f"requires = [{', '.join(requires)}]\n"
    write(folder, "benchmark", "b", listed + PROFILE)
    write(folder, "model", "b", model)
    place = write(folder, "program", "b", program + PROGRAM)
    (place / "main.py").write_text("")
    return load_catalog([folder])


def run(catalog: Catalog, *words: str, device: Capabilities | None = None) -> Resolution:
    configuration = expand(catalog, "b", variations=words)[0]
    return resolve(catalog, configuration, device or sample_device(), HARNESS)


def model_of(resolution: Resolution) -> str:
    assert resolution.lock is not None, resolution.reasons
    return resolution.lock.inputs["model"].name


# extends


def test_a_component_takes_over_what_it_does_not_say(tmp_path: Path) -> None:
    write(tmp_path, "model", "base", 'tags = ["a"]\n' + MODEL + artifact("base.onnx", 1))
    write(
        tmp_path,
        "model",
        "child",
        'extends = "base"\ntitle = "Child"\ntags = ["b"]\n[model]\nprecision = "int8"\n'
        + artifact("child.onnx", 2),
        head="",
    )
    catalog = load_catalog([tmp_path])
    child, base = catalog.get("model", "child"), catalog.get("model", "base")
    assert (child.title, child.license, child.version) == ("Child", "MIT", "1")
    assert child.tags == ("a", "b")
    assert child.body == {**base.body, "precision": "int8"}
    assert [one.name for one in child.artifacts] == ["base.onnx", "child.onnx"]
    assert child.parents == ("model/base",)
    before = child.sha256
    write(tmp_path, "model", "base", 'tags = ["c"]\n' + MODEL)
    assert load_catalog([tmp_path]).get("model", "child").sha256 != before


def test_a_benchmark_takes_over_modes_and_quality_of_what_it_extends(tmp_path: Path) -> None:
    for name, more in (("renamed", ""), ("accurate", 'modes = ["accuracy"]\n')):
        text = f'extends = "fashion-mnist"\n[benchmark]\nmodel = "{name}"\n{more}'
        write(tmp_path, "benchmark", name, text, head="")
    catalog = load_catalog([tmp_path])
    base = catalog.get("benchmark", "fashion-mnist").body
    assert catalog.get("benchmark", "renamed").body == {**base, "model": "renamed"}
    accurate = catalog.get("benchmark", "accurate").body
    assert (accurate["modes"], accurate["quality"]) == (["accuracy"], base["quality"])
    text = 'extends = "network-speed"\n[benchmark]\nmodes = ["accuracy"]\n'
    write(tmp_path, "benchmark", "without-quality", text, head="")
    with pytest.raises(FleetmarkError, match=r"benchmark\.quality: the key is required"):
        load_catalog([tmp_path])


def test_a_program_uses_files_of_what_it_extends(tmp_path: Path) -> None:
    place = write(tmp_path, "program", "base", PROGRAM)
    (place / "main.py").write_text("pass")
    write(
        tmp_path,
        "program",
        "child",
        'extends = "base"\n[program.parameters.threads]\nmax = 8\n',
        "",
    )
    child = load_catalog([tmp_path]).get("program", "child")
    assert child.path("main.py") == place / "main.py"
    assert child.body["parameters"]["threads"]["max"] == 8
    assert child.body["parameters"]["threads"]["help"] == "threads"


EXTENDS = {
    "circle": ({"a": "b", "b": "c", "c": "a"}, "cycle: a → b → c → a"),
    "itself": ({"a": "a"}, "cycle: a → a"),
    "unknown": ({"a": "fashion-mnist-dscn"}, "Did you mean 'fashion-mnist-dscnn'?"),
}


@pytest.mark.parametrize("case", EXTENDS)
def test_bad_parents_are_refused(tmp_path: Path, case: str) -> None:
    parents, expected = EXTENDS[case]
    for name, parent in parents.items():
        write(tmp_path, "model", name, f'extends = "{parent}"\n' + MODEL)
    with pytest.raises(FleetmarkError) as caught:
        load_catalog([tmp_path])
    assert caught.value.kind is ErrorKind.INVALID_COMPONENT
    assert expected in str(caught.value)


def test_what_is_still_missing_after_all_is_named(tmp_path: Path) -> None:
    write(tmp_path, "soft", "base", "detect = 1\n", HEAD)
    with pytest.raises(FleetmarkError, match="key detect: unknown key"):
        load_catalog([tmp_path])


# variations


def test_a_counted_variation_sets_a_default(tmp_path: Path) -> None:
    counted = """
[variations."threads.#"]
value = { type = "int", min = 1, max = 16 }
set = { parameters = { threads = { default = "#" } } }
"""
    catalog = world(tmp_path, MODEL + artifact("m.onnx", 1), program=counted)
    lock = run(catalog, "threads.4").lock
    assert lock is not None
    assert lock.job["defaults"] == {"threads": 4}
    program = lock.component("program")
    assert program is not None
    assert program.variations == ("threads.4",)
    plain = run(catalog).lock
    assert plain is not None
    assert plain.job["defaults"] == {"threads": 1}
    for words, expected in (
        (("threads.17",), "Allowed: int from 1 to 16"),
        (("threads.many",), "Allowed: int from 1 to 16"),
        (("thread.2",), "Did you mean 'threads.#'?"),
        (("threads.#",), "has no variation 'threads.#'"),
    ):
        with pytest.raises(FleetmarkError) as caught:
            run(catalog, *words)
        assert caught.value.kind is ErrorKind.UNKNOWN_WORD
        assert expected in str(caught.value)


TWO = """
[variations.cpu]
group = "where"
default = true
[variations.gpu]
group = "where"
when = "cuda"
[variations.fp16]
group = "precision"
excludes = ["cpu"]
[variations.fp32]
group = "precision"
default = true
"""


def test_combinations_can_be_excluded(tmp_path: Path) -> None:
    catalog = world(tmp_path, MODEL + TWO + artifact("m.onnx", 1))
    with pytest.raises(FleetmarkError, match="fp16 and cpu exclude each other in model/b"):
        run(catalog, "fp16", "cpu")
    # A default gives way to what was asked for.
    assert "cpu" not in expand(catalog, "b", variations=["fp16"])[0].variations
    assert expand(catalog, "b")[0].variations == ("cpu", "fp32")


def test_a_variation_may_ask_for_a_device(tmp_path: Path) -> None:
    catalog = world(tmp_path, MODEL + TWO + artifact("m.onnx", 1))
    refused = run(catalog, "gpu")
    assert refused.reasons == ("variation gpu of model/b needs cuda: no tag cuda",)
    facts = sample_device()
    able = dataclasses.replace(facts, tags=(*facts.tags, "cuda"))
    assert run(catalog, "gpu", device=able).lock is not None


SIZES = """
[variations.small]
group = "size"
default = true
tags = ["px-160"]
[variations.large]
group = "size"
tags = ["px-224"]
"""
DATASET = '[dataset]\nlayout = "npz"\nsamples = 4\n'


def test_a_models_tag_selects_the_datasets_artifact(tmp_path: Path) -> None:
    data = "".join(
        artifact(f"d{px}.npz", px, f'tags = ["px-{px}"]', "dataset") for px in (160, 224)
    )
    catalog = world(tmp_path, MODEL + SIZES + artifact("m.onnx", 1), dataset=DATASET + data)
    for words, expected in (((), "d160.npz"), (("large",), "d224.npz")):
        lock = run(catalog, *words).lock
        assert lock is not None
        assert lock.inputs["dataset"].name == expected


def test_a_models_tag_chooses_a_variation_of_the_data_set(tmp_path: Path) -> None:
    data = DATASET
    for px in (160, 224):
        data += f'[variations.px-{px}]\ngroup = "pixels"\ndefault = {str(px == 160).lower()}\n'
    data += "".join(
        artifact(f"d{px}.npz", px, f'when = ["px-{px}"]', "dataset") for px in (160, 224)
    )
    catalog = world(tmp_path, MODEL + SIZES + artifact("m.onnx", 1), dataset=data)
    lock = run(catalog, "large").lock
    assert lock is not None
    assert lock.inputs["dataset"].name == "d224.npz"
    assert "px-224" in expand(catalog, "b", variations=["large"])[0].variations


def test_a_requirement_by_tags_takes_what_fits_the_passed_ones_best(tmp_path: Path) -> None:
    for px in (160, 224):
        text = f'tags = ["flowers", "px-{px}"]\n' + DATASET
        write(
            tmp_path, "dataset", f"flowers-{px}", text + artifact(f"f{px}.npz", px, "", "dataset")
        )
    benchmark = (
        'requires = [{ role = "program", component = "program/b" },'
        '{ role = "model", component = "model/b" },'
        '{ role = "dataset", kind = "dataset", tags = ["flowers"] }]\n'
    )
    catalog = world(tmp_path, MODEL + SIZES + artifact("m.onnx", 1), benchmark=benchmark)
    for words, expected in (((), "f160.npz"), (("large",), "f224.npz")):
        lock = run(catalog, *words).lock
        assert lock is not None
        assert lock.inputs["dataset"].name == expected
    assert check_catalog([tmp_path])[1] == []


def test_alternatives_and_ranges_of_content(tmp_path: Path) -> None:
    benchmark = (
        'requires = [{ role = "program", component = "program/b" }, { role = "model", any_of = ['
        '{ component = "model/gone" }, { component = "model/b", version = ">=2" },'
        '{ component = "model/other", version = "<2" }] }]\n'
    )
    write(tmp_path, "model", "other", MODEL + artifact("other.onnx", 9))
    catalog = world(tmp_path, MODEL + artifact("m.onnx", 1), benchmark=benchmark)
    assert model_of(run(catalog)) == "other.onnx"


# what the device has


def soft(requires: str) -> str:
    return f"requires = [{requires}]\n"


RULE = """
[soft]
system_site = true
module = "tensorrt"
adapter = "tensorrt"
[[soft.detect]]
type = "python_module"
module = "tensorrt"
"""


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ((), "b 1 requires trt>=8,<9; the device has no working trt"),
        (("7.1",), "b 1 requires trt>=8,<9; the device has 7.1"),
        (("10.0", "8.6.1"), ""),
    ],
)
def test_detected_software_meets_a_requirement(
    tmp_path: Path, found: tuple[str, ...], expected: str
) -> None:
    write(tmp_path, "soft", "trt", RULE)
    catalog = world(
        tmp_path,
        MODEL + artifact("m.onnx", 1),
        program=soft('{ role = "runtime", component = "soft/trt", version = ">=8,<9" }'),
    )
    facts = sample_device()
    software = tuple(Software("trt", version, "/usr") for version in found)
    answer = run(catalog, device=dataclasses.replace(facts, software=software))
    if expected:
        assert answer.reasons == (expected,)
        return
    assert answer.lock is not None, answer.reasons
    assert answer.lock.environment.system_site
    assert answer.lock.job["runtime"]["version"] == "8.6.1"
    assert "detected on the device" in "\n".join(answer.explanation)


def test_what_the_device_has_is_preferred_and_else_installed(tmp_path: Path) -> None:
    write(tmp_path, "soft", "np", RULE.replace("tensorrt", "numpy"))
    choices = '{ component = "soft/np", version = ">=2" }, { component = "package/numpy" }'
    catalog = world(
        tmp_path,
        MODEL + artifact("m.onnx", 1),
        program=soft(f'{{ role = "n", any_of = [{choices}] }}'),
    )
    for found, expected in (("2.1", ("soft", "2.1")), ("1.9", ("package", "2.2.6"))):
        facts = dataclasses.replace(sample_device(), software=(Software("np", found, "/usr"),))
        lock = run(catalog, device=facts).lock
        assert lock is not None
        assert (lock.components[-1].kind, lock.components[-1].version) == expected


def test_an_os_can_be_required(tmp_path: Path) -> None:
    write(tmp_path, "os", "droid", '[os]\nfamily = "android"\n')
    catalog = world(
        tmp_path, MODEL + artifact("m.onnx", 1), program=soft('{ component = "os/droid" }')
    )
    assert run(catalog).reasons == ("os/droid needs os=android: os is linux",)


def test_an_explanation_lists_what_was_selected_and_what_not() -> None:
    catalog = load_catalog()
    configuration = expand(catalog, "fashion-mnist")[0]
    device = sample_device(interpreter("3.14.0"), interpreter("3.11.2"))
    text = "\n".join(resolve(catalog, configuration, device, HARNESS).explanation)
    assert "Python 3.14.0 at /usr/bin/python3.14.0 does not fit: " in text
    assert "Python 3.11.2 at /usr/bin/python3.11.2 is used" in text
    assert "package/numpy 2.2.6: required by" in text


# faults across components


DANGLING = {
    "component": ('requires = [{ component = "package/nmpy" }]\n', "no component package/nmpy"),
    "range": (
        'requires = [{ component = "package/numpy", version = "two" }]\n',
        "version of package/numpy: found 'two', allowed a range of scheme python",
    ),
    "tag": (
        'requires = [{ kind = "dataset", tags = ["fashion-minst"] }]\n',
        "unknown tag 'fashion-minst'. Did you mean 'fashion-mnist'?",
    ),
}


@pytest.mark.parametrize("case", DANGLING)
def test_what_the_catalog_does_not_have_is_named(tmp_path: Path, case: str) -> None:
    text, expected = DANGLING[case]
    write(tmp_path, "model", "m", text + MODEL)
    _, wrong = check_catalog([tmp_path])
    assert expected in str(wrong[0])
    assert wrong[0].where == str(tmp_path / "model" / "m" / "component.toml")


BAD = {
    "version": (
        "model",
        'version = "r35.4"\ntitle = "T"\nlicense = "MIT"\n',
        MODEL,
        "version_scheme",
    ),
    "counted without a value": ("model", HEAD, MODEL + '[variations."t.#"]\n', "only the name"),
    "value without a count": (
        "model",
        HEAD,
        MODEL + '[variations.t]\nvalue = { type = "int" }\n',
        "only the value",
    ),
    "excludes itself": (
        "model",
        HEAD,
        MODEL + '[variations.t]\nexcludes = ["t"]\n',
        "is the variation itself",
    ),
    "bad regex": (
        "soft",
        HEAD,
        '[soft]\nversion_pattern = "("\n[[soft.detect]]\ntype = "command"\ncommand = ["x"]\n',
        "key soft.version_pattern",
    ),
    "regex without group": (
        "soft",
        HEAD,
        '[soft]\n[[soft.detect]]\ntype = "command"\ncommand = ["x"]\nversion_pattern = "1"\n',
        "allowed a regular expression with a group",
    ),
    "detect without its key": (
        "soft",
        HEAD,
        '[soft]\n[[soft.detect]]\ntype = "command"\n',
        "key soft.detect.0.command: the key is required",
    ),
    "detect with another's key": (
        "soft",
        HEAD,
        '[soft]\n[[soft.detect]]\ntype = "sysfs"\npaths = ["/sys/x"]\nmodule = "x"\n',
        "module",
    ),
    "range of software": (
        "soft",
        HEAD,
        '[soft]\nversions = "new"\n[[soft.detect]]\ntype = "command"\ncommand = ["x"]\n',
        "key soft.versions",
    ),
    "ONNX of another version": (
        "package",
        HEAD,
        '[package]\ndistribution = "x"\n[package.onnx]\n"9.9" = { ir = 11, opset = 23 }\n',
        "key package.onnx: found version '9.9', allowed 1",
    ),
    "program file elsewhere": ("program", HEAD, PROGRAM, "is a link to a file outside its folder"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_fault_within_a_component_is_named(tmp_path: Path, case: str) -> None:
    kind, head, text, expected = BAD[case]
    place = write(tmp_path, kind, "x", text, head)
    if kind == "program":
        (place / "main.py").symlink_to("/etc/hostname")
    with pytest.raises(FleetmarkError) as caught:
        load_catalog([tmp_path])
    assert expected in str(caught.value)


def test_other_schemes_of_versions(tmp_path: Path) -> None:
    head = 'version = "r35.4"\nversion_scheme = "general"\ntitle = "T"\nlicense = "MIT"\n'
    write(tmp_path, "model", "jet", MODEL + artifact("jet.onnx", 7), head)
    benchmark = (
        'requires = [{ role = "program", component = "program/b" },'
        '{ role = "model", component = "model/jet", version = ">=r35,<r36" }]\n'
    )
    catalog = world(tmp_path, MODEL, benchmark=benchmark)
    assert model_of(run(catalog)) == "jet.onnx"
