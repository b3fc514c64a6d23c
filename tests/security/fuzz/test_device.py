"""What an agent reads: messages of its controller, its own files, output of jobs and programs."""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_agent.config.loader import BadSetting, load_settings, parse_label
from fleetmark_agent.daemon import status
from fleetmark_agent.fingerprint import accelerators, board, controls, cpu, memory, sensors, tags
from fleetmark_agent.fingerprint.interpreters import _understood
from fleetmark_agent.fingerprint.system import probe as probe_system
from fleetmark_agent.net.grpc_codec import from_wire
from fleetmark_agent.runner import collect, supervisor
from fleetmark_agent.runner.conditioning.doctor import examine_measuring
from fleetmark_agent.runner.telemetry.device_condition import Condition
from fleetmark_agent.runner.workspace import Workspace
from fleetmark_agent.software import detection_cache, models, rules, verdicts
from fleetmark_agent.startup import enroll
from fleetmark_agent.startup.mdns_browse import _usable
from fleetmark_agent.state import ledger
from fleetmark_agent.state.attempt_key import LocalAttemptKey
from fleetmark_agent.state.files import RealFiles
from fleetmark_agent.state.spool import Spool
from fleetmark_cli.paths import ConfigError
from fleetmark_core.capabilities import Accelerator, Board, Capabilities, Cpu, Memory, Os, Storage
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.lockfile import parse_lockfile
from fleetmark_core.order import parse_order
from fleetmark_core.telemetry_columns import TELEMETRY_COLUMNS
from fleetmark_protos.v1 import common_pb2, session_pb2
from tests.security.fuzz.damage import damaged, damaged_text, documents, other_values

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# --- the controller's words ---

ORDER = {
    "format": 1,
    "device_id": "d",
    "campaign_id": "c",
    "job_id": "j",
    "epoch": 1,
    "lock_sha256": "ab" * 32,
    "lock_bytes": 10,
    "bundle_bytes": 10,
    "scenario": "SingleStream",
    "mode": "performance",
    "profile": "quick",
    "timeout_s": 60.0,
    "parameters": {"threads": 1},
    "memory_bytes": 0,
    "environment_bytes": 0,
    "output_bytes": 0,
}
BLOB = {"name": "main.py", "sha256": "ab" * 32, "size_bytes": 3}
LOCK = {
    "format": 1,
    "benchmark": "toy",
    "components": [
        {"kind": "program", "name": "p", "version": "1", "sha256": "cd" * 32, "variations": []}
    ],
    "program": {
        "command": ["{python}", "{program}/main.py"],
        "files": [BLOB],
        "outputs": [{"name": "result.json", "role": "result", "required": True}],
        "environment": {"A": "b"},
    },
    "inputs": {"model": {"name": "m.onnx", "sha256": "ef" * 32, "size_bytes": 9}},
    "environment": {
        "python_version": "3.11",
        "wheels": [BLOB],
        "system_site": False,
        "provided": {
            "archive": BLOB,
            "python": "bin/python3",
            "version": "3.11.2",
            "abis": ["cp311"],
            "platforms": ["linux_x86_64"],
            "unpacked_bytes": 9,
        },
        "archives": [{"name": "tool", "archive": BLOB, "unpacked_bytes": 9, "bin": ["bin"]}],
    },
    "job": {"labels": 10},
}


@pytest.mark.fuzz("order")
@given(documents(json.dumps(ORDER).encode()))
def test_an_order_is_one_or_is_refused(data: bytes) -> None:
    try:
        found = parse_order(data)
    except FleetmarkError as error:
        assert error.kind is ErrorKind.BAD_DOCUMENT
        return
    assert 0 < found.timeout_s < 1e9 and found.epoch > 0


@pytest.mark.fuzz("lock")
@given(documents(json.dumps(LOCK).encode()))
def test_a_lock_is_one_or_is_refused(data: bytes) -> None:
    try:
        found = parse_lockfile(data)
    except FleetmarkError as error:
        assert error.kind is ErrorKind.BAD_DOCUMENT
        return
    names = [blob.name for blob in found.blobs()] + [o.name for o in found.program.outputs]
    assert not any("/" in name or name in ("", ".", "..") for name in names)


