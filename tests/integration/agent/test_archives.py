"""Archives that come with a job: unpacked once, found by its program; bad ones leave nothing."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import re
import signal
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from fleetmark_agent.cache.archives import archive_folder, ensure_archives, search_paths
from fleetmark_agent.cache.blob_cache import Cache
from fleetmark_agent.errors import Refusal
from fleetmark_core.lockfile import Environment, Lockfile, PackageArchive
from tests.integration.agent.conftest import AgentProcess
from tests.support.bundles import blob, make_lock, make_order
from tests.support.fake_controller import FakeController
from tests.support.tars import BAD, REG, archive_of

FOLDER = tarfile.DIRTYPE
USES = """
import json, os, subprocess
import told
with open(os.environ["FLEETMARK_JOB"]) as file:
    packages = json.load(file)["packages"]
said = subprocess.run(["greet"], capture_output=True, text=True, check=True).stdout.strip()
data = {}
for name, folder in packages.items():
    with open(os.path.join(folder, "share", "data.txt")) as file:
        data[name] = file.read()
with open("result.json", "w") as file:
    json.dump(
        {
            "said": said,
            "data": data,
            "folders": packages,
            "module": told.VERSION,
            "libraries": os.environ["LD_LIBRARY_PATH"],
        },
        file,
    )
