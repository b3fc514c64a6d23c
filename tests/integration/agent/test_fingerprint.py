"""Facts: this machine's, and those of devices whose files are laid out here."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from fleetmark_agent.fingerprint import interpreters
from fleetmark_core.capabilities import Capabilities, Control
from fleetmark_core.serde import parse_document, to_plain
from tests.unit.agent.test_fingerprint import FOREIGN


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not heed these limits")
@pytest.mark.parametrize("kind", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_a_limit_of_each_process_is_the_memory_that_it_may_use(kind: str, tmp_path: Path) -> None:
    code = (
        "import resource\n"
        f"resource.setrlimit(resource.{kind}, (512 << 20, 512 << 20))\n"
        "from fleetmark_agent.fingerprint import memory\n"
        "print(memory.probe().limit_bytes, memory.available())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == [str(512 << 20)] * 2


def test_this_machine_through_the_helper_process(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-I",
        "-m",
        "fleetmark_agent.fingerprint",
        "--home",
        str(tmp_path / "new"),
    ]
    done = subprocess.run(command, check=True, capture_output=True)
    facts = parse_document(Capabilities, done.stdout)
    assert facts.cpu.usable_cores == len(os.sched_getaffinity(0))
    assert facts.memory.total_bytes > 1 << 28
    assert facts.storage.total_bytes >= facts.storage.free_bytes > 0
    assert "linux" in facts.tags
    assert parse_document(Capabilities, json.dumps(to_plain(facts)).encode()) == facts
    assert any(isinstance(c, Control) and c.name == "affinity" for c in facts.controls)


def test_interpreters_report_their_own_properties(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in (
        ("python3.12", "#!/bin/sh\necho no\n"),
        ("python3.13", "#!/bin/sh\nexit 1\n"),
    ):
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = interpreters.probe()
    own = found[0]
    base = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    assert own.path == base and own.version.startswith(
        f"{sys.version_info[0]}.{sys.version_info[1]}."
    )
    assert own.abis[0].startswith("cp3") and any("linux" in p for p in own.platforms)
    assert not [i for i in found if i.path.startswith(str(tmp_path))]
    assert len({i.path for i in found}) == len(found)


@pytest.mark.parametrize("case", FOREIGN)
def test_a_python_of_another_architecture_is_not_for_jobs(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine, pointer_bytes = FOREIGN[case]
    answer = {
        "path": f"{tmp_path}/python3.12",
        "version": "3.12.1",
        "implementation": "cpython",
        "abis": ["cp312"],
        "platforms": ["linux_any"],
        "machine": machine,
        "pointer_bytes": pointer_bytes,
    }
    (tmp_path / "python3.12").write_text(f"#!/bin/sh\necho '{json.dumps(answer)}'\n")
    (tmp_path / "python3.12").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = [i.path for i in interpreters.probe() if i.path.startswith(str(tmp_path))]
    ours = (machine, pointer_bytes) == (platform.machine(), 8)
    assert found == ([f"{tmp_path}/python3.12"] if ours else [])
