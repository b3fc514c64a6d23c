"""CPU quotas: of the own control group and all above it, in both versions."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_agent.fingerprint import cpu, memory
from fleetmark_agent.fingerprint.cgroups import control_groups
from fleetmark_agent.fingerprint.cpu_quota import (
    CpuQuota,
    ThrottleCount,
    throttle_count,
    tightest_quota,
)
from tests.support.device_tree import DeviceTree

V2 = "sys/fs/cgroup"
V1 = "sys/fs/cgroup/cpu,cpuacct"
CASES: dict[str, tuple[dict[str, object], CpuQuota | None, ThrottleCount | None]] = {
    "version 2, the own group": (
        {
            "proc/self/cgroup": "0::/system.slice/agent.service",
            f"{V2}/system.slice/agent.service/cpu.max": "250000 100000",
            f"{V2}/system.slice/agent.service/cpu.stat": "usage_usec 9\nnr_periods 438\n"
            "nr_throttled 348\nthrottled_usec 5",
        },
        CpuQuota(2.5, "/system.slice/agent.service"),
        ThrottleCount(438, 348),
    ),
    "version 2, a group above is tighter": (
        {
            "proc/self/cgroup": "0::/a/b",
            f"{V2}/a/b/cpu.max": "400000 100000",
            f"{V2}/a/b/cpu.stat": "nr_periods 10\nnr_throttled 1",
            f"{V2}/a/cpu.max": "50000 100000",
            f"{V2}/a/cpu.stat": "nr_periods 10\nnr_throttled 7",
            f"{V2}/cpu.stat": "usage_usec 1",
        },
        CpuQuota(0.5, "/a"),
        ThrottleCount(20, 8),
    ),
    "version 2, in a container": (
        {"proc/self/cgroup": "0::/", f"{V2}/cpu.max": "150000 100000"},
        CpuQuota(1.5, "/"),
        ThrottleCount(0, 0),
    ),
    "version 1, the own group": (
        {
            "proc/self/cgroup": "4:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc",
            f"{V1}/docker/abc/cpu.cfs_quota_us": 200000,
            f"{V1}/docker/abc/cpu.cfs_period_us": 100000,
            f"{V1}/docker/abc/cpu.stat": "nr_periods 5\nnr_throttled 2\nthrottled_time 9",
            f"{V1}/cpu.cfs_quota_us": -1,
            f"{V1}/cpu.cfs_period_us": 100000,
        },
        CpuQuota(2.0, "/docker/abc"),
        ThrottleCount(5, 2),
    ),
    "version 1, a container that sees the host's path": (
        {
            "proc/self/cgroup": "4:cpu,cpuacct:/docker/abc",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": 50000,
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": 100000,
        },
        CpuQuota(0.5, "/"),
        ThrottleCount(0, 0),
    ),
    "both versions": (
        {
            "proc/self/cgroup": "4:cpu:/jobs\n0::/elsewhere",
            "sys/fs/cgroup/cpu/jobs/cpu.cfs_quota_us": 300000,
            "sys/fs/cgroup/cpu/jobs/cpu.cfs_period_us": 100000,
            "sys/fs/cgroup/unified/elsewhere/cgroup.procs": 1,
        },
        CpuQuota(3.0, "/jobs"),
        ThrottleCount(0, 0),
    ),
    "no quota": (
        {"proc/self/cgroup": "0::/a", f"{V2}/a/cpu.max": "max 100000"},
        None,
        ThrottleCount(0, 0),
    ),
    "no control groups": ({"proc/self/cgroup": "0::/a"}, None, None),
    "a path that leads out": (
        {"proc/self/cgroup": "0::/../../etc", "etc/cpu.max": "1 100000",
         f"{V2}/cpu.max": "100000 100000"},
        CpuQuota(1.0, "/"),
        ThrottleCount(0, 0),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_tightest_quota(tmp_path: Path, case: str) -> None:
    files, quota, throttled = CASES[case]
    device = DeviceTree(tmp_path)
    for name, content in files.items():
        device.put(name, content)
    assert tightest_quota(tmp_path) == quota
    assert throttle_count(tmp_path) == throttled


def test_a_group_that_is_reached_by_two_names_counts_once(tmp_path: Path) -> None:
    device = DeviceTree(tmp_path)
    device.put("proc/self/cgroup", "4:cpu,cpuacct:/a")
    device.put(f"{V1}/a/cpu.stat", "nr_periods 5\nnr_throttled 2")
    (tmp_path / "sys/fs/cgroup/cpu").symlink_to("cpu,cpuacct")
    assert throttle_count(tmp_path) == ThrottleCount(5, 2)


@pytest.mark.parametrize(
    ("quota", "usable"), [("50000 100000", 1), ("150000 100000", 2), ("900000 100000", 4)]
)
def test_usable_cores_are_whole(tmp_path: Path, quota: str, usable: int) -> None:
    device = DeviceTree(tmp_path)
    device.put("proc/cpuinfo", "\n\n".join(f"processor\t: {n}" for n in range(4)))
    device.put("proc/self/cgroup", "0::/a")
    device.put(f"{V2}/a/cpu.max", quota)
    assert cpu.probe(tmp_path).usable_cores == usable


def test_counters_that_go_back_count_nothing() -> None:
    assert ThrottleCount(5, 2).since(ThrottleCount(9, 3)) == ThrottleCount(0, 0)
    assert ThrottleCount(9, 3).since(ThrottleCount(5, 2)) == ThrottleCount(4, 1)


FILES = [
    "proc/self/cgroup",
    *(f"{V2}{group}/{name}" for group in ("", "/a", "/a/b") for name in ("cpu.max", "cpu.stat")),
    "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us",
    "sys/fs/cgroup/cpu/a/cpu.cfs_period_us",
]
BYTES = st.binary(max_size=80) | st.sampled_from([
    b"0::/a/b\n", b"4:cpu:/a\n", b"4:cpu,/x:/a\n", b"0::/\0/a", b"0::" + b"/a" * 3000, b"max 1",
    b"100000 0", b"0 100000", b"-1", b"9" * 5000, b"9" * 5000 + b" 1", b"nr_periods -5", b"1 1 1",
    b"nr_periods 5\nnr_throttled \xff", "٣ ٤".encode(), b"1 999999999999999999",
])  # fmt: skip


@given(st.dictionaries(st.sampled_from(FILES), BYTES))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]) -> None:
    root = tmp_path_factory.mktemp("tree")
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    quota = tightest_quota(root)
    if quota is not None:
        assert quota.cores > 0 and math.isfinite(quota.cores) and quota.whole_cores >= 1
    count = throttle_count(root)
    assert count is None or (count.periods >= 0 and count.throttled >= 0)
    for group in control_groups(root, "cpu"):
        assert group.folder.is_relative_to(root / "sys/fs/cgroup")
    assert cpu.probe(root).usable_cores >= 1
    memory.probe(root)