REF = common_pb2.AttemptRef(device_id="d", job_id="j", epoch=7, boot_id="b")
OUTPUT = [
    session_pb2.ControllerMessage(offer=session_pb2.Offer(attempt=REF, order=b"{}")),
    session_pb2.ControllerMessage(stop=session_pb2.Stop(attempt=REF, reason="r")),
    session_pb2.ControllerMessage(set_log_tail=session_pb2.SetLogTail(attempt=REF, enabled=True)),
    session_pb2.ControllerMessage(bye=session_pb2.Bye(reason="r", retry_after_ns=5)),
    session_pb2.ControllerMessage(
        welcome=session_pb2.Welcome(
            protocol=1,
            lease_ns=10**10,
            directives=[session_pb2.AttemptDirective(attempt=REF, action=1)],
        )
    ),
]


@pytest.mark.fuzz("the controller's messages")
@given(damaged(*(message.SerializeToString() for message in OUTPUT)))
def test_any_message_of_a_controller_is_understood_or_none(data: bytes) -> None:
    from google.protobuf.message import DecodeError

    with suppress(DecodeError):
        found = from_wire(session_pb2.ControllerMessage.FromString(data))
        attempt = getattr(found, "attempt", None)
        if attempt is not None and attempt.key.is_valid():
            assert "/" not in attempt.key.name and LocalAttemptKey.from_name(attempt.key.name)


# --- files of its own ---


def file(folder: str, name: str, data: bytes) -> Path:
    path = Path(folder) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


ENTRY = {
    "job_id": "j",
    "epoch": 3,
    "standing": "accepted",
    "order": "e30=",
    "reason": "",
    "retryable": False,
}
LEDGER = {"format": 1, "highest_epoch": 4, "attempts": [ENTRY]}


