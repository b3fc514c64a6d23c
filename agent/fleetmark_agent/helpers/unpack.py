"""Unpack an archive of a job: `python -I -m fleetmark_agent.helpers.unpack SPEC`.

The folder appears complete under its final name, or not at all, and only after verification: its
Python ran and printed the declared version, or its declared folders exist. SPEC is a JSON file:
`archive` and its `name`, `target`, `max_bytes`, and the declarations: `python` (relative) and
`version`, or `folders` (relative).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from fleetmark_agent.helpers import EXIT_BAD_WHEEL, EXIT_OS_ERROR
from fleetmark_core.errors import FleetmarkError
from fleetmark_core.safe_unpack import UnpackLimits, unpack
from fleetmark_core.wheel_install import BadWheel, compile_modules, die_with_parent, sync

_ENTRIES = 10_000
_TIME_LIMIT_S = 60
_QUESTION = "import encodings, json, platform, zlib; print(platform.python_version())"


def main(spec_path: str) -> int:
    """Unpack and verify; return 0, or an exit code after one line of error on stderr."""
    die_with_parent()
    # Other users may read the environments, because jobs may run as a separate user.
    os.umask(0o022)
    spec = json.loads(Path(spec_path).read_bytes())
    target, name = Path(spec["target"]), spec["name"]
    scratch = target.with_name(f"{target.name}.tmp-{os.getpid()}")
    try:
        unpack(Path(spec["archive"]), scratch, UnpackLimits(int(spec["max_bytes"]), _ENTRIES))
        if "python" in spec:
            python = scratch / spec["python"]
            _prove(python, spec["version"])
            compile_modules(str(python), scratch)
        for folder in spec.get("folders", ()):
            if not (scratch / folder).is_dir():
                raise BadWheel(f"the archive has no folder {folder}")
        sync(scratch)
        if not target.exists():
            scratch.rename(target)
            sync(target.parent)
    except FleetmarkError as error:
        print(f"{name}: {error.what}".replace("\n", " "), file=sys.stderr)  # noqa: T201
        return EXIT_BAD_WHEEL
    except BadWheel as error:
        print(f"{name}: {error}".replace("\n", " "), file=sys.stderr)  # noqa: T201
        return EXIT_BAD_WHEEL
    except OSError as error:
        print(f"{error.errno or 0} {name}: {error.strerror or error}", file=sys.stderr)  # noqa: T201
        return EXIT_OS_ERROR
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return 0


def _prove(python: Path, version: str) -> None:
    try:
        done = subprocess.run(
            [str(python), "-I", "-S", "-B", "-c", _QUESTION],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIME_LIMIT_S,
            check=False,
            env={"LANG": "C.UTF-8"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BadWheel(f"its Python does not run here: {error}") from error
    if done.returncode != 0:
        last_lines = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise BadWheel(f"its Python does not run here: {last_lines[0][:300]}")
    if done.stdout.strip() != version:
        raise BadWheel(f"its Python is {done.stdout.strip()[:40]!r}, not {version}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
