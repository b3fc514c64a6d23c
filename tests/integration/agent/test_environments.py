"""Environments: wheels into a plain folder, whole or not at all."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from fleetmark_agent.cache import environments
from fleetmark_agent.cache.blob_cache import Cache
from fleetmark_agent.cache.environments import choose_interpreter, ensure_environment
from fleetmark_agent.errors import Refusal
from fleetmark_agent.fingerprint import interpreters
from fleetmark_core.capabilities import Interpreter
from fleetmark_core.lockfile import Environment
from tests.support.bundles import PYTHON, blob, wheel


@pytest.fixture(scope="module")
def python() -> Interpreter:
    return interpreters.probe()[0]


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", 1 << 30, 0)


def environment(cache: Cache, *wheels: tuple[str, bytes]) -> Environment:
    for _, data in wheels:
        cache.blobs.put_bytes(data)
    return Environment(PYTHON, tuple(blob(*w) for w in wheels))


def rewritten(data: bytes, **names: str) -> bytes:
    """The wheel with members renamed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            for before, after in names.items():
                info.filename = info.filename.replace(before, after)
                content = content.replace(before.encode(), after.encode())
            new.writestr(info.filename, content)
    return buffer.getvalue()


async def test_modules_can_be_imported_and_are_compiled(cache: Cache, python: Interpreter) -> None:
    content = {"tiny/__init__.py": "ANSWER = 42\n", "tiny/bad.py": "print 'old'\n"}
    made = await ensure_environment(environment(cache, wheel("tiny", content)), python, cache)
    program = f"""
import sys; sys.path.insert(0, {str(made)!r})
import tiny, importlib.metadata as m
print(tiny.ANSWER, m.version("tiny"), tiny.__cached__)
"""
    done = subprocess.run(
        [python.path, "-I", "-S", "-B", "-c", program], check=True, capture_output=True, text=True
    )
    answer, version, cached = done.stdout.split()
    assert (answer, version) == ("42", "1.0") and Path(cached).exists()
    assert sorted(p.name for p in cache.environments.iterdir()) == [made.name]
    # A second time nothing is done.
    before = made.stat().st_ino
    assert (
        await ensure_environment(environment(cache, wheel("tiny", content)), python, cache)
    ) == made
    assert made.stat().st_ino == before


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("tiny-1.0-py3-none-any.whl", b"no zip", "not a zip"),
        ("tiny-1.0-py3-none-any.whl", wheel("other", {"other.py": ""})[1], "other"),
        (
            "tiny-1.0-py3-none-any.whl",
            rewritten(wheel("tiny", {"tiny/XX.py": ""})[1], **{"tiny/XX.py": "../evil.py"}),
            "evil.py",
        ),
        (
            "tiny-1.0-py3-none-any.whl",
            rewritten(wheel("tiny", {"tiny/XX.py": ""})[1], **{"tiny/XX.py": "/evil.py"}),
            "absolute",
        ),
    ],
)
async def test_a_bad_wheel_is_named_and_leaves_nothing(
    cache: Cache, python: Interpreter, name: str, data: bytes, words: str
) -> None:
    good = wheel("good", {"good.py": ""})
    with pytest.raises(Refusal) as caught:
        await ensure_environment(environment(cache, good, (name, data)), python, cache)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert list(cache.environments.iterdir()) == []
    assert not list(cache.root.rglob("evil.py"))


async def test_wheels_may_share_a_file_but_not_differ_in_it(
    cache: Cache, python: Interpreter
) -> None:
    one = wheel("one", {"space/__init__.py": "", "space/one.py": ""})
    two = wheel("two", {"space/__init__.py": "", "space/two.py": ""})
    made = await ensure_environment(environment(cache, one, two), python, cache)
    assert (made / "space" / "two.py").exists()
    three = wheel("three", {"space/__init__.py": "x = 1\n"})
    with pytest.raises(Refusal, match="two different files"):
        await ensure_environment(environment(cache, one, three), python, cache)


async def test_a_wheel_that_unpacks_too_large_is_stopped(
    cache: Cache, python: Interpreter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "MAX_ENVIRONMENT_BYTES", 1000)
    bomb = wheel("bomb", {"bomb.py": "#" * 100_000})
    with pytest.raises(Refusal, match="exceed the maximum size"):
        await ensure_environment(environment(cache, bomb), python, cache)
    assert list(cache.environments.iterdir()) == []


async def test_an_interrupted_installation_leaves_nothing(
    cache: Cache, python: Interpreter
) -> None:
    many = wheel("many", {f"many/m{n}.py": "x = 1\n" * 500 for n in range(400)})
    task = asyncio.ensure_future(ensure_environment(environment(cache, many), python, cache))
    while not list(cache.environments.glob("*.tmp-*")):
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not [p for p in cache.environments.iterdir() if ".tmp-" not in p.name]
    cache.clean()
    assert list(cache.environments.iterdir()) == []
    await ensure_environment(environment(cache, many), python, cache)


async def test_a_full_disk_is_named_and_leaves_nothing(cache: Cache, python: Interpreter) -> None:
    """A limit on the size of files stands in for the disk: the kernel refuses the write."""
    large = wheel("large", {"large.py": "#" * 300_000})
    spec = {
        "wheels": [{"path": str(cache.root / "w"), "name": large[0]}],
        "target": str(cache.environments / "key"),
        "interpreter": python.path,
        "max_bytes": 1 << 30,
    }
    cache.environments.mkdir(parents=True)
    (cache.root / "w").write_bytes(large[1])
    path = cache.root / "spec.json"
    path.write_text(json.dumps(spec))
    program = """
import resource, runpy, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50000, 50000))
sys.argv = ["install", sys.argv[1]]
runpy.run_module("fleetmark_agent.helpers.install", run_name="__main__")
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, str(path)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 4 and "File too large" in done.stderr
    assert list(cache.environments.iterdir()) == []


def interpreter(version: str, platform: str = "manylinux_2_36_x86_64") -> Interpreter:
    minor = version.split(".")[1]
    return Interpreter(
        f"/usr/bin/python3.{minor}", version, "cpython", (f"cp3{minor}",), (platform,)
    )


def test_the_first_interpreter_that_all_wheels_fit_is_chosen() -> None:
    any_wheel = blob("tiny-1.0-py3-none-any.whl", b"")
    new = blob("np-1.0-cp311-cp311-manylinux_2_36_x86_64.whl", b"")
    device = (interpreter("3.10.1"), interpreter("3.11.2", "linux_x86_64"), interpreter("3.11.7"))
    assert choose_interpreter(Environment("3.11", (any_wheel,)), device) == device[1]
    assert choose_interpreter(Environment("3.11", (any_wheel, new)), device) == device[2]
    with pytest.raises(Refusal, match=r"requires Python 3.1, the device has 3\.10\.1, 3\.11\.2"):
        choose_interpreter(Environment("3.1", ()), device)
    with pytest.raises(Refusal, match=r"np-1\.0-.* does not fit /usr/bin/python3\.10"):
        choose_interpreter(Environment("3.10", (new,)), device)
    assert os.sep == "/"
