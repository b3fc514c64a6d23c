"""A Python that comes with a job: unpacked once, proved by running; bad archives leave nothing."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import sys
import sysconfig
from pathlib import Path

import pytest

from fleetmark_agent.fingerprint import interpreters
from fleetmark_core.capabilities import Interpreter
from fleetmark_core.lockfile import BlobRef, Lockfile, ProvidedPython
from tests.support.agent_process import AgentProcess
from tests.support.bundles import PYTHON, make_lock, make_order
from tests.support.fake_controller import FakeController
from tests.support.tars import BAD as UNUSABLE
from tests.support.tars import REG, archive_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="made from this Linux's Python")

WHO = """
import json, sys
with open("result.json", "w") as file:
    json.dump({"executable": sys.executable, "prefix": sys.base_prefix}, file)
"""
LEFT_OUT = {"test", "idlelib", "ensurepip", "tkinter", "lib2to3", "site-packages", "__pycache__"}
LEFT_OUT |= {f"config-{PYTHON}-x86_64-linux-gnu", "pydoc_data", "distutils", "turtledemo"}


@functools.cache
def found() -> Interpreter:
    """The Python that runs the tests, without any virtual environment."""
    return interpreters.probe()[0]


def own() -> Path:
    """Where it is."""
    return Path(found().path)


@pytest.fixture(scope="module")
def whole() -> bytes:
    """This machine's own Python in a tar file."""
    if not own().parent.parent.joinpath(f"lib/python{PYTHON}/encodings").is_dir():
        pytest.skip("this machine's Python is spread over several folders")
    library = Path(sysconfig.get_path("stdlib", vars={"installed_base": str(own().parent.parent)}))
    files = [("bin/python", own())]
    files += [(f"lib/{p.name}", p) for p in sorted(library.parent.glob("libpython3*.so*"))]
    for path in sorted(library.rglob("*")):
        inside = path.relative_to(library)
        if path.is_file() and not path.is_symlink() and not LEFT_OUT & set(inside.parts):
            files.append((f"lib/python{PYTHON}/{inside}", path))
    return archive_of(*((name, REG, path.read_bytes()) for name, path in files))


def with_python(controller: FakeController, archive: bytes, unpacked: int = 0) -> Lockfile:
    blob = BlobRef("python.tar", controller.put(archive), len(archive))
    provided = ProvidedPython(
        archive=blob,
        python="bin/python",
        version=found().version,
        abis=found().abis,
        platforms=found().platforms,
        unpacked_bytes=unpacked or len(archive),
    )
    lock = make_lock(controller, WHO)
    return dataclasses.replace(
        lock, environment=dataclasses.replace(lock.environment, provided=provided)
    )


async def test_a_job_runs_with_the_python_that_came_along(
    agent: AgentProcess, controller: FakeController, whole: bytes
) -> None:
    await agent.start()
    lock = with_python(controller, whole)
    for epoch in (1, 2):
        order = make_order(controller, lock, epoch=epoch)
        controller.offer(order)
        final = await controller.final((order.job_id, epoch))
        assert final.outcome == "completed", final.reason
        records = controller.boxes[order.job_id, epoch].records.values()
        files = [json.loads(p) for kind, p in records if kind == "file"]
        (sha256,) = (file["sha256"] for file in files if file["role"] == "result")
        result = json.loads(controller.blobs[sha256])
        folder = agent.home / "cache" / "envs"
        assert Path(result["executable"]).is_relative_to(folder)
        assert Path(result["prefix"]).name.startswith("python-")
        assert final.provenance["interpreter"]["path"] == result["executable"]
    assert lock.environment.provided is not None
    archive = lock.environment.provided.archive.sha256
    assert [sha for sha, _ in controller.downloads].count(archive) == 1


OTHER = b"#!/bin/sh\necho 9.9.9\n"
BAD = {
    **UNUSABLE,
    "no Python": (archive_of(("bin/x", REG, b"x")), 0, "does not run here"),
    "does not run": (archive_of(("bin/python", REG, b"\x7fELF nonsense")), 0, "does not run here"),
    "other version": (archive_of(("bin/python", REG, OTHER)), 0, r"its Python is '9\.9\.9', not"),
}


async def test_a_bad_archive_is_refused_and_leaves_nothing(
    agent: AgentProcess, controller: FakeController
) -> None:
    """All of them at one agent, which goes on."""
    await agent.start()
    for epoch, (case, (archive, unpacked, words)) in enumerate(BAD.items(), 1):
        lock = with_python(controller, archive, unpacked)
        order = make_order(controller, lock, epoch=epoch)
        key = (order.job_id, epoch)
        controller.offer(order)
        await controller.wait_for(lambda key=key: "REFUSED" in controller.states(key))
        assert re.search(words, controller.reason(key)), (case, controller.reason(key))
        assert "the Python of the job cannot be used: python.tar: " in controller.reason(key)
        left = [path.name for path in (agent.home / "cache" / "envs").iterdir()]
        assert left == [], case
