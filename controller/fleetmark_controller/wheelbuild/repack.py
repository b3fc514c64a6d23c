"""Convert a build backend's wheel into the stored one: verified tags, reproducible bytes."""

from __future__ import annotations

import zipfile
from pathlib import Path

from packaging.utils import canonicalize_name, canonicalize_version

from fleetmark_catalog.load.model import Build
from fleetmark_controller.artifacts.from_wheel import DAMAGED
from fleetmark_controller.artifacts.wheel_record import record_file
from fleetmark_controller.wheelbuild import elf
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.zip_reader import open_zip

MAX_BYTES = 1 << 30
_BEGINNING = (1980, 1, 1, 0, 0, 0)


def repack(source: Path, build: Build, target: Path) -> None:
    """Write the wheel `source` to `target`: sorted files, fixed times, and the build's tags.

    Raises:
        FleetmarkError: ARTIFACT_UNAVAILABLE: it is not the wheel that was to be built, or would not
            run on every device that its tags cover.
    """
    try:
        with open_zip(source) as archive:
            _check_size(archive, build)
            content = {
                entry.filename: (archive.read(entry), bool(entry.external_attr >> 16 & 0o100))
                for entry in archive.infolist()
                if not entry.is_dir()
            }
    except DAMAGED as error:
        raise build_error(build, f"the build's wheel cannot be read: {error}") from error
    folder = _information(build, content)
    tag = build.filename.removesuffix(".whl").split("-", 2)[2]
    _check_libraries(build, content)
    lines = content[f"{folder}/WHEEL"][0].decode(errors="replace").splitlines()
    replaced = ("tag:", "root-is-purelib:")
    kept = [line for line in lines if line and not line.lower().startswith(replaced)]
    wheel = "\n".join([*kept, "Root-Is-Purelib: false", f"Tag: {tag}", ""])
    content[f"{folder}/WHEEL"] = (wheel.encode(), False)
    record = f"{folder}/RECORD"
    content.pop(record, None)
    files = {name: data for name, (data, _) in content.items()}
    content[record] = (record_file(files, record), False)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        # The metadata comes last, as PEP 427 recommends.
        for name in sorted(content, key=lambda name: (name.startswith(f"{folder}/"), name)):
            data, executable = content[name]
            entry = zipfile.ZipInfo(name, _BEGINNING)
            entry.create_system = 3
            entry.external_attr = (0o100755 if executable else 0o100644) << 16
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED, 9)


def _check_size(archive: zipfile.ZipFile, build: Build) -> None:
    size = sum(entry.file_size for entry in archive.infolist())
    if size > MAX_BYTES:
        raise build_error(build, f"the build's wheel holds {size} bytes, more than {MAX_BYTES}")


def _information(build: Build, content: dict[str, tuple[bytes, bool]]) -> str:
    """Return the wheel's metadata folder, whose name and version must match the build."""
    suffix = ".dist-info"
    found = {path.partition("/")[0] for path in content if path.endswith(f"{suffix}/WHEEL")}
    wanted = (canonicalize_name(build.distribution), canonicalize_version(build.version))
    for folder in found if len(found) == 1 else ():
        name, _, version = folder.removesuffix(suffix).rpartition("-")
        if (canonicalize_name(name), canonicalize_version(version)) == wanted:
            return folder
    what = ", ".join(sorted(found)) or "none"
    raise build_error(build, f"the build's wheel has the metadata {what}")


def _check_libraries(build: Build, content: dict[str, tuple[bytes, bool]]) -> None:
    for name, (data, _) in sorted(content.items()):
        if not data.startswith(b"\x7fELF"):
            continue
        try:
            reason = elf.incompatibility(elf.read_needs(data), build.arch, build.glibc)
        except ValueError as error:
            reason = str(error)
        if reason:
            raise build_error(build, f"{name} {reason}")


def build_error(build: Build, what: str) -> FleetmarkError:
    """Return the error for a build that did not produce its wheel."""
    return FleetmarkError(
        ErrorKind.ARTIFACT_UNAVAILABLE,
        f"{build} could not be built: {what}",
        "",
        "See the end of the build's output in the controller's log",
    )
