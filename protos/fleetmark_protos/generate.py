"""Regenerates the committed stubs: `python -m fleetmark_protos.generate [--check]`.

The stubs are made by the one pinned generator (see pyproject.toml), because stubs of a newer one
refuse to import with the older protobuf runtimes that some boards have.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

GENERATOR_VERSION = "1.76.0"
_PACKAGE = Path(__file__).resolve().parent
_ROOT = _PACKAGE.parent
_SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")


def generate(target: Path) -> None:
    """Write the stubs of every .proto file below folder `target`.

    Raises:
        RuntimeError: the generator is missing, has another version, or rejected a file.
    """
    try:
        found = version("grpcio-tools")
    except PackageNotFoundError:
        found = "none"
    if found != GENERATOR_VERSION:
        raise RuntimeError(
            f"needs grpcio-tools {GENERATOR_VERSION}, found {found}: run `make setup`"
        )
    sources = sorted(str(path.relative_to(_ROOT)) for path in (_PACKAGE / "v1").glob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(_ROOT)]
    # Take the plugin beside this interpreter, whether or not its folder is on PATH.
    command += [f"--plugin=protoc-gen-mypy={Path(sys.executable).parent / 'protoc-gen-mypy'}"]
    command += [f"--python_out={target}", f"--grpc_python_out={target}", f"--mypy_out={target}"]
    done = subprocess.run(
        [*command, *sources], check=False, cwd=_ROOT, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"protoc failed: {done.stderr.strip()}")


def differences() -> list[str]:
    """Return the names of committed stubs that differ from what the .proto files generate now."""
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        fresh = _read(Path(scratch) / "fleetmark_protos" / "v1")
    committed = _read(_PACKAGE / "v1")
    return sorted(
        name for name in fresh.keys() | committed.keys() if fresh.get(name) != committed.get(name)
    )


def _read(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() for path in folder.iterdir() if path.name.endswith(_SUFFIXES)
    }


def main() -> int:
    """Run the command and return its exit code.

    Returns:
        0: done, or no differences; 1: stubs differ; 2: the generator failed or is not the pinned
            one.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="Check the stubs without writing them."
    )
    check = parser.parse_args().check
    try:
        if not check:
            generate(_ROOT)
            return 0
        stale = differences()
    except RuntimeError as error:
        print(f"generate: {error}", file=sys.stderr)
        return 2
    for name in stale:
        print(
            f"generate: v1/{name} differs from what its .proto generates: run `make stubs`",
            file=sys.stderr,
        )
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
