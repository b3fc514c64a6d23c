"""Build wheels and record them in the home: `builds/<name>.json` says which blob is which wheel.

A build works in a scratch folder, in an environment built from scratch. The record is written after
the wheel has become a blob. A build that fails or is interrupted leaves nothing but a folder that
the next start removes.
"""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from fleetmark_catalog.load.model import Build, WheelFile
from fleetmark_controller.wheelbuild import toolchain
from fleetmark_controller.wheelbuild.headers import collect_headers
from fleetmark_controller.wheelbuild.repack import build_error, repack
from fleetmark_controller.wheelbuild.subprocesses import BuildProcesses
from fleetmark_controller.wheelbuild.target import environment, write_target
from fleetmark_core.atomic_file import write_atomic
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.digest import sha256_file
from fleetmark_core.document_parser import parse_json, parse_toml
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.log import get_logger
from fleetmark_core.regular_file import read_regular
from fleetmark_core.safe_unpack import UnpackLimits, unpack

log = get_logger("fleetmark.controller")
_MAX_PROJECT_BYTES = 1 << 20
ProgressCallback = Callable[[str], None]

TIME_LIMIT_FACTOR = 20
"""Factor by which a build may exceed the minutes in its recipe, for slow or busy machines."""
NEEDED_BYTES = 1 << 30
_SOURCES = UnpackLimits(total_bytes=1 << 30, entries=100_000)
_BACKEND = Path(__file__).with_name("backend.py")
_EARLIEST_S = 315532800  # 1980, the earliest time that zip archives can hold


