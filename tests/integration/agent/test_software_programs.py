"""Every rule about programs, Pythons and libraries, in every verdict that it can give."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.detection_devices import RULES, DetectionDevice

CC = shutil.which("gcc") or shutil.which("cc")


@pytest.fixture
def device(tmp_path: Path) -> DetectionDevice:
    return DetectionDevice(tmp_path)


def tool(asked: str, output: str, proof: str) -> str:
    """A program that answers `asked` with `said`, and to anything else does `proof`."""
    return f"""
case "$1" in
{asked}) echo "{output}"; exit 0;;
esac
{proof}
"""


COMPILES = """
case "$1" in -dumpmachine) echo aarch64-linux-gnu; exit 0;; esac
while [ $# -gt 0 ]; do [ "$1" = -o ] && out=$2; shift; done
printf '#!/bin/sh\\n' > $out; /bin/chmod +x $out
"""
NO_LINKER = "echo 'ld: cannot find crt1.o: No such file' >&2; exit 1"
FAILS = "echo 'it is out of order' >&2; exit 1"

# rule, program, what asks for the version, a good answer, an old one, a proof that holds, one that
# does not, and the good and old versions.
TOOLS = [
    ("gcc", "gcc", "-dumpfullversion", "12.2.0", "4.8.5", COMPILES, NO_LINKER),
    ("gcc", "gcc-13", "-dumpfullversion", "13.2.0", "4.8.5", COMPILES, NO_LINKER),
    ("clang", "clang", "--version", "Debian clang version 14.0.6", "clang version 3.4", *[""] * 2),
    ("clang", "clang-9", "--version", "clang version 9.0.1-16+b1", "clang version 3.4", *[""] * 2),
    ("cmake", "cmake", "--version", "cmake version 3.25.1", "cmake version 2.8.12", "", FAILS),
    ("git", "git", "--version", "git version 2.39.5", "git version 1.7.1", "", FAILS),
    ("python", "python3", "--version", "Python 3.11.2", "Python 3.6.9", "echo bits=64", FAILS),
    ("python", "python3.13", "--version", "Python 3.13.0rc1", "Python 3.7.3", "", FAILS),
    ("docker", "docker", "--version", "Docker version 28.2.2, build e", "Docker version 18.9.1",
     "echo engine=28.2.2", "echo 'Cannot connect to the Docker daemon' >&2; exit 1"),
    ("podman", "podman", "--version", "podman version 4.3.1", "podman version 2.2.1", "", FAILS),
    ("bubblewrap", "bwrap", "--version", "bubblewrap 0.8.0", "bubblewrap 0.1.2", "", FAILS),
    ("adb", "adb", "version", "Version 34.0.4-debian", "Version 23.1", "", None),
    ("cuda-toolkit", "nvcc", "--version", "tools, release 12.2, V12.2.91", "release 9.1, V9",
     "", FAILS),
]  # fmt: skip
IDS = [case[1] for case in TOOLS]


@pytest.mark.parametrize(("rule", "name", "asked", "good", "old", "works", "fails"), TOOLS, ids=IDS)
def test_a_tool_in_all_four_verdicts(
    device: DetectionDevice,
    rule: str,
    name: str,
    asked: str,
    good: str,
    old: str,
    works: str,
    fails: str,
) -> None:
    if rule == "clang":
        works, fails = COMPILES, NO_LINKER
    absent = device.find(rule)
    assert [found.verdict.value for found in absent] == ["absent"]
    assert "not found: " in absent[0].reason and absent[0].software == RULES[rule].software

    device.program(name, tool(asked, good, works))
    found = device.find(rule)
    assert [f.verdict.value for f in found] == ["found"], found
    assert found[0].version in good and found[0].version[0].isdecimal()
    assert found[0].path == f"/usr/bin/{name}" and not found[0].reason

    device.program(name, tool(asked, old, works))
    wrong = device.find(rule)
    assert [f.verdict.value for f in wrong] == ["wrong version"]
    assert wrong[0].version in old and str(RULES[rule].versions) in wrong[0].reason

    if fails is not None:
        device.program(name, tool(asked, good, fails))
        broken = device.find(rule)
        assert [(f.verdict.value, f.version) for f in broken] == [("broken", found[0].version)]
        assert "exit" in broken[0].reason or "not build" in broken[0].reason

    for script in ("exit 7", "kill -SEGV $$", "echo something else", "exec /nowhere/else"):
        device.program(name, script)
        assert [f.verdict.value for f in device.find(rule)] == ["broken"], script


def test_compilers_side_by_side_are_findings_of_their_own(device: DetectionDevice) -> None:
    for version in ("11.4.0", "12.2.0"):
        device.program(f"gcc-{version[:2]}", tool("-dumpfullversion", version, COMPILES))
    (device.bin / "gcc").symlink_to("gcc-12")
    device.program("gcc-ar-12", "echo 12.2.0")
    device.program("clang-14", tool("--version", "clang version 14.0.6", COMPILES))
    device.program("clang-15", tool("--version", "clang version 15.0.7", NO_LINKER))
    found = device.find("gcc", "clang")
    assert [(f.software, f.version, f.path, f.verdict.value) for f in found] == [
        ("gcc", "12.2.0", "/usr/bin/gcc", "found"),
        ("gcc", "11.4.0", "/usr/bin/gcc-11", "found"),
        ("clang", "14.0.6", "/usr/bin/clang-14", "found"),
        ("clang", "15.0.7", "/usr/bin/clang-15", "broken"),
    ]
    assert found[0].details == {"languages": "c c++", "target": "aarch64-linux-gnu"}
    assert "crt1.o" in found[3].reason


def test_a_wrapper_is_not_one_more_python(device: DetectionDevice) -> None:
    output = tool("--version", "Python 3.11.2", "echo real=/usr/bin/python3.11")
    device.program("python3.11", output)
    device.program("python3", output)
    assert device.verdicts("python") == [("found", "3.11.2")]


NUMPY = """
__version__ = "2.2.6"
float32 = "float32"
class array(list):
    def __init__(self, values, kind=None):
        super().__init__(values)
    def tolist(self):
        return list(self)
"""
ONNXRUNTIME = """
__version__ = "{version}"
class SessionOptions: pass
def get_available_providers(): return ["CUDAExecutionProvider", "CPUExecutionProvider"]
class InferenceSession:
    def __init__(self, model, options, providers):
        assert model.startswith(b"\\x08\\x07") and b"Neg" in model
    def run(self, names, inputs):
        import numpy
        return [numpy.array([{answer} * inputs["x"][0]])]
"""
TFLITE = """
import numpy
class Interpreter:
    def __init__(self, model_content, num_threads):
        assert model_content[4:8] == b"TFL3"
        {open}
    def allocate_tensors(self): pass
    def get_input_details(self): return [{{"index": 0}}]
    get_output_details = get_input_details
    def set_tensor(self, index, value): self.value = value
    def invoke(self): pass
    def get_tensor(self, index): return numpy.array([-self.value[0]])
"""


def test_onnxruntime_with_its_providers(device: DetectionDevice) -> None:
    assert device.verdicts("onnxruntime") == [("absent", "")]
    site = device.python()
    (site / "numpy.py").write_text(NUMPY)
    assert device.verdicts("onnxruntime") == [("absent", "")]
    module = site / "onnxruntime" / "__init__.py"
    module.parent.mkdir()

    module.write_text(ONNXRUNTIME.format(version="1.22.1", answer=-1))
    [found] = device.find("onnxruntime")
    assert (found.verdict.value, found.version, found.path) == (
        "found", "1.22.1", "/usr/bin/python3",
    )  # fmt: skip
    assert found.details["providers"] == "CUDAExecutionProvider,CPUExecutionProvider"
    assert found.tags == ("onnx",)

    module.write_text(ONNXRUNTIME.format(version="1.4.0", answer=-1))
    assert device.verdicts("onnxruntime") == [("wrong version", "1.4.0")]
    module.write_text(ONNXRUNTIME.format(version="1.22.1", answer=1))
    [broken] = device.find("onnxruntime")
    assert (broken.verdict.value, broken.version) == ("broken", "1.22.1")
    assert "it computes" in broken.reason
    module.write_text("raise ImportError('libonnxruntime.so: wrong ELF class')")
    [broken] = device.find("onnxruntime")
    assert broken.verdict.value == "broken" and "wrong ELF class" in broken.reason
    module.write_text("import os; os.abort()")
    [broken] = device.find("onnxruntime")
    assert broken.verdict.value == "broken" and "SIGABRT" in broken.reason


@pytest.mark.parametrize(
    ("rule", "module", "good", "old"),
    [
        ("tflite-runtime", "tflite_runtime", "2.14.0", "2.1.0"),
        ("ai-edge-litert", "ai_edge_litert", "2.1.6", "0.9"),
    ],
)
def test_an_interpreter_of_tflite_models_opens_one(
    device: DetectionDevice, rule: str, module: str, good: str, old: str
) -> None:
    site = device.python("python3.11")
    (site / "numpy.py").write_text(NUMPY)
    assert device.verdicts(rule) == [("absent", "")]
    (site / module).mkdir()
    (site / module / "__init__.py").write_text("")
    metadata = site / f"{module}-1.dist-info" / "METADATA"
    metadata.parent.mkdir()

    def installed(version: str, opened: str) -> list[tuple[str, str]]:
        metadata.write_text(f"Metadata-Version: 2.1\nName: {rule}\nVersion: {version}\n")
        (site / module / "interpreter.py").write_text(TFLITE.format(open=opened))
        return device.verdicts(rule)

    assert installed(good, "pass") == [("found", good)]
    assert installed(old, "pass") == [("wrong version", old)]
    # As tflite-runtime with NumPy 2: it imports, then fails on opening a model.
    assert installed(good, "raise SystemError('_ARRAY_API not found')") == [("broken", good)]
    assert "_ARRAY_API not found" in device.find(rule)[0].reason


def test_modules_of_two_pythons(device: DetectionDevice) -> None:
    for name, version in (("python3.10", "1.20.1"), ("python3.12", "1.23.2")):
        site = device.python(name)
        (site / "numpy.py").write_text(NUMPY)
        (site / "onnxruntime.py").write_text(ONNXRUNTIME.format(version=version, answer=-1))
    # Both stand on the same interpreter, but are asked as themselves.
    assert sorted(device.verdicts("onnxruntime")) == [("found", "1.20.1"), ("found", "1.23.2")]


def library(device: DetectionDevice, name: str, source: str) -> None:
    path = device.file(f"usr/lib/test-linux-gnu/{name}", b"")
    made = device.root / "library.c"
    made.write_text(source)
    subprocess.run([str(CC), "-shared", "-fPIC", "-o", path, made], check=True)


NVML = """
const char *nvmlErrorString(int code) {{ (void)code; return "Driver/library version mismatch"; }}
int nvmlInit_v2(void) {{ return {init}; }}
int nvmlSystemGetDriverVersion(char *text, unsigned size) {{
    const char *s = "{version}"; unsigned i = 0;
    do {{ text[i] = s[i]; }} while (s[i++] && i < size);
    return 0;
}}
int nvmlDeviceGetCount_v2(unsigned *count) {{ *count = 1; return 0; }}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {{ *device = 0; return index; }}
int nvmlDeviceGetName(void *d, char *t, unsigned n) {{
    t[0] = d || !n ? 'B' : 'A'; t[1] = 0; return 0; }}
"""
CUDA = """
int cuInit(unsigned flags) {{ return {init} + (int)flags; }}
int cuDriverGetVersion(int *version) {{ *version = {version}; return 0; }}
int cuDeviceGetCount(int *count) {{ *count = {count}; return 0; }}
int cuDeviceGet(int *device, int index) {{ *device = index; return 0; }}
int cuDeviceGetName(char *t, int n, int d) {{ t[0] = d || !n ? 'B' : 'A'; t[1] = 0; return 0; }}
"""
needs_cc = pytest.mark.skipif(CC is None, reason="needs a C compiler to make libraries")


@needs_cc
def test_nvml(device: DetectionDevice) -> None:
    name = "libnvidia-ml.so.1"
    assert device.verdicts("nvml") == [("absent", "")]
    library(device, name, NVML.format(init=0, version="535.104.05"))
    [found] = device.find("nvml")
    assert (found.verdict.value, found.version) == ("found", "535.104.05")
    assert found.path == f"/usr/lib/test-linux-gnu/{name}"
    assert found.details == {"devices": "1", "device.0": "A"}
    library(device, name, NVML.format(init=0, version="340.108"))
    assert device.verdicts("nvml") == [("wrong version", "340.108")]
    library(device, name, NVML.format(init=18, version="535.104.05"))
    [broken] = device.find("nvml")
    assert broken.verdict.value == "broken" and "version mismatch" in broken.reason


@needs_cc
def test_cuda(device: DetectionDevice) -> None:
    name = "libcuda.so.1"
    assert device.verdicts("cuda") == [("absent", "")]
    library(device, name, CUDA.format(init=0, version=12020, count=1))
    [found] = device.find("cuda")
    assert (found.verdict.value, found.version) == ("found", "12.2")
    assert found.details["device.0"] == "A" and found.tags == ("gpu", "nvidia")
    library(device, name, CUDA.format(init=0, version=9010, count=1))
    assert device.verdicts("cuda") == [("wrong version", "9.1")]
    library(device, name, CUDA.format(init=0, version=12020, count=0))
    assert device.find("cuda")[0].reason == "exit code 1: there is no device"
    library(device, name, CUDA.format(init=100, version=12020, count=1))
    assert device.verdicts("cuda") == [("broken", "12.2")]


@needs_cc
@pytest.mark.parametrize(("number", "version"), [(8502, "8.5.2"), (100300, "10.3.0")])
def test_tensorrt(device: DetectionDevice, number: int, version: str) -> None:
    name = f"libnvinfer.so.{version.partition('.')[0]}"
    assert device.verdicts("tensorrt") == [("absent", "")]
    library(device, name, f"int getInferLibVersion(void) {{ return {number}; }}")
    assert device.verdicts("tensorrt") == [("found", version)]
    library(device, name, "int getInferLibVersion(void) { return 6001; }")
    assert device.verdicts("tensorrt") == [("wrong version", "6.0.1")]
    missing = "extern int none(void); int getInferLibVersion(void) { return none(); }"
    library(device, name, missing)
    assert device.verdicts("tensorrt") == [("broken", "")]
    device.file(f"usr/lib/test-linux-gnu/{name}", "garbage")
    assert device.verdicts("tensorrt") == [("broken", "")]


@needs_cc
def test_a_library_of_another_architecture_is_not_there_for_us(device: DetectionDevice) -> None:
    name = "libcuda.so.1"
    library(device, name, CUDA.format(init=0, version=12020, count=1))
    path = device.root / f"usr/lib/test-linux-gnu/{name}"
    data = bytearray(path.read_bytes())
    data[18:20] = b"\xff\x7f"
    path.write_bytes(data)
    assert device.verdicts("cuda") == [("absent", "")]


@needs_cc
def test_the_loader_s_configuration_is_followed(device: DetectionDevice) -> None:
    device.file("etc/ld.so.conf", "include ld.so.conf.d/*.conf  # more\n")
    device.file("etc/ld.so.conf.d/tegra.conf", "/opt/tegra\n")
    library(device, "libcuda.so.1", CUDA.format(init=0, version=11040, count=1))
    (device.root / "opt/tegra").mkdir(parents=True)
    made = device.root / "usr/lib/test-linux-gnu/libcuda.so.1"
    made.rename(device.root / "opt/tegra/libcuda.so.1")
    assert device.find("cuda")[0].path == "/opt/tegra/libcuda.so.1"


@pytest.mark.parametrize(
    ("rule", "name", "usage"),
    [
        (
            *("onnxruntime-perf-test", "onnxruntime_perf_test"),
            "perf_test [options...] model_path [result_file]",
        ),
        ("tflite-benchmark-model", "benchmark_model", "Flags: --graph=  string  required"),
    ],
)
def test_a_benchmark_tool_is_found_by_its_usage_whatever_its_exit_code(
    device: DetectionDevice, rule: str, name: str, usage: str
) -> None:
    assert device.verdicts(rule) == [("absent", "")]
    for code in (0, 1, 255):
        device.program(name, f"echo '{usage}' >&2; exit {code}")
        (found,) = device.find(rule)
        assert (found.verdict.value, found.software) == ("found", name), found.reason
        assert found.path == f"/usr/bin/{name}"
    for script in ("echo another tool", "exit 7", "kill -SEGV $$"):
        device.program(name, script)
        assert device.verdicts(rule) == [("broken", "")], script
