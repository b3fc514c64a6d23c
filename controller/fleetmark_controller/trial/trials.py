"""Tries a model: resolves what a job on this machine would use, prepares it, and runs the model."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from pathlib import Path

from fleetmark_catalog.load import Catalog, read_component
from fleetmark_catalog.resolve import expand, resolve
from fleetmark_catalog.resolve.result import Source
from fleetmark_controller.artifacts.acquire import obtain
from fleetmark_controller.artifacts.harness import pack_harness
from fleetmark_controller.artifacts.model_import.imported_model import ImportedModel
from fleetmark_controller.trial.child import (
    TrialFolders,
    means_problem,
    place,
    run_child,
)
from fleetmark_controller.trial.environment import NotTriedError, install, this_machine
from fleetmark_controller.trial.outcome import TrialOutcome, outcome_of
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.digest import sha256_hex
from fleetmark_core.errors import FleetmarkError
from fleetmark_core.lockfile import Lockfile
from fleetmark_core.log import get_logger
from fleetmark_core.sandbox.plan import SandboxCapabilities
from fleetmark_core.sandbox.prove import means_of, prove

log = get_logger("fleetmark.controller")
LIMIT_S = 300.0
_KEPT_ENVIRONMENTS = 3
_CLOSE_S = 5.0
_DISK = Path("/var/tmp")  # noqa: S108


class Trials:
    """Runner of trials, one at a time; it keeps the environments of the last ones."""

    def __init__(
        self, home: Path, blobs: BlobFolder, mirror: Path | None, limit_s: float = LIMIT_S
    ) -> None:
        """Set up the runner; nothing is written before the first trial.

        Args:
            home: the controller's home, which a trial must not see.
            blobs: the stored files.
            mirror: folder of files named by SHA-256, which is searched before the network.
            limit_s: time after which a trial is ended.
        """
        self._home, self._blobs, self._mirror = home, blobs, mirror
        self._limit_s = limit_s
        self._lock, self._stopping = threading.Lock(), threading.Event()
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._means: SandboxCapabilities | None = None
        self._environments: list[Path] = []

    def close(self) -> None:
        """End a running trial, and remove the environments."""
        self._stopping.set()
        # A download that runs now is not waited for; the folder is removed when the process ends.
        if self._lock.acquire(timeout=_CLOSE_S):
            try:
                if self._scratch is not None:
                    self._scratch.cleanup()
                self._scratch, self._environments = None, []
            finally:
                self._lock.release()

    def run(self, catalog: Catalog, model: ImportedModel) -> TrialOutcome:
        """Run a model that is to be imported.

        Args:
            catalog: the catalog, without the model.
            model: the model; its files are stored.

        Raises:
            FleetmarkError: BAD_DOCUMENT: the model does not run.
        """
        with self._lock:
            try:
                return self._run(catalog, model)
            except NotTriedError as error:
                return TrialOutcome(not_tried=str(error))
            except OSError as error:
                log.warning("trial not run", model=model.name, error=error)
                return TrialOutcome(not_tried=f"{error.strerror or error}")

    def _run(self, catalog: Catalog, model: ImportedModel) -> TrialOutcome:
        root = self._root()
        means = self._proven(root)
        if problem := means_problem(means):
            raise NotTriedError(problem)
        lock, sources = self._resolved(catalog, model, root)
        environment = self._environment(lock, sources, root)
        folders = TrialFolders(Path(tempfile.mkdtemp(prefix="trial-", dir=root)))
        try:
            folders.make(means.user)
            job = self._job(lock, folders)
            child = run_child(
                folders, environment, [self._home], means, job, self._limit_s, self._stopping
            )
        finally:
            shutil.rmtree(folders.root, ignore_errors=True)
        return outcome_of(child, model.wanted.file_name, model.wanted.shapes)

    def _root(self) -> Path:
        if self._scratch is None:
            parent = _scratch_parent(self._home)
            self._scratch = tempfile.TemporaryDirectory(prefix="fleetmark-trials-", dir=parent)
            Path(self._scratch.name).chmod(0o711)
        return Path(self._scratch.name)

    def _proven(self, root: Path) -> SandboxCapabilities:
        if self._means is None:
            self._means = means_of(prove(root))
        return self._means

    def _resolved(
        self, catalog: Catalog, model: ImportedModel, root: Path
    ) -> tuple[Lockfile, dict[str, Source]]:
        """Return the lockfile of a job on this machine, and where its wheels come from."""
        with_model = _catalog_with(catalog, model)
        harness, wheel = pack_harness()
        if not self._blobs.has(harness.sha256):
            self._blobs.put_bytes(wheel)
        if not with_model.has("benchmark", model.name):
            raise NotTriedError("the catalog has no program for it")
        try:
            configuration = expand(with_model, model.name, scenarios=["SingleStream"])[0]
            found = resolve(with_model, configuration, this_machine(root), harness)
        except FleetmarkError as error:
            raise NotTriedError(f"this machine cannot run it: {error.what}") from error
        if found.lock is None:
            raise NotTriedError(f"this machine cannot run it: {'; '.join(found.reasons)}")
        environment = found.lock.environment
        if found.builds or environment.provided is not None or environment.archives:
            raise NotTriedError("this machine's Python has no wheel of the runtime")
        wheels = {wheel.sha256 for wheel in environment.wheels}
        return found.lock, {sha: one for sha, one in found.sources.items() if sha in wheels}

    def _environment(self, lock: Lockfile, sources: dict[str, Source], root: Path) -> Path:
        """Return the folder of the environment of a job; install it if it is missing."""
        target = root / f"environment-{lock.environment.key('trial')[:32]}"
        if target in self._environments:
            self._environments.remove(target)
            self._environments.append(target)
            return target
        try:
            obtain(sources, self._blobs, self._mirror, _ignore)
        except FleetmarkError as error:
            raise NotTriedError(f"the runtime is not available: {error.what}") from error
        install(lock.environment, self._blobs, target)
        self._environments.append(target)
        for old in self._environments[:-_KEPT_ENVIRONMENTS]:
            shutil.rmtree(old, ignore_errors=True)
        del self._environments[:-_KEPT_ENVIRONMENTS]
        return target

    def _job(self, lock: Lockfile, folders: TrialFolders) -> dict[str, object]:
        """Place the files of a job, and return the content of its job file."""
        tables, inputs = dict(lock.job), {}
        is_stored = all(
            self._blobs.has(blob.sha256)
            for role, blob in lock.inputs.items()
            if role.partition(".")[0] != "model"
        )
        if not is_stored:
            # A public data set may have gigabytes: the trial takes random values instead.
            tables["dataset"] = {"layout": "random", "samples": 1, "seed": 1}
        for role, blob in lock.inputs.items():
            group = role.partition(".")[0]
            if group != "model" and not is_stored:
                continue
            folder = folders.inputs / sha256_hex(group.encode())[:16]
            folder.mkdir(exist_ok=True)
            folder.chmod(0o755)
            place(self._blobs.path(blob.sha256), folder / blob.name)
            inputs[role] = str(folder / blob.name)
        return {
            "format": 1,
            "job_id": "trial",
            "epoch": 0,
            "scenario": "SingleStream",
            "mode": "performance",
            "profile": "quick",
            "parameters": {},
            "inputs": inputs,
            "packages": {},
            "job": tables,
        }


def _scratch_parent(home: Path) -> Path | None:
    """Return a folder on a disk; None for that of temporary files, which may be in memory.

    A child with a user of its own, which a controller of root gives it, cannot pass through the
    home. Otherwise the home is best, where models need not be copied.
    """
    if os.geteuid() == 0:
        return _DISK if os.access(_DISK, os.W_OK) else None
    parent = home / "trials"
    shutil.rmtree(parent, ignore_errors=True)  # left by a crash
    parent.mkdir()
    return parent


def _catalog_with(catalog: Catalog, model: ImportedModel) -> Catalog:
    """Return a catalog with the components of an import in place of others of their names."""
    texts = model.texts()
    if not catalog.has("program", "raw-tensors") or not catalog.has("dataset", "random-tensors"):
        del texts["benchmark"]
    with tempfile.TemporaryDirectory(prefix="fleetmark-trial-") as scratch:
        added = []
        for kind, text in texts.items():
            folder = Path(scratch) / kind / model.name
            folder.mkdir(parents=True)
            (folder / "component.toml").write_text(text)
            added.append(read_component(folder))
    others = [one for one in catalog.all() if one.name != model.name or one.kind not in texts]
    return Catalog([*others, *added]).knowing(catalog.built)


def _ignore(text: str) -> None:
    """Drop a line of progress: the call has no stream for it."""
