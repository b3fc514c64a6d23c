"""Small real bundles: a program in a lock, with or without a wheel."""

from __future__ import annotations

import base64
import hashlib
import io
import platform
import zipfile
from typing import Any

from fleetmark_core.digest import sha256_hex
from fleetmark_core.ids import uuid7
from fleetmark_core.lockfile import BlobRef, DeclaredOutput, Environment, Lockfile, Program
from fleetmark_core.order import Order
from tests.support.fake_controller import FakeController

PYTHON = ".".join(platform.python_version_tuple()[:2])

QUICK = """
import json, os
job = json.load(open(os.environ["FLEETMARK_JOB"]))
with os.fdopen(3, "w") as progress:
    progress.write(json.dumps({"phase": "run", "done": 1, "total": 2}) + "\\n")
print("hello from the job")
with open("result.json", "w") as file:
    json.dump({"format": 1, "parameters": job["parameters"], "pid": os.getpid()}, file)
"""

GATED = """
import json, os, time
with os.fdopen(3, "w") as progress:
    progress.write(json.dumps({"phase": "run", "done": 1, "total": 2}) + "\\n")
    progress.flush()
    with open("result.json", "w") as file:
        json.dump({"pid": os.getpid()}, file)
    gate = json.load(open(os.environ["FLEETMARK_JOB"]))["parameters"]["gate"]
    while not os.path.exists(gate):
        time.sleep(0.02)
"""
"""Runs until the file that its parameter `gate` names exists."""


def wheel(name: str, files: dict[str, str], version: str = "1.0") -> tuple[str, bytes]:
    """Return file name and bytes of a pure-Python wheel."""
    info = f"{name}-{version}.dist-info"
    content = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    lines = []
    for path, text in content.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        lines.append(f"{path},sha256={digest.decode()},{len(text.encode())}")
    content[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,"]) + "\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, text in content.items():
            # Without its time of day the same content is the same wheel.
            archive.writestr(zipfile.ZipInfo(path), text)
    return f"{name}-{version}-py3-none-any.whl", buffer.getvalue()


def blob(name: str, data: bytes, controller: FakeController | None = None) -> BlobRef:
    if controller is not None:
        controller.put(data)
    return BlobRef(name, sha256_hex(data), len(data))


def make_lock(
    controller: FakeController,
    source: str = QUICK,
    *,
    wheels: tuple[tuple[str, bytes], ...] = (),
    inputs: dict[str, tuple[str, bytes]] | None = None,
    outputs: tuple[DeclaredOutput, ...] = (DeclaredOutput("result.json", "result"),),
    environment: dict[str, str] | None = None,
    command: tuple[str, ...] = ("{python}", "{program}/main.py"),
) -> Lockfile:
    program = Program(
        command, (blob("main.py", source.encode(), controller),), outputs, environment or {}
    )
    return Lockfile(
        format=1,
        benchmark="trivial",
        components=(),
        program=program,
        inputs={k: blob(*v, controller) for k, v in (inputs or {}).items()},
        environment=Environment(PYTHON, tuple(blob(*w, controller) for w in wheels)),
        job={"answer": 42},
    )


def make_order(
    controller: FakeController,
    lock: Lockfile,
    *,
    epoch: int = 1,
    job_id: str = "",
    timeout_s: float = 60.0,
    memory_bytes: int = 0,
    environment_bytes: int = 0,
    output_bytes: int = 0,
    **parameters: Any,
) -> Order:
    data = lock.canonical()
    return Order(
        format=1,
        device_id=controller.device_id,
        campaign_id=uuid7(),
        job_id=job_id or uuid7(),
        epoch=epoch,
        lock_sha256=controller.put(data),
        lock_bytes=len(data),
        bundle_bytes=lock.size_bytes(),
        scenario="SingleStream",
        mode="performance",
        profile="quick",
        timeout_s=timeout_s,
        parameters=parameters,
        memory_bytes=memory_bytes,
        environment_bytes=environment_bytes,
        output_bytes=output_bytes,
    )
