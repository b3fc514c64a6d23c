"""A real environment for jobs: the locked wheels in a plain folder, as a device has them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from installer import install
from installer.destinations import SchemeDictionaryDestination
from installer.sources import WheelFile
from packaging.tags import sys_tags

from fleetmark_catalog.load import Catalog, load_catalog
from fleetmark_catalog.resolve import Configuration, expand, resolve
from fleetmark_controller.artifacts import pack_harness
from fleetmark_controller.artifacts.acquire import obtain
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.capabilities import Board, Capabilities, Cpu, Interpreter, Memory, Os, Storage
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.lockfile import BlobRef, Lockfile
from tests.support import ROOT

# A folder of files named by sha256, for what no index or package carries.
MIRROR = os.environ.get("FLEETMARK_TEST_MIRROR", "")
# The base interpreter: nothing of our own environment may leak into a job.
PYTHON = getattr(sys, "_base_executable", sys.executable)
RUNTIME_VARIATIONS = {
    "onnxruntime": ("onnx",),
    "openvino": ("onnx", "openvino"),
    "opencv": ("onnx", "opencv"),
    "tflite": ("tflite",),
}
# The job wants its progress on descriptor 3.
LAUNCH = (
    "import os, runpy, sys; os.dup2(int(sys.argv[1]), 3, inheritable=False); "
    "paths, script = sys.argv[2:-1], sys.argv[-1]; sys.path[:0] = paths; "
    "sys.argv = [script]; runpy.run_path(script, run_name='__main__')"
)


def this_machine() -> Capabilities:
    tags = list(sys_tags())
    return Capabilities(
        os=Os(sys.platform, sys.platform, "1", "1"),
        arch=os.uname().machine,
        board=Board(),
        cpu=Cpu(2, 2),
        memory=Memory(4 << 30, 0),
        storage=Storage(8 << 30, 8 << 30),
        interpreters=(
            Interpreter(
                PYTHON,
                sysconfig.get_python_version() + ".0",
                "cpython",
                (tags[0].abi,),
                tuple(dict.fromkeys(tag.platform for tag in tags if tag.platform != "any")),
            ),
        ),
    )


@dataclass
class Ran:
    """How a job ended and what it left."""

    code: int
    stderr: str
    out: Path
    progress: list[dict[str, Any]] = field(default_factory=list)

    @property
    def result(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.out / "result.json").read_text())
        return document

    @property
    def details(self) -> dict[str, Any]:
        lines = (self.out / "mlperf_log_detail.txt").read_text().splitlines()
        entries = [json.loads(line.removeprefix(":::MLLOG ")) for line in lines]
        return {entry["key"]: entry["value"] for entry in entries}


class Bench:
    """Runs jobs as an agent would, in environments that are built once a session."""

    def __init__(self, blobs: BlobFolder, folder: Path, catalog: Catalog) -> None:
        self.blobs = blobs
        self.folder = folder
        self.catalog = catalog
        self._environments: dict[str, Path] = {}
        self._count = 0

    def lock(self, configuration: Configuration) -> Lockfile:
        harness, data = pack_harness()
        self.blobs.put_bytes(data)
        resolution = resolve(self.catalog, configuration, this_machine(), harness)
        if resolution.lock is None:
            pytest.skip(f"this machine cannot run it: {'; '.join(resolution.reasons)}")
        try:
            obtain(resolution.sources, self.blobs, Path(MIRROR) if MIRROR else None, print)
        except FleetmarkError as error:
            if error.kind is ErrorKind.ARTIFACT_UNAVAILABLE:
                pytest.skip(f"something cannot be had here: {error}")
            raise
        return resolution.lock

    def environment(self, wheels: tuple[BlobRef, ...]) -> Path:
        key = "-".join(sorted(wheel.sha256[:4] for wheel in wheels))
        if key not in self._environments:
            target = self.folder / f"environment-{len(self._environments)}"
            for wheel in wheels:
                # A wheel's name says what it is, so it must be there under its name.
                link = self.folder / wheel.name
                link.unlink(missing_ok=True)
                link.symlink_to(self.blobs.path(wheel.sha256))
                scheme = dict.fromkeys(("purelib", "platlib", "headers", "data"), str(target))
                scheme["scripts"] = str(target / "bin")
                destination = SchemeDictionaryDestination(
                    scheme, interpreter=PYTHON, script_kind="posix"
                )
                with WheelFile.open(link) as source:
                    install(source, destination, {})
            self._environments[key] = target
        return self._environments[key]

    def run(
        self,
        configuration: Configuration,
        change: Callable[[dict[str, Any]], None] = lambda _: None,
        *,
        paths: tuple[Path, ...] = (),
        environment: dict[str, str] | None = None,
        limit_s: float = 120,
    ) -> Ran:
        lock = self.lock(configuration)
        self._count += 1
        place = self.folder / f"job {self._count}"
        out = place / "out"
        program = place / "program"
        out.mkdir(parents=True)
        program.mkdir()
        for file in lock.program.files:
            (program / file.name).write_bytes(self.blobs.path(file.sha256).read_bytes())
        document = {
            "format": 1,
            "job_id": "j",
            "epoch": 1,
            "scenario": configuration.scenario,
            "mode": configuration.mode,
            "profile": configuration.profile,
            "parameters": configuration.parameters,
            "inputs": {k: str(self.blobs.path(b.sha256)) for k, b in lock.inputs.items()},
            "job": json.loads(lock.canonical())["job"],
        }
        change(document)
        (place / "job.json").write_text(json.dumps(document))
        folders = [*paths, self.environment(lock.environment.wheels), program]
        command = [PYTHON, "-I", "-S", "-B", "-c", LAUNCH, "FD", *map(str, folders)]
        return self._spawn(
            [*command, str(program / "main.py")],
            {
                "FLEETMARK_JOB": str(place / "job.json"),
                "FLEETMARK_OUT": str(out),
                "PATH": os.defpath,
                **lock.program.environment,
                **(environment or {}),
            },
            out,
            limit_s,
        )

    def run_module(self, runtime: str, module: str, *words: str) -> dict[str, Any]:
        """Run a module of the tests in a runtime's environment; return the JSON that it prints."""
        configuration = expand(
            self.catalog,
            "fashion-mnist",
            scenarios=["Offline"],
            modes=["performance"],
            variations=RUNTIME_VARIATIONS[runtime],
        )[0]
        environment = self.environment(self.lock(configuration).environment.wheels)
        ended = subprocess.run(
            [PYTHON, "-S", "-B", "-m", module, runtime, *words],
            env={"PYTHONPATH": f"{environment}:{ROOT / 'catalog'}:{ROOT}"},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr[-2000:]
        found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
        return found

    def _spawn(
        self, command: list[str], environment: dict[str, str], out: Path, limit_s: float
    ) -> Ran:
        read, write = os.pipe()
        command = [part if part != "FD" else str(write) for part in command]
        with subprocess.Popen(
            command, cwd=out, env=environment, stderr=subprocess.PIPE, pass_fds=[write]
        ) as process:
            os.close(write)
            _, stderr = process.communicate(timeout=limit_s)
        with os.fdopen(read) as pipe:
            progress = [json.loads(line) for line in pipe]
        return Ran(process.returncode, stderr.decode(errors="replace"), out, progress)


@pytest.fixture(scope="session")
def blob_cache() -> BlobFolder:
    # Beside the test environment, so that a second run downloads nothing.
    return BlobFolder(Path(sys.prefix) / "fleetmark-test-blobs")


@pytest.fixture(scope="session")
def bench(blob_cache: BlobFolder, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(blob_cache, tmp_path_factory.mktemp("bench"), load_catalog())


@pytest.fixture(scope="session")
def quick() -> Callable[..., Configuration]:
    """A configuration of fashion-mnist that takes a moment."""

    def make(
        scenario: str = "SingleStream",
        mode: str = "performance",
        *variations: str,
        **parameters: str,
    ) -> Configuration:
        if mode != "accuracy":
            parameters.setdefault("min_duration_s", "0.3")
        return expand(
            load_catalog(),
            "fashion-mnist",
            scenarios=[scenario],
            modes=[mode],
            variations=variations,
            parameters={name: [value] for name, value in parameters.items()},
        )[0]

    return make
