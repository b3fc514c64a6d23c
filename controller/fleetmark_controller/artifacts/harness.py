"""Pack `fleetmark_harness` into a wheel: the same files give the same bytes everywhere."""

from __future__ import annotations

import ast
import importlib.util
import io
import zipfile
from functools import lru_cache
from pathlib import Path

from fleetmark_controller.artifacts.wheel_record import record_file
from fleetmark_core.digest import sha256_hex
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.lockfile import BlobRef

_PACKAGE = "fleetmark_harness"
# The zip format starts at 1980, and the files of a wheel need no times.
_TIME = (1980, 1, 1, 0, 0, 0)


def pack_harness(folder: Path | None = None) -> tuple[BlobRef, bytes]:
    """Return the harness as a wheel: its reference and its bytes.

    Args:
        folder: Folder of the package. By default it is the installed one, which is located but not
            imported, because harness code must not run in the controller.

    Raises:
        FleetmarkError: ARTIFACT_UNAVAILABLE: the harness is not installed.
    """
    folder = folder or _installed()
    paths = [path for path in sorted(folder.rglob("*.py")) if "__pycache__" not in path.parts]
    stamps = tuple((path, (stat := path.stat()).st_mtime_ns, stat.st_size) for path in paths)
    return _packed(folder, stamps)


@lru_cache(maxsize=2)
def _packed(folder: Path, stamps: tuple[tuple[Path, int, int], ...]) -> tuple[BlobRef, bytes]:
    """Return the wheel, cached by the state of the files, because every campaign needs it."""
    files = {
        f"{_PACKAGE}/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for path, _, _ in stamps
    }
    version = _version(files[f"{_PACKAGE}/__init__.py"].decode())
    info = f"{_PACKAGE}-{version}.dist-info"
    files[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: fleetmark-harness\nVersion: {version}\n"
        "Summary: What runs inside a Fleetmark job\nLicense: Apache-2.0\n"
    ).encode()
    files[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: fleetmark\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    files[f"{info}/RECORD"] = record_file(files, f"{info}/RECORD")
    data = _zip(files)
    name = f"{_PACKAGE}-{version}-py3-none-any.whl"
    return BlobRef(name, sha256_hex(data), len(data)), data


def _installed() -> Path:
    # find_spec does not run code of a top-level package.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise FleetmarkError(
            ErrorKind.ARTIFACT_UNAVAILABLE,
            f"{_PACKAGE} is not installed",
            "",
            "Install Fleetmark again",
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _version(source: str) -> str:
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            if names == ["__version__"]:
                return str(node.value.value)
    raise FleetmarkError(ErrorKind.ARTIFACT_UNAVAILABLE, f"{_PACKAGE} does not define __version__")


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    # Stored, not deflated, because compressed bytes differ between versions of zlib.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted(files.items()):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, data)
    return buffer.getvalue()
