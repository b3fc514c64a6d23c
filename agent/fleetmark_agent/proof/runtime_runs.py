"""One run of each runtime that a kit carries: its wheels, unpacked into a folder for the moment.

A folder of the kit has the name of a detection rule of a Python module, `onnxruntime`, and the
wheels of that runtime for any platforms. The run is the rule's proof: it computes a small model.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from fleetmark_agent.software.detection_cache import builtin_folder
from fleetmark_agent.software.models import details_of, first_line, last_line
from fleetmark_agent.software.rules import DetectionRule, load_rules
from fleetmark_core import subprocesses
from fleetmark_core.capabilities import Interpreter
from fleetmark_core.wheel_tags import wheel_rank

_INSTALL_LIMIT_S = 300.0
_RUN_LIMIT_S = 120.0
_MAX_BYTES = 4 * 1024**3
_RUN = "import sys; sys.path.insert(0, sys.argv.pop(1)); exec(sys.argv.pop(1))"


def run_all(
    folder: Path, interpreter: Interpreter | None, scratch: Path
) -> list[dict[str, object]]:
    """Run each runtime of the kit once; return what came of it.

    Args:
        folder: the folder of the kit, with one folder for each runtime.
        interpreter: the Python that runs them; None if jobs can use none of the device.
        scratch: a folder on a file system with room, for the wheels.
    """
    rules = {rule.name: rule for rule in load_rules(builtin_folder())[0]}
    found = []
    for path in sorted(path for path in folder.iterdir() if path.is_dir()):
        result: dict[str, object] = {"runtime": path.name}
        result.update(_run(path, rules.get(path.name), interpreter, scratch))
        found.append(result)
    return found


def _run(
    folder: Path, rule: DetectionRule | None, interpreter: Interpreter | None, scratch: Path
) -> dict[str, object]:
    proof = next((entry.proof for entry in rule.entries if entry.module), None) if rule else None
    if proof is None or not proof.python:
        return {"fault": "no detection rule of a Python module has this name"}
    if interpreter is None:
        return {"fault": "the device has no Python that jobs can use"}
    wheels = list(_fitting(folder, interpreter))
    if not wheels:
        return {"fault": f"no wheel fits Python {interpreter.version} on this device"}
    names = [path.name for path in wheels]
    with tempfile.TemporaryDirectory(prefix="fleetmark-proof-", dir=scratch) as own:
        target = Path(own) / "packages"
        spec = Path(own) / "spec.json"
        spec.write_text(
            json.dumps(
                {
                    "wheels": [{"path": str(path), "name": path.name} for path in wheels],
                    "target": str(target),
                    "interpreter": interpreter.path,
                    "max_bytes": min(_MAX_BYTES, shutil.disk_usage(own).free // 2),
                }
            )
        )
        import sys

        install = [sys.executable, "-I", "-m", "fleetmark_core.wheel_install", str(spec)]
        ran = subprocesses.run_tool(install, _INSTALL_LIMIT_S)
        if ran.fault:
            return {
                "wheels": names,
                "fault": f"not installed: {last_line(ran.errors) or ran.fault}",
            }
        began_s = time.monotonic()
        command = [interpreter.path, "-I", "-B", "-c", _RUN, str(target), proof.python]
        ran = subprocesses.run_tool(command, _RUN_LIMIT_S)
    answer = first_line(ran.errors, ran.output) if ran.fault else ""
    return {
        "wheels": names,
        "seconds": round(time.monotonic() - began_s, 3),
        "details": details_of(ran.output),
        "fault": ": ".join(filter(None, (ran.fault, answer))),
    }


def _fitting(folder: Path, interpreter: Interpreter) -> Iterator[Path]:
    """Yield the best wheel of each distribution for the interpreter."""
    best: dict[str, tuple[int, Path]] = {}
    for path in sorted(folder.glob("*.whl")):
        rank = wheel_rank(path.name, interpreter)
        name = path.name.partition("-")[0].lower()
        if rank is not None and (name not in best or rank < best[name][0]):
            best[name] = (rank, path)
    for _, path in best.values():
        yield path