"""


def tools(version: str) -> bytes:
    """A program, a data file, a module and a folder for libraries."""
    return archive_of(
        ("bin/greet", REG, f"#!/bin/sh\necho hello from {version}\n".encode()),
        ("lib", FOLDER, b""),
        ("share/data.txt", REG, f"data of {version}".encode()),
        ("modules/told.py", REG, f"VERSION = {version!r}\n".encode()),
    )


def package(
    name: str, data: bytes, controller: FakeController, unpacked: int = 0
) -> PackageArchive:
    return PackageArchive(
        name=name,
        archive=blob("tools.tar", data, controller),
        unpacked_bytes=unpacked or len(data),
        bin=("bin",),
        lib=("lib",),
        python=("modules",),
    )


def with_archives(lock: Lockfile, *packages: PackageArchive) -> Lockfile:
    environment = dataclasses.replace(lock.environment, archives=packages)
    return dataclasses.replace(lock, environment=environment)


async def result_of(controller: FakeController, lock: Lockfile, epoch: int) -> dict[str, Any]:
    order = make_order(controller, lock, epoch=epoch)
    controller.offer(order)
    final = await controller.final((order.job_id, epoch))
    assert final.outcome == "completed", final.reason
    records = controller.boxes[order.job_id, epoch].records.values()
    files = [json.loads(payload) for kind, payload in records if kind == "file"]
    (sha256,) = (file["sha256"] for file in files if file["role"] == "result")
    found: dict[str, Any] = json.loads(controller.blobs[sha256])
    return found


async def test_jobs_use_two_versions_side_by_side(
    agent: AgentProcess, controller: FakeController
) -> None:
    await agent.start()
    folders = set()
    environment = {"PATH": "/nowhere", "LD_LIBRARY_PATH": "/of/the/program"}
    # The second use of each finds what the first has left.
    for epoch, version in enumerate(("1.0", "2.0", "1.0", "2.0"), 1):
        one = package("tools", tools(version), controller)
        lock = with_archives(make_lock(controller, USES, environment=environment), one)
        found = await result_of(controller, lock, epoch)
        assert found["said"] == f"hello from {version}"
        assert found["data"] == {"tools": f"data of {version}"}
        assert found["module"] == version
        folder = found["folders"]["tools"]
        assert found["libraries"] == f"{folder}/lib:/of/the/program"
        folders.add(folder)
        downloads = [sha for sha, _ in controller.downloads].count(one.archive.sha256)
        assert downloads == 1
    assert len(folders) == 2
    assert all(Path(folder).parent == agent.home / "cache" / "envs" for folder in folders)
    # And both in one job, as packages of two names.
    both = [package(f"v{n}", tools(f"{n}.0"), controller) for n in (2, 1)]
    lock = with_archives(make_lock(controller, USES), *both)
    found = await result_of(controller, lock, 5)
    assert found["data"] == {"v1": "data of 1.0", "v2": "data of 2.0"}
    assert (found["said"], found["module"]) == ("hello from 2.0", "2.0")
    assert set(found["folders"].values()) == folders


async def test_a_bad_archive_is_refused_and_leaves_nothing(
    agent: AgentProcess, controller: FakeController
) -> None:
    """All of them at one agent, which goes on."""
    await agent.start()
    lacking = (
        archive_of(("bin", REG, b"x"), ("lib", FOLDER, b"")),
        0,
        "the archive has no folder bin",
    )
    for epoch, (case, (archive, unpacked, words)) in enumerate(
        {**BAD, "no folder": lacking}.items(), 1
    ):
        lock = make_lock(controller, USES)
        order = make_order(
            controller,
            with_archives(lock, package("tools", archive, controller, unpacked)),
            epoch=epoch,
        )
        key = (order.job_id, epoch)
        controller.offer(order)
        await controller.wait_for(lambda key=key: "REFUSED" in controller.states(key))
        reason = controller.reason(key)
        assert re.search(words, reason), (case, reason)
        assert "package tools of the job cannot be used: tools.tar: " in reason
        left = [path.name for path in (agent.home / "cache" / "envs").iterdir()]
        assert left == [], case


def many_files(number: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for count in range(number):
            archive.writestr(f"bin/f{count}", b"x")
    return buffer.getvalue()


async def test_an_agent_that_is_killed_while_it_unpacks_leaves_nothing_behind(
    agent: AgentProcess, controller: FakeController
) -> None:
    await agent.start()
    data = many_files(9_000)
    one = dataclasses.replace(package("tools", data, controller), lib=(), python=())
    program = 'import json; json.dump({}, open("result.json", "w"))'
    order = make_order(controller, with_archives(make_lock(controller, program), one))
    controller.offer(order)
    folder = agent.home / "cache" / "envs"

    def under_way() -> bool:
        return folder.is_dir() and any(folder.glob(".archive-*.partial/bin/*"))

    for _ in range(5_000):
        if under_way():
            break
        await asyncio.sleep(0.002)
    assert under_way()
    assert not (folder / archive_folder(one)).exists()
    await agent.end(signal.SIGKILL)
    assert not (folder / archive_folder(one)).exists()
    await agent.start()
    final = await controller.final((order.job_id, order.epoch))
    assert final.outcome == "completed", final.reason
    left = {path.name for path in folder.iterdir()}
    assert left - {archive_folder(one)} == {path for path in left if re.fullmatch(r"\w{64}", path)}
    assert len(list((folder / archive_folder(one) / "bin").iterdir())) == 9_000


async def test_what_no_attempt_needs_is_evicted_and_what_one_needs_stays(
    tmp_path: Path, controller: FakeController
) -> None:
    cache = Cache(tmp_path / "cache", 1 << 30, 0)
    old, new = (package("tools", tools(version), controller) for version in ("1.0", "2.0"))
    for one in (old, new):
        cache.blobs.put_bytes(controller.blobs[one.archive.sha256])
        await ensure_archives(Environment("3.11", (), archives=(one,)), cache)
    cache.limit_bytes = 1
    with cache.pinned("attempt", {archive_folder(new)}):
        cache.make_room(100)
    assert [path.name for path in cache.environments.iterdir()] == [archive_folder(new)]
    cache.make_room(100)
    assert list(cache.environments.iterdir()) == []


async def test_a_home_that_path_cannot_name_is_refused(
    tmp_path: Path, controller: FakeController
) -> None:
    cache = Cache(tmp_path / "a:b", 1 << 30, 0)
    environment = Environment("3.11", (), archives=(package("t", tools("1"), controller),))
    with pytest.raises(Refusal, match="move the home"):
        await ensure_archives(environment, cache)
    assert search_paths(Environment("3.11", ()), cache) == ("", "")