class Builder:
    """Builder of the wheels of one home, one at a time; it also lists the known wheels."""

    def __init__(self, home: Path, blobs: BlobFolder) -> None:
        """Remove the folders of interrupted builds."""
        self._folder = home / "builds"
        self._blobs = blobs
        self._one = threading.Lock()
        self._children = BuildProcesses()
        for left in self._folder.glob("making-*"):
            shutil.rmtree(left, ignore_errors=True)

    def known(self) -> dict[str, WheelFile]:
        """Return the wheels that this toolchain revision built, by the key of their build."""
        found = {}
        for file in sorted(self._folder.glob(f"*-{toolchain.revision()}.json")):
            try:
                entry = parse_json(read_regular(file, _MAX_PROJECT_BYTES))
                wheel = WheelFile(
                    entry["filename"],
                    entry["name"],
                    entry["version"],
                    entry["sha256"],
                    int(entry["size_bytes"]),
                    made=True,
                )
                key = str(entry["key"])
            except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
                log.warning("invalid build record ignored", path=file, error=error)
                continue
            # A wheel whose blob was removed is built again.
            if self._blobs.has(wheel.sha256):
                found[key] = wheel
        return found

    def build(
        self, builds: Iterable[Build], mirror: Path | None, report_progress: ProgressCallback
    ) -> None:
        """Build the wheels that are not known yet, one after the other.

        This takes minutes, so run it in a thread. Concurrent calls wait for each other.

        Args:
            builds: Wheels to build.
            mirror: Folder of files named by SHA-256, searched for sdists first.
            report_progress: Called with each progress message.

        Raises:
            FleetmarkError: ARTIFACT_UNAVAILABLE: an input could not be downloaded, a build failed,
                or the disk is full. Wheels that were built before are kept.
        """
        with self._one:
            known = self.known()
            wanted = [build for build in dict.fromkeys(builds) if build.key not in known]
            if not wanted:
                return
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                workshop = Path(tempfile.mkdtemp(prefix="making-", dir=self._folder))
                try:
                    for build in wanted:
                        self._make(build, mirror, workshop, report_progress)
                finally:
                    shutil.rmtree(workshop, ignore_errors=True)
            except OSError as error:
                raise FleetmarkError(
                    ErrorKind.ARTIFACT_UNAVAILABLE,
                    f"the build folder cannot be used: {error.strerror or error}",
                    str(self._folder),
                    f"A build temporarily needs up to {NEEDED_BYTES >> 30} GiB there",
                ) from error

    def stop(self) -> None:
        """Stop a running build; its callers get an error."""
        self._children.stop()

    def _make(
        self, build: Build, mirror: Path | None, workshop: Path, report_progress: ProgressCallback
    ) -> None:
        report_progress(
            f"building {build}, once: no package index has a wheel. "
            f"About {build.minutes} minute{'' if build.minutes == 1 else 's'}"
        )
        began = time.monotonic()
        wheel = self._follow(build, mirror, workshop, report_progress)
        sha256 = sha256_file(wheel)
        self._blobs.put_file(wheel, sha256, wheel.stat().st_size)
        self._remember(build, sha256, wheel.stat().st_size)
        report_progress(f"built {build.filename} in {time.monotonic() - began:.0f} s")

    def _follow(
        self, build: Build, mirror: Path | None, workshop: Path, report_progress: ProgressCallback
    ) -> Path:
        # The builds of one call share the tools and the compiler's cache.
        tools = workshop / f"tools-{toolchain.digest_of(build.tools)}"
        if not tools.is_dir():
            toolchain.install_tools(build.tools, tools, self._children)
        scratch = workshop / build.key[:16]
        scratch.mkdir()
        sources = scratch / "source"
        sdist = self._sdist(build, mirror, tools, scratch)
        unpack(sdist, sources, _SOURCES)
        root = next(iter(sources.iterdir())) if len(list(sources.iterdir())) == 1 else sources
        headers = scratch / "headers"
        collect_headers(build.python, build.arch, headers)
        target, out = scratch / "target", scratch / "out"
        target.mkdir()
        out.mkdir()
        write_target(build, headers, toolchain.compiler(tools), root, target)
        epoch_s = _newest_s(sdist)
        task = {
            "source": str(root),
            "tools": str(tools),
            "target": str(target),
            "out": str(out),
            "epoch_s": epoch_s,
            "backend": _backend(root, build),
        }
        (scratch / "task.json").write_text(json.dumps(task))
        variables = environment(build, target, scratch, epoch_s)
        variables["ZIG_GLOBAL_CACHE_DIR"] = str(workshop / "compiler-cache")
        self._run(build, scratch, variables, report_progress)
        made = sorted(out.glob("*.whl"))
        if len(made) != 1:
            raise build_error(build, f"it produced {len(made)} wheels instead of 1")
        wheel = scratch / build.filename
        repack(made[0], build, wheel)
        return wheel

    def _sdist(self, build: Build, mirror: Path | None, tools: Path, scratch: Path) -> Path:
        if mirror is not None and (mirror / build.sdist.sha256).is_file():
            copy = scratch / build.sdist.file
            shutil.copyfile(mirror / build.sdist.sha256, copy)
            if sha256_file(copy) == build.sdist.sha256:
                return copy
            copy.unlink()
        requirement = f"{build.distribution}=={build.version}"
        return toolchain.download_sdist(requirement, build.sdist, tools, scratch, self._children)

    def _run(
        self,
        build: Build,
        scratch: Path,
        variables: dict[str, str],
        report_progress: ProgressCallback,
    ) -> None:
        command = [sys.executable, "-I", "-S", str(_BACKEND), str(scratch / "task.json")]
        try:
            code, lines = self._children.run(
                command,
                variables,
                scratch,
                build.minutes * 60 * TIME_LIMIT_FACTOR,
                lambda passed_s: report_progress(f"still building {build}: {passed_s:.0f} s"),
            )
        except FleetmarkError as error:
            raise build_error(build, error.what) from error
        if code != 0:
            log.error("build failed", build=build, output="\n".join(lines[-50:]))
            raise build_error(build, _key_line(lines) or f"exit code {code}")

    def _remember(self, build: Build, sha256: str, size_bytes: int) -> None:
        entry = {
            "key": build.key,
            "filename": build.filename,
            "name": build.distribution,
            "version": build.version,
            "sha256": sha256,
            "size_bytes": size_bytes,
            "sdist_sha256": build.sdist.sha256,
            "tools": [tool.requirement for tool in build.tools],
            "compiler": toolchain.COMPILER,
        }
        file = self._folder / f"{build.key[:32]}-{toolchain.revision()}.json"
        write_atomic(file, json.dumps(entry, indent=1).encode())


def _newest_s(sdist: Path) -> int:
    """Return the newest modification time in the sources, which is the time that the build sees."""
    try:
        with tarfile.open(sdist) as archive:
            return max(_EARLIEST_S, *(int(entry.mtime) for entry in archive))
    except tarfile.TarError as error:
        raise FleetmarkError(ErrorKind.ARTIFACT_UNAVAILABLE, f"{sdist.name}: {error}") from error


def _backend(sources: Path, build: Build) -> str:
    try:
        document = parse_toml(
            read_regular(sources / "pyproject.toml", _MAX_PROJECT_BYTES), with_dates=True
        )
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise build_error(build, f"its pyproject.toml: {error.strerror or error}") from error
    except ValueError as error:
        raise build_error(build, f"its pyproject.toml is not valid TOML: {error}") from error
    return json.dumps(document.get("build-system", {}))


def _key_line(lines: Sequence[str]) -> str:
    """Return the most informative line of a build's output.

    That is the compiler's first error, else the last line with an error, else the last line.
    """
    texts = [line.strip() for line in lines if line.strip()]
    of_compiler = [line for line in texts if ": error: " in line or ": fatal error: " in line]
    errors = [line for line in texts if "error" in line.lower()]
    return next(iter(of_compiler), (errors or texts or [""])[-1])[:300]
