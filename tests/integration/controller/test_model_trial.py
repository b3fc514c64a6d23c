"""A trial of an imported model: what it can see, how it ends, and what it measures."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from fleetmark_catalog.load import load_catalog
from fleetmark_controller.artifacts.model_import.components import ImportRequest
from fleetmark_controller.artifacts.model_import.imported_model import ImportedModel, component_of
from fleetmark_controller.trial.child import TrialFolders, means_problem, run_child
from fleetmark_controller.trial.environment import NotTriedError
from fleetmark_controller.trial.outcome import EndedChild, ExceededLimit, TrialOutcome
from fleetmark_controller.trial.trials import Trials
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.digest import sha256_file
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.sandbox.plan import SandboxCapabilities
from fleetmark_core.sandbox.prove import means_of, prove
from tests.support.runnable_models import allocating, classifier, encoder, not_finite, tagger

MIRROR = os.environ.get("FLEETMARK_TEST_MIRROR", "")
CATALOG = load_catalog()


@pytest.fixture(scope="module")
def means(tmp_path_factory: pytest.TempPathFactory) -> SandboxCapabilities:
    found = means_of(prove(tmp_path_factory.mktemp("proof")))
    if problem := means_problem(found):
        pytest.skip(problem)
    return found


Runner = Callable[..., EndedChild]


@pytest.fixture
def run(tmp_path: Path, means: SandboxCapabilities) -> Iterator[Runner]:
    """Run code in place of the harness, as the child of a trial."""
    home = tmp_path / "home"
    (home / "keys").mkdir(parents=True)
    (home / "keys" / "ca.key").write_text("secret")
    tmp_path.chmod(0o755)

    def runner(
        code: str, limit_s: float = 30.0, stop_after_s: float | None = None, below: str = ""
    ) -> EndedChild:
        package = tmp_path / "environment" / "fleetmark_harness"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        body = textwrap.indent(textwrap.dedent(code), "    ")
        (package / "trial.py").write_text(
            f"import os, sys, time\ndef main():\n{body}\n    return 0\n"
        )
        root = tmp_path / below / "trial"
        root.mkdir()
        folders = TrialFolders(root)
        folders.make(means.user)
        stopping = threading.Event()
        if stop_after_s is not None:
            threading.Timer(stop_after_s, stopping.set).start()
        return run_child(
            folders, tmp_path / "environment", [home], means, {"a": 1}, limit_s, stopping
        )

    yield runner


@pytest.mark.parametrize("below", ["", "home"])
def test_a_model_sees_neither_the_home_nor_the_network(
    run: Runner, tmp_path: Path, below: str
) -> None:
    code = f"""
        import socket, pathlib, json
        def tried(do):
            try:
                do()
            except OSError:
                return "no"
            return "yes"
        home = pathlib.Path({str(tmp_path / "home")!r})
        print(json.dumps({{
            "key": tried(lambda: (home / "keys" / "ca.key").read_text()),
            "list": tried(lambda: list((home / "keys").iterdir())),
            "write": tried(lambda: (home / "new").write_text("x")),
            "net": tried(lambda: socket.create_connection(("192.0.2.1", 9), 2)),
            "own": tried(lambda: pathlib.Path("out").write_text("x")),
            "job": tried(lambda: open(os.environ["FLEETMARK_JOB"]).read()),
        }}))
    """
    child = run(code, below=below)
    assert child.code == 0, child.errors
    assert child.output.strip() == (
        '{"key": "no", "list": "no", "write": "no", "net": "no", "own": "yes", "job": "yes"}'
    )
    assert not (tmp_path / "home" / "new").exists()


def test_a_model_gets_no_environment_of_the_controller(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEETMARK_SECRET", "hidden")
    child = run("print(sorted(os.environ))")
    assert child.code == 0, child.errors
    assert "FLEETMARK_SECRET" not in child.output


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_crash_is_named_with_its_signal(run: Runner, number: signal.Signals) -> None:
    child = run(f"os.kill(os.getpid(), {int(number)})")
    assert (child.code, child.stopped_for) == (-number, None)


def test_a_trial_that_hangs_ends_at_its_limit_with_its_children(run: Runner) -> None:
    mark = f"fleetmark-test-{os.getpid()}"
    child = run(
        f"""
        import subprocess
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(99)", {mark!r}],
            start_new_session=True)
        time.sleep(99)
        """,
        limit_s=1.0,
    )
    assert child.stopped_for is ExceededLimit.TIME
    deadline = time.monotonic() + 20
    while any(mark in " ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"])):
        assert time.monotonic() < deadline, "a child of the trial outlives it"
        time.sleep(0.1)


def test_a_trial_ends_when_the_controller_stops(run: Runner) -> None:
    with pytest.raises(NotTriedError, match="the controller is stopping"):
        run("time.sleep(99)", limit_s=60.0, stop_after_s=0.5)


def test_a_trial_cannot_fill_the_disk(run: Runner) -> None:
    child = run("""
        with open("big", "wb") as file:
            for _ in range(200):
                file.write(bytes(1 << 20))
    """)
    assert child.code != 0


def test_a_trial_cannot_fill_the_disk_with_many_files(run: Runner, tmp_path: Path) -> None:
    child = run("""
        number = 0
        while True:
            number += 1
            with open(f"part-{number}", "wb") as file:
                file.write(bytes(32 << 20))
            time.sleep(0.05)
    """)
    assert child.stopped_for is ExceededLimit.DISK


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trials]:
    home = tmp_path_factory.mktemp("home")
    # Beside the test environment, so that a second run downloads nothing.
    blobs = BlobFolder(Path(sys.prefix) / "fleetmark-test-blobs")
    found = Trials(home, blobs, Path(MIRROR) if MIRROR else None, limit_s=120.0)
    yield found
    found.close()


def tried(trials: Trials, folder: Path, model: bytes, **options: tuple[str, ...]) -> TrialOutcome:
    path = folder / "m.onnx"
    path.write_bytes(model)
    sha256 = sha256_file(path)
    trials._blobs.put_file(path, sha256, len(model))
    made: ImportedModel = component_of(path, sha256, ImportRequest("m.onnx", **options), {})  # type: ignore[arg-type]
    outcome = trials.run(CATALOG, made)
    if outcome.not_tried:
        pytest.skip(f"the trial is not possible here: {outcome.not_tried}")
    return outcome


def test_the_runtime_of_a_job_runs_the_model(trials: Trials, tmp_path: Path) -> None:
    outcome = tried(trials, tmp_path, classifier())
    assert outcome.runtime == "onnxruntime"
    assert [one.shape for one in outcome.outputs] == [(1, 10)]
    assert outcome.peak_memory_bytes > 20 << 20
    assert outcome.run_ms > 0


def test_several_inputs_and_no_finite_output(trials: Trials, tmp_path: Path) -> None:
    outcome = tried(trials, tmp_path, encoder(), shapes=("input_ids=1x16",))
    assert [one.shape for one in outcome.outputs] == [(1, 16, 16)]
    assert [one.nonfinite for one in tried(trials, tmp_path, not_finite()).outputs] == [True]


@pytest.mark.parametrize(
    ("model", "inputs", "says"),
    [
        (tagger(), ("tokens=randint:5000:5001",), "indices element out of data bounds"),
        (allocating(1 << 45), (), "runs out of memory"),
    ],
)
def test_a_model_that_does_not_run_is_refused_with_the_cause(
    trials: Trials, tmp_path: Path, model: bytes, inputs: tuple[str, ...], says: str
) -> None:
    with pytest.raises(FleetmarkError) as caught:
        tried(trials, tmp_path, model, inputs=inputs)
    assert caught.value.kind is ErrorKind.BAD_DOCUMENT
    assert says in str(caught.value)
    assert "--no-trial" in caught.value.next_step


def test_without_a_runtime_the_model_is_not_tried(tmp_path: Path) -> None:
    from fleetmark_catalog.load import Catalog

    parts = [one for one in CATALOG.all() if one.id != "package/onnxruntime"]
    (tmp_path / "home").mkdir()
    here = Trials(tmp_path / "home", BlobFolder(tmp_path / "blobs"), None)
    path = tmp_path / "m.onnx"
    path.write_bytes(classifier())
    made = component_of(path, "0" * 64, ImportRequest("m.onnx"), {})
    try:
        assert here.run(Catalog(parts), made).not_tried
        assert {one.name for one in (tmp_path / "home").iterdir()} <= {"trials"}
    finally:
        here.close()
