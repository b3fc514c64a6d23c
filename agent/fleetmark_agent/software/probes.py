"""Searches for the software of a rule's entry, with one function for each type of entry."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fleetmark_agent.software.models import first_line, last_line, line
from fleetmark_agent.software.rules import Proof, RuleEntry
from fleetmark_agent.software.search_paths import SearchPaths
from fleetmark_core import subprocesses
from fleetmark_core.regular_file import open_regular

_MAX_READ_BYTES = 64 * 1024
_PYTHON_LIMIT_S = 10.0
_FLAGS = ("-I", "-B", "-c")

_WHO = """
import json, os, sys
base = getattr(sys, "_base_executable", None) or sys.executable
print(json.dumps([os.path.realpath(base), "%d.%d.%d" % sys.version_info[:3]]))
"""
_HAS_MODULE = """
import importlib, importlib.util, sys
name, distribution, wanted = sys.argv[1:4]
try:
    spec = importlib.util.find_spec(name)
except ModuleNotFoundError as error:
    if not error.name or not (name + ".").startswith(error.name + "."):
        raise
    spec = None
if spec is None:
    print("absent")
    sys.exit()
version = None
if distribution:
    try:
        from importlib.metadata import version as version_of
        version = version_of(distribution)
    except Exception:
        pass
if version is None and wanted:
    version = getattr(importlib.import_module(name), "__version__", None)
print("present", version or "", sep="\\n")
"""
_LOAD_LIBRARY = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"


@dataclass(frozen=True)
class Candidate:
    """One match of an entry: its path and output, or its fault.

    Attributes:
        target: the argument of a proof.
        shown: the path as reported.
        output: the text in which the version is searched.
        fault: why it does not work; empty if no fault is known.
        python: the Python that runs the proof; empty for the default one.
    """

    target: str
    shown: str
    output: str = ""
    fault: str = ""
    python: str = ""
    identity: str = ""
    """Matches with the same identity and version are one installation under two names."""


class ProbeRunner:
    """Runner of one detection's foreign programs, a few in parallel, each in its own folder."""

    def __init__(self, place: SearchPaths, at_once: int, time_limit_s: float) -> None:
        """Create the scratch folder and start the time limit.

        Args:
            place: the device's files and search paths.
            at_once: the maximum number of parallel programs.
            time_limit_s: the limit of the whole detection.
        """
        self.place = place
        self.folder = Path(tempfile.mkdtemp(prefix="fleetmark-detect-"))
        self._slots = threading.BoundedSemaphore(at_once)
        self._deadline = time.monotonic() + time_limit_s
        self._lock = threading.Lock()
        self._pythons: list[tuple[str, str]] | None = None

    def run(self, command: Sequence[str], time_limit_s: float) -> subprocesses.CompletedCommand:
        """Run a program within its own limit and the rest of the detection's limit."""
        with self._slots:
            left = self._deadline - time.monotonic()
            if left <= 0:
                return subprocesses.CompletedCommand(
                    "", "", "time limit of the whole detection exceeded", exited=False
                )
            scratch = Path(tempfile.mkdtemp(dir=self.folder))
            try:
                limit = min(left, time_limit_s)
                return subprocesses.run(command, self.place.environment(scratch), scratch, limit)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)

    def pythons(self) -> list[tuple[str, str]]:
        """Return path and version of each working base interpreter, without duplicates."""
        with self._lock:
            if self._pythons is None:
                self._pythons = list(dict.fromkeys(self._ask_pythons()))
            return self._pythons

    def close(self) -> None:
        """Remove all files that the programs wrote."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _ask_pythons(self) -> Iterator[tuple[str, str]]:
        names = ("python3", "python3.[0-9]", "python3.[0-9][0-9]")
        found = [str(path) for name in names for path in self.place.programs(name)]
        paths = {os.path.realpath(path): path for path in reversed((*self.place.own, *found))}
        question = [*_FLAGS, _WHO]
        with ThreadPoolExecutor(max_workers=4) as pool:
            answers = pool.map(
                lambda path: self.run([path, *question], _PYTHON_LIMIT_S), reversed(paths.values())
            )
        for ran in answers:
            with contextlib.suppress(ValueError):
                answer = json.loads(ran.output) if not ran.fault else None
                if isinstance(answer, list) and len(answer) == 2:
                    yield str(answer[0]), line(str(answer[1]))


def detect_step(bench: ProbeRunner, entry: RuleEntry) -> Iterator[Candidate]:
    """Yield all matches of `entry` on the device, filtered by its `match` pattern."""
    for met in _LOOKS[entry.type](bench, entry):
        if not entry.match or met.fault or entry.match.search(met.output):
            yield met


def prove(
    bench: ProbeRunner, entry: RuleEntry, met: Candidate, proof: Proof | None
) -> subprocesses.CompletedCommand:
    """Run the proof of a match; without one, run the default check of the entry's type, if any."""
    limit_s = proof.time_limit_s if proof else entry.time_limit_s
    python = met.python or bench.place.python
    if proof and proof.command:
        command = [word.replace("{path}", met.target) for word in proof.command]
    elif proof:
        command = [python, *_FLAGS, proof.python, met.target]
    elif entry.type == "python_module":
        command = [python, *_FLAGS, f"import {entry.module}"]
    elif entry.type == "library":
        command = [python, *_FLAGS, _LOAD_LIBRARY, met.target]
    else:
        return subprocesses.CompletedCommand("", "")
    return bench.run(command, limit_s)


