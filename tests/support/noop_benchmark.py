"""A catalog with one small benchmark: a program of the standard library that "runs" for a while.

It ships genuine LoadGen logs and copies them into its output, so that its runs are evaluated as any
other. Each run leaves marks of its own in a folder outside of the agent's home, which prove what
really happened on the device, whatever agent and controller report:

    <device>.lock                held while a job runs; `flock` frees it however the job ends
    <device>.<job>.<epoch>.begin
    <device>.<job>.<epoch>.end   the program came to its last line
    <device>.<job>.<epoch>.twin  another job ran on this device at the same time
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from tests.support import LOADGEN_LOGS

LOGS = LOADGEN_LOGS / "singlestream_performance"
NAME = "toy"
TITLES = 'version = "1.0"\ntitle = "For tests"\nlicense = "Apache-2.0"\n'

PROGRAM = """
import fcntl, json, multiprocessing, os, shutil, sys, time
from pathlib import Path

def burn(until):
    while time.monotonic() < until:
        sum(range(10_000))

job = json.loads(Path(os.environ["FLEETMARK_JOB"]).read_text())
out, own, said = Path.cwd(), Path(__file__).parent, job["parameters"]
device = out.parents[2].name
marks = Path(said["marks"])
mark = f"{device}.{job['job_id']}.{job['epoch']}"
lock = open(marks / f"{device}.lock", "w")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    (marks / f"{mark}.twin").touch()
open(marks / f"{mark}.begin", "x").close()
end = time.monotonic() + said.get("duration_s", 0.4)
busy = [multiprocessing.get_context("fork").Process(target=burn, args=(end,), daemon=True)
        for _ in range(said.get("busy", 0))]
for process in busy:
    process.start()
print("the toy begins", flush=True)
print("a word of warning", file=sys.stderr, flush=True)
if said.get("crash"):
    import ctypes
    print("the runtime reads address 0", file=sys.stderr, flush=True)
    ctypes.string_at(0)
if said.get("memory_mb"):
    held = bytearray(1_000_000 * said["memory_mb"])
    for place in range(0, len(held), 4096):
        held[place] = 1
step = 0
while (left := end - time.monotonic()) > 0:
    os.write(3, json.dumps({"phase": "run", "done": step, "total": 0}).encode() + b"\\n")
    step += 1
    time.sleep(min(left, 0.25))
for name in ("mlperf_log_summary.txt", "mlperf_log_detail.txt", "samples.i64", "result.json"):
    shutil.copyfile(own / name, out / name)
if said.get("ballast_kib"):
    (out / "ballast.bin").write_bytes(os.urandom(1024 * said["ballast_kib"]))
print("the toy ends", flush=True)
(marks / f"{mark}.end").touch()
"""

OUTPUTS = """
outputs = [
  { name = "mlperf_log_summary.txt", role = "loadgen_summary" },
  { name = "mlperf_log_detail.txt", role = "loadgen_detail" },
  { name = "samples.i64", role = "samples", required = false },
  { name = "result.json", role = "result" },
  { name = "ballast.bin", role = "ballast", required = false },
]
"""


def make_catalog(folder: Path, dataset_bytes: int = 0) -> Path:
    """Write the catalog below `folder`; with a data set of random bytes if one is asked for."""
    program = folder / "program" / NAME
    program.mkdir(parents=True)
    (program / "main.py").write_text(PROGRAM)
    files = ["main.py", *(Path(shutil.copy(path, program)).name for path in sorted(LOGS.iterdir()))]
    (program / "component.toml").write_text(
        f'kind = "program"\nname = "{NAME}"\n{TITLES}[program]\ncontract = 1\n'
        f'command = ["{{python}}", "{{program}}/main.py"]\nfiles = {files!r}\n'
        f"inputs = {['dataset'] if dataset_bytes else []!r}\n{OUTPUTS}\n"
        + _parameter("marks", "string")
        + _parameter("duration_s", "float")
        + _parameter("busy", "int")
        + _parameter("ballast_kib", "int")
        + _parameter("crash", "int")
        + _parameter("memory_mb", "int")
    )
    _write(
        folder / "benchmark" / NAME,
        f'kind = "benchmark"\nname = "{NAME}"\n{TITLES}'
        f'[[requires]]\nrole = "program"\ncomponent = "program/{NAME}"\n'
        + (f'[[requires]]\nrole = "dataset"\ncomponent = "dataset/{NAME}"\n' * bool(dataset_bytes))
        + '[benchmark]\ntask = "none"\nmodes = ["performance"]\n'
        'scenarios = { SingleStream = { metric = "latency_p90_ms" } }\n'
        'quality = { metric = "top-1", reference = 0.0, target = 0.0 }\n'
        "[benchmark.profiles.quick]\nsubmittable = false\ntimeout_s = 300\nwarmup_ms = 0\n"
        "calibration_ms = 1\nSingleStream = { min_duration_ms = 1 }\n",
    )
    if dataset_bytes:
        data = os.urandom(dataset_bytes)
        digest = hashlib.sha256(data).hexdigest()
        target = folder / "dataset" / NAME
        _write(
            target,
            f'kind = "dataset"\nname = "{NAME}"\n{TITLES}[dataset]\nlayout = "npz"\nsamples = 1\n'
            f'[[artifacts]]\nname = "data.bin"\nrole = "dataset"\nfile = "data.bin"\n'
            f'sha256 = "{digest}"\nsize_bytes = {dataset_bytes}\n',
        )
        (target / "data.bin").write_bytes(data)
    return folder


def _parameter(name: str, kind: str) -> str:
    return f'[program.parameters.{name}]\ntype = "{kind}"\nhelp = "See the module"\n'


def _write(folder: Path, text: str) -> None:
    folder.mkdir(parents=True)
    (folder / "component.toml").write_text(text)
