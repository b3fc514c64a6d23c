"""Selection of the cores of a stable run from the kernel's description of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_agent.fingerprint.cpu_quota import CpuQuota
from fleetmark_agent.fingerprint.cpu_topology import Core, cpu_list, read_cores
from fleetmark_agent.runner.conditioning.core_selection import (
    choose_cores,
    core_kinds,
    other_cores,
)
from tests.support.device_tree import CPU, DeviceTree

GOLD, SILVER = "Kryo-4XX-Gold", "Kryo-4XX-Silver"


def arm(number: int, design: str, policy: int, speed: int | None) -> Core:
    return Core(number, design, True, policy, speed, number)


SNAPDRAGON_855 = {
    **{n: arm(n, SILVER, 0, 384) for n in range(4)},
    **{n: arm(n, GOLD, 4, 871) for n in range(4, 7)},
    7: arm(7, GOLD, 7, 1024),
}
RK3588 = {
    **{n: arm(n, "Cortex-A55", 0, 530) for n in range(4)},
    **{n: arm(n, "Cortex-A76", 4, 1003) for n in (4, 5)},
    **{n: arm(n, "Cortex-A76", 4, 1024) for n in (6, 7)},
}
"""One cluster whose cores have different capacities."""
FAVORED = {
    n: Core(n, policy=n, speed=5_100_000 if n in (2, 3) else 4_900_000, physical=n % 8)
    for n in range(16)
}
"""An x86 with 8 cores of two hardware threads, of which two are favored."""
HYBRID = {
    **{n: Core(n, "performance", False, n, 5_000_000, n - n % 2) for n in range(16)},
    **{n: Core(n, "efficiency", False, n, 3_800_000, n) for n in range(16, 24)},
}
PLAIN = {n: Core(n) for n in range(4)}
LITTLE_BIG = {
    **{n: arm(n, "Cortex-A53", 0, 400) for n in range(4)},
    **{n: arm(n, "Cortex-A72", 4, 1024) for n in (4, 5)},
}


@pytest.mark.parametrize(
    ("cores", "threads", "chosen", "why"),
    [
        (SNAPDRAGON_855, 1, [7], "1 thread, as many cores"),
        (SNAPDRAGON_855, 4, [4, 5, 6, 7], "4 threads: the fastest kind has fewer physical cores"),
        (SNAPDRAGON_855, 5, [3, 4, 5, 6, 7], None),
        (SNAPDRAGON_855, 8, list(range(8)), None),
        (SNAPDRAGON_855, 12, list(range(8)), "12 threads, 8 cores: the agent may use no others"),
        (SNAPDRAGON_855, 0, [4, 5, 6, 7], None),
        (RK3588, 4, [4, 5, 6, 7], "4 threads, as many cores"),
        (RK3588, 2, [6, 7], None),
        (RK3588, 0, [4, 5, 6, 7], "its threads are not known: all cores of the fastest kinds"),
        (FAVORED, 4, [2, 3, 6, 7], "4 threads, as many cores"),
        (FAVORED, 8, list(range(8)), "8 threads, as many cores"),
        (FAVORED, 9, [*range(8), 15], "9 threads, as many cores"),
        (FAVORED, 0, list(range(16)), None),
        (HYBRID, 8, [0, 2, 4, 6, 8, 10, 12, 14], "8 threads, as many cores"),
        (HYBRID, 16, [0, 2, 4, 6, 8, 10, 12, 14, *range(16, 24)], None),
        (HYBRID, 0, list(range(16)), None),
        (PLAIN, 0, [0, 1, 2, 3], None),
        (PLAIN, 1, [3], None),
        (PLAIN, 2, [2, 3], None),
        (LITTLE_BIG, 4, [2, 3, 4, 5], None),
        (LITTLE_BIG, 0, [4, 5], None),
    ],
)
def test_as_many_cores_as_threads(
    cores: dict[int, Core], threads: int, chosen: list[int], why: str | None
) -> None:
    choice = choose_cores(cores, sorted(cores), threads)
    assert choice.cores == chosen
    assert why is None or choice.why == why


def test_kinds() -> None:
    def numbers(cores: dict[int, Core]) -> list[list[int]]:
        return [sorted(core.number for core in kind) for kind in core_kinds(cores)]

    assert numbers(SNAPDRAGON_855) == [[7], [4, 5, 6], [0, 1, 2, 3]]
    assert numbers(RK3588) == [[4, 5, 6, 7], [0, 1, 2, 3]]
    assert numbers(FAVORED) == [list(range(16))]
    assert numbers(HYBRID) == [list(range(16)), list(range(16, 24))]
    two_clusters = {**RK3588, **{n: arm(n, "Cortex-A76", 6, 1024) for n in (6, 7)}}
    assert numbers(two_clusters) == [[4, 5, 6, 7], [0, 1, 2, 3]], "binned 2 % apart"


def test_a_quota_leaves_fewer_cores() -> None:
    choice = choose_cores(RK3588, range(8), 4, CpuQuota(2.0, "/agent"))
    assert choice.cores == [6, 7]
    assert choice.why == "4 threads, 2 cores: the CPU quota of /agent is 2 cores"
    assert choose_cores(RK3588, range(8), 4, CpuQuota(0.1, "/")).cores == [7]
    assert choose_cores(RK3588, range(8), 4, CpuQuota(64.0, "/")).cores == [4, 5, 6, 7]
    few = choose_cores(RK3588, [0, 1], 4, CpuQuota(2.0, "/agent"))
    assert few.why == "4 threads, 2 cores: the agent may use no others"


def test_where_everything_else_goes() -> None:
    choice = choose_cores(FAVORED, range(16), 4)
    assert other_cores(range(16), choice, FAVORED) == [0, 1, 4, 5, 8, 9, 12, 13]
    whole = choose_cores(FAVORED, range(16), 8)
    assert other_cores(range(16), whole, FAVORED) == list(range(8, 16)), "no core is left apart"
    everything = choose_cores(PLAIN, range(4), 4)
    assert other_cores(range(4), everything, PLAIN) == [0, 1, 2, 3]
    nothing = choose_cores({}, [], 4)
    assert nothing.cores == other_cores([], nothing, {}) == []


CORES = st.builds(
    Core,
    number=st.integers(0, 40),
    design=st.sampled_from(["", "Cortex-A55", "Cortex-A76", "performance"]),
    is_arm=st.booleans(),
    policy=st.none() | st.integers(0, 8),
    speed=st.none() | st.integers(1, 1024),
    physical=st.none() | st.integers(0, 40),
)
QUOTAS = st.none() | st.builds(CpuQuota, st.floats(0.001, 100), st.just("/x"))


@given(
    st.lists(CORES, max_size=24),
    st.lists(st.integers(0, 40), max_size=24),
    st.integers(-1, 64),
    QUOTAS,
)
def test_any_topology(
    known: list[Core], allowed: list[int], threads: int, quota: CpuQuota | None
) -> None:
    cores = {core.number: core for core in known}
    choice = choose_cores(cores, allowed, threads, quota)
    chosen = [core for kind in choice.kinds for core in kind.cores]
    assert len(chosen) == len(set(chosen)), "no core twice"
    assert sorted(chosen) == choice.cores
    assert set(chosen) <= set(allowed)
    usable = len(set(allowed))
    if quota is not None:
        usable = min(usable, quota.whole_cores)
    if threads > 0:
        assert len(chosen) == min(threads, usable), "as many as there are threads"
    elif allowed:
        assert 1 <= len(chosen) <= usable
    assert choice.why
    # The order in which cores come decides nothing.
    again = choose_cores(
        dict(reversed(cores.items())), list(reversed(allowed)), threads, quota
    )  # fmt: skip
    assert again == choice
    others = other_cores(allowed, choice, cores)
    assert set(others) <= set(allowed) and bool(others) == bool(allowed)
    if len(chosen) < len(set(allowed)):
        assert not set(others) & set(chosen)


def fast_first(chosen: set[int], cores: dict[int, Core], allowed: set[int]) -> bool:
    slowest = min((cores[n].speed or 0 for n in chosen), default=0)
    return all((cores[n].speed or 0) <= slowest * 1.5 for n in allowed - chosen)


@given(st.integers(1, 8), st.sets(st.integers(0, 7), min_size=1))
def test_no_slow_core_while_a_fast_one_is_free(threads: int, allowed: set[int]) -> None:
    for cores in (SNAPDRAGON_855, RK3588):
        choice = choose_cores(cores, sorted(allowed), threads)
        assert fast_first(set(choice.cores), cores, allowed)


# What the kernel says.


def test_the_topology_of_an_arm_device(tmp_path: Path) -> None:
    device = DeviceTree(tmp_path)
    parts = {0: 0xD05, 1: 0xD05, 2: 0xD0B, 3: 0xD0B}
    device.put(
        "proc/cpuinfo",
        "\n\n".join(
            f"processor\t: {n}\nCPU implementer\t: 0x41\nCPU part\t: {part:#x}"
            for n, part in parts.items()
        ),
    )
    for number, capacity in enumerate((530, 530, 1003, 1024)):
        device.put(f"{CPU}/cpu{number}/cpu_capacity", capacity)
        # A clock of its own unit: it is not compared with capacities.
        device.put(f"{CPU}/cpu{number}/cpufreq/cpuinfo_max_freq", 1_800_000)
    device.put(f"{CPU}/cpufreq/policy0/related_cpus", "0 1")
    device.put(f"{CPU}/cpufreq/policy2/related_cpus", "2 3")
    assert read_cores(tmp_path) == {
        0: Core(0, "Cortex-A55", True, 0, 530, 0),
        1: Core(1, "Cortex-A55", True, 0, 530, 1),
        2: Core(2, "Cortex-A76", True, 2, 1003, 2),
        3: Core(3, "Cortex-A76", True, 2, 1024, 3),
    }
    assert choose_cores(read_cores(tmp_path), range(4), 2).cores == [2, 3]


def test_the_register_where_cpuinfo_names_no_design(tmp_path: Path) -> None:
    DeviceTree(tmp_path).put(
        f"{CPU}/cpu3/regs/identification/midr_el1", "0x00000000414fd0b1"
    )  # fmt: skip
    assert read_cores(tmp_path) == {3: Core(3, "Cortex-A76", True, None, None, 3)}


def test_the_topology_of_a_hybrid_x86(tmp_path: Path) -> None:
    device = DeviceTree(tmp_path)
    device.put("sys/devices/cpu_core/cpus", "0-3")
    device.put("sys/devices/cpu_atom/cpus", "4-5")
    for number in range(6):
        siblings = f"{number - number % 2}-{number - number % 2 + 1}" if number < 4 else number
        device.put(f"{CPU}/cpu{number}/topology/thread_siblings_list", siblings)
        device.put(
            f"{CPU}/cpu{number}/cpufreq/cpuinfo_max_freq", 5_000_000 if number < 4 else 3_800
        )
    cores = read_cores(tmp_path)
    assert [cores[n].physical for n in range(6)] == [0, 0, 2, 2, 4, 5]
    assert choose_cores(cores, range(6), 3).cores == [0, 2, 5]
    assert choose_cores(cores, range(6), 5).cores == [0, 2, 3, 4, 5]


@given(
    st.text(max_size=20) | st.from_regex(r"([0-9]{1,6}(-[0-9]{1,6})?[, ]?){0,5}", fullmatch=True)
)
def test_any_list_of_cores(text: str) -> None:
    found = cpu_list(text)
    assert found == sorted(set(found)) and all(0 <= number < 1 << 14 for number in found)


def test_lists_of_cores() -> None:
    assert cpu_list("0-3,8") == [0, 1, 2, 3, 8]
    assert cpu_list("0 1 2\n") == [0, 1, 2]
    assert cpu_list(None) == cpu_list("") == cpu_list("3-1") == []


@given(st.dictionaries(
    st.sampled_from([
        "proc/cpuinfo", f"{CPU}/cpu0/cpu_capacity", f"{CPU}/cpu0/cpufreq/related_cpus",
        f"{CPU}/cpu0/topology/thread_siblings_list", f"{CPU}/cpu1/regs/identification/midr_el1",
        "sys/devices/cpu_core/cpus", f"{CPU}/cpufreq/policy0/related_cpus",
    ]),
    st.binary(max_size=60) | st.sampled_from([b"0-3", b"9" * 5000, b"-1", b"0x1", b"\0"]),
))  # fmt: skip
def test_any_bytes_in_the_kernels_files(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    root = tmp_path_factory.mktemp("tree")
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    cores = read_cores(root)
    assert choose_cores(cores, range(4), 2).cores
