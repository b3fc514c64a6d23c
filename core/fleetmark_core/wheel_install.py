"""Install wheels into a plain folder: `python -I -m fleetmark_core.wheel_install SPEC`.

The agent and the controller run it as a separate process. The folder appears complete under its
final name, or not at all. SPEC is a JSON file: `wheels` (path and name
of each), `target`, `interpreter` (compiles the modules), `max_bytes` (of all files together).

Only regular files below the folder are written. Scripts, headers and data files of wheels are
skipped: a job only imports modules.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

import installer
from installer.destinations import WheelDestination
from installer.exceptions import InstallerError
from installer.records import Hash, RecordEntry
from installer.sources import WheelFile
from installer.utils import Scheme, construct_record_file, copyfileobj_with_hashing

from fleetmark_core.helper_exit_codes import EXIT_BAD_WHEEL, EXIT_OS_ERROR
from fleetmark_core.zip_reader import open_zip

_TESTS = r"[/\\]tests?[/\\]"
_MAX_PATH = 400


class BadWheel(Exception):
    """Raised when a wheel or archive must not be installed."""


class Folder(WheelDestination):
    """Destination that writes regular files below `root`, at most `room` bytes in total."""

    def __init__(self, root: Path, room: int) -> None:
        self.root = root
        self.room = room

    def write_script(self, name: str, module: str, attr: str, section: str) -> RecordEntry:
        """Skip the script: jobs do not call scripts."""
        return RecordEntry(f"../bin/{name}", None, None)

    def write_file(
        self, scheme: Scheme, path: str | os.PathLike[str], stream: BinaryIO, is_executable: bool
    ) -> RecordEntry:
        """Write one file of a package; skip headers, scripts and data files."""
        name = os.fspath(path)
        if scheme not in ("purelib", "platlib"):
            return RecordEntry(f"../{scheme}/{name}", None, None)
        target = self.root / _checked(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        # O_EXCL detects a second file with the same name, from another wheel or listed twice.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        try:
            descriptor = os.open(target, flags, 0o644)
        except FileExistsError as error:
            # Wheels that share a namespace package may contain the same files.
            if target.read_bytes() != stream.read():
                raise BadWheel(f"two different files have the name {name}") from error
            return RecordEntry(name, None, None)
        with os.fdopen(descriptor, "wb") as file:
            digest, size = copyfileobj_with_hashing(
                cast(BinaryIO, _Limited(stream, self)), file, "sha256"
            )
        return RecordEntry(name, Hash("sha256", digest), size)

    def finalize_installation(
        self, scheme: Scheme, record_file_path: str, records: Iterable[tuple[Scheme, RecordEntry]]
    ) -> None:
        """Write RECORD, in which importlib.metadata finds the files of a package."""
        with construct_record_file(records) as stream:
            self.write_file(scheme, record_file_path, stream, is_executable=False)


class _Limited:
    """A stream that counts bytes against the folder's limit: a wheel may declare any size."""

    def __init__(self, stream: BinaryIO, folder: Folder) -> None:
        self._stream = stream
        self._folder = folder

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._folder.room -= len(data)
        if self._folder.room < 0:
            raise BadWheel("its files exceed the maximum size of an environment")
        return data


def main(spec_path: str) -> int:
    """Install the wheels; return 0, or an exit code after one line of error on stderr."""
    die_with_parent()
    # Other users may read the environments, because jobs may run as a separate user.
    os.umask(0o022)
    spec = json.loads(Path(spec_path).read_bytes())
    target = Path(spec["target"])
    scratch = target.with_name(f"{target.name}.tmp-{os.getpid()}")
    name = ""
    try:
        scratch.mkdir(parents=True)
        folder = Folder(scratch, int(spec["max_bytes"]))
        for wheel in spec["wheels"]:
            name = wheel["name"]
            install_wheel(Path(wheel["path"]), name, folder)
        compile_modules(spec["interpreter"], scratch)
        sync(scratch)
        if not target.exists():
            scratch.rename(target)
            sync(target.parent)
    except OSError as error:
        print(f"{error.errno or 0} {name}: {error.strerror or error}", file=sys.stderr)  # noqa: T201
        return EXIT_OS_ERROR
    except (BadWheel, InstallerError, ValueError, KeyError, zipfile.BadZipFile) as error:
        print(f"{name}: {error}".replace("\n", " "), file=sys.stderr)  # noqa: T201
        return EXIT_BAD_WHEEL
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return 0


def install_wheel(path: Path, name: str, folder: Folder) -> None:
    """Unpack the wheel at `path`, whose file name is `name`, into the folder.

    Raises:
        BadWheel: a file of it must not be written.
        InstallerError: it is not a wheel.
        OSError: a file cannot be written.
    """
    with open_zip(path) as archive:
        # The blob's file is named by its digest, but `WheelFile` parses the wheel's file name.
        archive.filename = name
        installer.install(WheelFile(archive), folder, {"INSTALLER": b"fleetmark\n"})


def _checked(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    bad = path.is_absolute() or ".." in path.parts or not path.parts or len(name) > _MAX_PATH
    if bad or "\\" in name or re.search(r"[\x00-\x1f]", name):
        raise BadWheel(f"file name {name[:80]!r} is not allowed")
    return path


def compile_modules(interpreter: str, folder: Path) -> None:
    """Compile the modules below `folder` for the interpreter, so that jobs need not."""
    # Bytecode is never checked against the source again, because the folder's name fixes its
    # content. Files that do not compile (templates, code for newer Pythons) are compiled on import.
    command = [interpreter, "-I", "-S", "-m", "compileall", "-q", "-q", "-j", "0", "-x", _TESTS]
    command += ["--invalidation-mode", "unchecked-hash", "."]
    subprocess.run(
        command, check=False, cwd=folder, stdout=subprocess.DEVNULL, env={"LANG": "C.UTF-8"}
    )


def sync(folder: Path) -> None:
    """Sync the folder's whole file system, which costs less than one sync per file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if ctypes.CDLL(None).syncfs(descriptor) != 0:
            os.sync()
    except AttributeError:
        os.sync()
    finally:
        os.close(descriptor)


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends, so that it is never orphaned."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