@pytest.mark.fuzz("ledger")
@given(documents(json.dumps(LEDGER).encode()))
def test_a_damaged_ledger_is_named_as_such(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = file(folder, ledger.LEDGER_NAME, data)
        with suppress(ledger.LedgerError):
            found = ledger.load(RealFiles(Path(folder)))
            assert all(entry.key.is_valid() for entry in found.entries)
        assert path.read_bytes() == data


def spooled() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        made = Spool(RealFiles(Path(folder)), 1 << 20)
        key = LocalAttemptKey("job", 1)
        for number in range(4):
            made.append(key, "event", b"%d" % number * 10)
        made.acknowledge(key, 2)
        made.append(key, "final", b"end")
        return (Path(folder) / "spool" / "job.1.spool").read_bytes()


SPOOLED = spooled()


@pytest.mark.fuzz("spool file")
@given(damaged(SPOOLED), st.sampled_from(["job.1", "job.01", "job.-1", "j.٣", "x" * 90 + ".1"]))
def test_a_damaged_spool_holds_a_beginning_of_what_was_put_in(data: bytes, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file(folder, f"spool/{name}.spool", data)
        made = Spool(RealFiles(Path(folder)), 1 << 20)
        for key in made.attempts():
            found = [(r.seq, r.payload) for r in made.read(key, 0, 1 << 20)]
            whole = [(n + 1, b"%d" % n * 10) for n in range(4)] + [(5, b"end")]
            assert found == whole[: len(found)]
            assert made.acknowledged(key) <= made.last_seq(key)


DETECTION = {
    "findings": [{"rule": "r", "software": "s", "verdict": "found", "details": {"a": "b"}}],
    "rules_digest": "d",
    "boot": "b",
    "finished_unix_s": 1.0,
    "duration_s": 1.0,
}


@pytest.mark.fuzz("status, detection and workspace files")
@given(documents(json.dumps({"pid": 1, "attempts": []}).encode(), json.dumps(DETECTION).encode()))
def test_damaged_notes_are_no_notes(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file(folder, "status.json", data)
        file(folder, "software.json", data)
        assert status.home_status(Path(folder))["running"] is False
        detection_cache.load(Path(folder), "d")
        space = Workspace(Path(folder), LocalAttemptKey("j", 1))
        for path in (space.progress, space.started, space.outcome):
            file(folder, str(path.relative_to(folder)), data)
            assert space.read_json(path) is None or isinstance(space.read_json(path), dict)
        space.read_progress()


CONFIG = b"""controller = "h:1"
name = "n"
cache_limit_bytes = 5
telemetry_interval_s = 1.0
[labels]
site = "lab"
"""


@pytest.mark.fuzz("the agent's config.toml and flags")
@given(damaged(CONFIG), damaged_text("192.0.2.1:7117", "[::1]:7117", "h:1"), damaged_text("k=v"))
def test_settings_are_right_or_named(data: bytes, address: str, label: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file(folder, "config.toml", data)
        for words in ({}, {"controller": address}, {"name": address}):
            with suppress(ConfigError, BadSetting):
                found = load_settings(Path(folder), **words)
                assert not found.controller or 0 < int(found.controller.rpartition(":")[2]) < 65536
    with suppress(ValueError):
        key, value = parse_label(label)
        assert value.isprintable() and key.isascii()


# --- what helpers, jobs and devices say ---


@pytest.mark.fuzz("lines of the enrollment helper")
@given(documents(b'{"event": "pending", "name": "n", "fingerprint": "f"}'))
def test_a_line_of_the_helper_is_an_event_or_nothing(data: bytes) -> None:
    assert isinstance(enroll.parse(data.decode(errors="replace")), dict)


@pytest.mark.fuzz("progress lines of a job")
@given(documents(b'{"phase": "run", "done": 1, "total": 5}'))
def test_a_progress_line_is_sound_or_nothing(data: bytes) -> None:
    found = supervisor._progress(data)
    if found is not None:
        assert str(found["phase"]).isprintable() and 0 <= int(str(found["done"])) < 1 << 63


ROW = json.dumps([*[1.0] * len(TELEMETRY_COLUMNS), [45.0, None]]).encode()
NOTE = b'{"temperature_sensors": ["a", "b"], "temperature_left_out": {"c": "d"}}\n'


@pytest.mark.fuzz("telemetry rows and a program's own result")
@given(damaged(NOTE + ROW + b"\n" + ROW + b"\n"), documents(b'{"accuracy": 0.5}'))
def test_what_a_job_leaves_behind_becomes_records(rows: bytes, result: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        space = Workspace(Path(folder), LocalAttemptKey("j", 1))
        file(folder, str(space.telemetry.relative_to(folder)), rows)
        file(folder, str((space.out / "result.json").relative_to(folder)), result)
        output = collect.DeclaredOutput("result.json", "result")
        collect.make_plan(space, (output,), 1.0, {})
        lines = list(collect._read_plan(space.plan))
        assert lines[-1][0] == "final"


CPUINFO = (
    "processor\t: 0\nvendor_id\t: G\nmodel name\t: M\n"
    "physical id\t: 0\ncore id\t: 0\nflags\t: a\n\n"
)
FILES = {
    "proc/cpuinfo": CPUINFO.encode() * 2,
    "proc/meminfo": b"MemTotal: 10 kB\nSwapTotal: 5 kB\nMemAvailable: 4 kB\n",
    "proc/self/cgroup": b"0::/a/b\n4:memory:/c\n",
    "proc/device-tree/model": b"Raspberry Pi 4 Model B\0",
    "proc/device-tree/compatible": b"raspberrypi,4-model-b\0brcm,bcm2711\0",
    "proc/driver/nvidia/version": b"NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.1  x\n",
    "proc/driver/nvidia/gpus/0/information": b"Model: T4\n",
    "etc/os-release": b'NAME="Debian GNU/Linux"\nVERSION_ID="12"\n',
    "etc/nv_tegra_release": b"# R35 (release), REVISION: 4.1\n",
    "sys/fs/cgroup/cpu.max": b"200000 100000\n",
    "sys/fs/cgroup/cpu.stat": b"nr_periods 5\nnr_throttled 2\n",
    "sys/fs/cgroup/memory.max": b"1000\n",
    "sys/fs/cgroup/memory.stat": b"file 5\nfile_mapped 2\n",
    "sys/fs/cgroup/cpu/cpu.cfs_quota_us": b"5",
    "sys/fs/cgroup/cpu/cpu.cfs_period_us": b"2",
    "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": b"1500000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": b"ondemand\n",
    "sys/class/thermal/thermal_zone0/temp": b"45000\n",
    "sys/class/thermal/thermal_zone0/type": b"cpu\n",
    "sys/class/hwmon/hwmon0/name": b"k10temp\n",
    "sys/class/hwmon/hwmon0/temp1_label": b"Tctl\n",
    "sys/class/hwmon/hwmon0/temp1_input": b"61000\n",
    "sys/class/power_supply/BAT0/type": b"Battery\n",
    "sys/class/power_supply/BAT0/scope": b"Device\n",
    "sys/class/power_supply/BAT0/capacity": b"50\n",
    "sys/devices/cpu_core/cpus": b"0-1\n",
    "sys/devices/system/cpu/cpu0/cpu_capacity": b"1024\n",
    "sys/devices/system/cpu/cpu0/cpufreq/related_cpus": b"0 1\n",
    "sys/devices/system/cpu/cpu0/topology/thread_siblings_list": b"0-1\n",
    "sys/class/drm/renderD128/device/uevent": b"DRIVER=v3d\n",
    "sys/class/dmi/id/product_name": b"KVM\n",
}


@pytest.mark.fuzz("facts of a device")
@given(
    st.dictionaries(
        st.sampled_from(sorted(FILES)), damaged(*FILES.values()), min_size=1, max_size=3
    )
)
def test_a_strange_device_has_facts_all_the_same(strange: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, data in {**FILES, **strange}.items():
            file(folder, name, data)
        root = Path(folder)
        facts = Capabilities(
            probe_system(root),
            "x86_64",
            board.probe(root),
            cpu.probe(root),
            memory.probe(root),
            Storage(1, 1),
            accelerators=accelerators.probe(root),
            sensors=sensors.probe(root),
            controls=controls.probe(root),
        )
        assert all(isinstance(tag, str) for tag in tags.derive(facts))
        memory.available(root)
        found = examine_measuring(root)
        assert found.usable_cores >= 1 and found.fields()
        watched = Condition(root)
        assert watched.sample().quota is not None and watched.unavailable() is not None


@pytest.mark.fuzz("tags")
@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=10), st.text(max_size=10))
def test_tags_follow_from_any_words(model: str, name: str, arch: str, vendor: str) -> None:
    facts = Capabilities(
        Os("linux", name, "1", "6", None, None),
        arch,
        Board(model=model, soc=f"{vendor},{name} {vendor},{model}"),
        Cpu(1, 1),
        Memory(1, 0),
        Storage(1, 1),
        accelerators=(Accelerator("gpu", model, vendor),),
    )
    found = tags.derive(facts)
    assert found == tags.derive(facts)
    # What the system and the model are called shows in tags only as far as it is plain.
    assert all(tag.isascii() for tag in found if tag not in (arch, "gpu"))


PYTHON = {
    "path": "/usr/bin/python3",
    "version": "3.11.2",
    "implementation": "cpython",
    "abis": ["cp311"],
    "platforms": ["linux_x86_64"],
    "machine": "x86_64",
    "pointer_bytes": 8,
}


@pytest.mark.fuzz("the version report of a program named python3")
@given(documents(json.dumps(PYTHON).encode()))
def test_a_program_is_a_python_or_is_left_out(data: bytes) -> None:
    found = _understood(data)
    if found is not None:
        assert all(isinstance(word, str) for word in (found.path, *found.abis, *found.platforms))
        assert len([int(part) for part in found.version.split(".")[:2]]) == 2


@pytest.mark.fuzz("what foreign programs print")
@given(st.text(max_size=200), damaged_text("10.2.1-6ubuntu1", "2.0rc1", "v1"))
def test_any_words_of_a_program_become_a_line(text: str, version: str) -> None:
    assert len(models.line(text)) <= models.MAX_TEXT and models.line(text).isprintable()
    assert len(models.details_of(text + "\nkey=" + text)) <= models.MAX_DETAILS
    verdicts.version_fault(version, rules.SpecifierSet(">=1.0"))


RULES = sorted(detection_cache.builtin_folder().glob("*/component.toml"))
RULE_TEXTS = [path.read_bytes() for path in RULES[:12]]


@pytest.mark.fuzz("detection rules")
@given(damaged(*RULE_TEXTS), other_values(*(tomllib.loads(t.decode()) for t in RULE_TEXTS)))
def test_a_damaged_rule_is_left_out_alone(data: bytes, values: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file(folder, "strange/component.toml", data)
        file(folder, "sound/component.toml", RULE_TEXTS[0])
        found, bad = rules.load_rules(Path(folder))
        assert len(found) + len(bad) == 2 and "sound" not in bad
    if isinstance(values, dict):
        with suppress(rules.BadRule):
            rules.parse_rule(values)


@pytest.mark.fuzz("zeroconf records")
@given(
    st.dictionaries(
        st.sampled_from([b"ca", b"x", b""]), st.none() | st.binary(max_size=80), max_size=3
    ),
    st.none() | st.integers(-5, 70_000),
    st.lists(
        st.sampled_from(["127.0.0.1", "::1", "fe80::1%lo", "", "x" * 70, "\udc80"]), max_size=3
    ),
)
def test_a_record_of_anybody_is_an_address_or_nothing(
    properties: dict[bytes, bytes | None], port: int | None, addresses: list[str]
) -> None:
    # No program listens on a port below 10, so that nothing is ever reached.
    record = SimpleNamespace(
        properties=properties,
        port=port if port is None or port > 65_535 or port < 1 else port % 9 + 1,
        parsed_scoped_addresses=lambda version: addresses,
    )
    for wanted in ("ab" * 32, ""):
        address, reason = _usable(record, wanted)  # type: ignore[arg-type]
        assert address == "" and reason