def _programs(bench: ProbeRunner, entry: RuleEntry) -> Iterator[Candidate]:
    for path in bench.place.programs(entry.command[0]):
        ran = bench.run([str(path), *entry.command[1:]], entry.time_limit_s)
        output = f"{ran.output}\n{ran.errors}"
        if ran.fault and ran.exited and entry.match and not entry.match.search(output):
            continue
        fault = ran.fault and ": ".join(
            filter(None, (ran.fault, first_line(ran.errors, ran.output)))
        )
        identity = os.path.realpath(path)
        yield Candidate(str(path), bench.place.shown(path), output, fault, identity=identity)


def _files(bench: ProbeRunner, entry: RuleEntry) -> Iterator[Candidate]:
    for pattern in entry.paths:
        for path in bench.place.files(pattern):
            yield _read(bench.place, path, content=entry.read == "content")


def _read(place: SearchPaths, path: Path, *, content: bool) -> Candidate:
    shown, identity = place.shown(path), os.path.realpath(path)
    if not content:
        fault = "" if path.exists() else "it is a broken link"
        return Candidate(str(path), shown, shown, fault, identity=identity)
    try:
        with open_regular(path) as file:
            data = file.read(_MAX_READ_BYTES)
    except OSError as error:
        fault = f"it cannot be read: {error.strerror or error}"
        return Candidate(str(path), shown, "", fault, identity=identity)
    text = data.replace(b"\0", b"\n").decode("utf-8", errors="replace")
    return Candidate(str(path), shown, text, identity=identity)


def _device_tree(bench: ProbeRunner, entry: RuleEntry) -> Iterator[Candidate]:
    for base in ("/proc/device-tree", "/sys/firmware/devicetree/base"):
        path = bench.place.inside(f"{base}/{entry.node}")
        if path.exists():
            yield _read(bench.place, path, content=path.is_file())
            return


def _libraries(bench: ProbeRunner, entry: RuleEntry) -> Iterator[Candidate]:
    for pattern in entry.libraries:
        for path in bench.place.libraries(pattern):
            shown = bench.place.shown(path)
            yield Candidate(str(path), shown, shown, identity=os.path.realpath(path))


def _modules(bench: ProbeRunner, entry: RuleEntry) -> Iterator[Candidate]:
    wanted = "" if entry.proof and entry.proof.version else "version"
    for python, python_version in bench.pythons():
        question = [_HAS_MODULE, entry.module, entry.distribution, wanted]
        ran = bench.run([python, *_FLAGS, *question], max(entry.time_limit_s, _PYTHON_LIMIT_S))
        rows = [*ran.output.splitlines(), "", ""]
        if not ran.fault and rows[0] == "absent":
            continue
        shown = bench.place.shown(python)
        fault = ran.fault and f"Python {python_version} cannot import it: " + (
            last_line(ran.errors) or ran.fault
        )
        # Modules may print on import; the version follows the last line `present`.
        answer = ran.output.rpartition("present\n")[2].strip()
        yield Candidate(python, shown, answer, fault, python=python, identity=python)


_LOOKS: dict[str, Callable[[ProbeRunner, RuleEntry], Iterator[Candidate]]] = {
    "command": _programs,
    "file": _files,
    "sysfs": _files,
    "device_tree": _device_tree,
    "library": _libraries,
    "python_module": _modules,
}
