"""Facts: this machine's, and those of devices whose files are laid out here."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from fleetmark_agent.fingerprint import measure, memory, system
from fleetmark_agent.runner.telemetry.temperature import read_temperature
from fleetmark_core.capabilities import Sensor

PI_CPUINFO = "\n\n".join(
    [
        *(
            f"processor\t: {n}\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd crc32\n"
            "CPU implementer\t: 0x41\nCPU part\t: 0xd08"
            for n in range(4)
        ),
        "Revision\t: c03114\nModel\t: Raspberry Pi 4 Model B Rev 1.4",
    ]
)


def lay(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


@pytest.fixture
def pi(tmp_path: Path) -> Path:
    cpu0 = "sys/devices/system/cpu/cpu0/cpufreq"
    return lay(
        tmp_path,
        {
            "etc/os-release": 'NAME="Debian GNU/Linux"\nVERSION_ID="12"\n',
            "proc/sys/kernel/osrelease": "6.1.21-v8+\n",
            "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
            "proc/device-tree/compatible": "raspberrypi,4-model-b\0brcm,bcm2711\0",
            "proc/cpuinfo": PI_CPUINFO,
            "proc/meminfo": "MemTotal:        3884356 kB\nSwapTotal:        102396 kB\n",
            f"{cpu0}/cpuinfo_max_freq": "1800000\n",
            f"{cpu0}/scaling_cur_freq": "600000\n",
            f"{cpu0}/scaling_governor": "ondemand\n",
            f"{cpu0}/scaling_available_governors": "ondemand performance \n",
            "sys/class/thermal/thermal_zone0/temp": "48686\n",
            "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
            "sys/class/thermal/thermal_zone1/temp": "-274000\n",
            "sys/bus/usb/devices/2-1/idVendor": "18d1\n",
            "sys/bus/usb/devices/2-1/idProduct": "9302\n",
            "sys/fs/cgroup/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/memory.max": "1073741824\n",
        },
    )


def test_a_raspberry_pi(pi: Path) -> None:
    facts = measure(pi, pi)
    assert facts.board.model == "Raspberry Pi 4 Model B Rev 1.4"
    assert facts.board.vendor == "raspberrypi"
    assert (facts.os.name, facts.os.version, facts.os.kernel) == (
        "Debian GNU/Linux",
        "12",
        "6.1.21-v8+",
    )
    assert (facts.cpu.model, facts.cpu.vendor) == ("Cortex-A72", "ARM")
    assert (facts.cpu.logical_cores, facts.cpu.usable_cores) == (4, 2)
    assert facts.cpu.max_frequency_hz == 1_800_000_000
    assert facts.cpu.features == ("asimd", "crc32", "fp")
    assert facts.memory.total_bytes == 3884356 * 1024
    assert facts.memory.limit_bytes == 1 << 30
    assert [a.name for a in facts.accelerators] == ["Coral Edge TPU (USB)"]
    assert (
        Sensor("temperature", "cpu-thermal", "/sys/class/thermal/thermal_zone0/temp")
        in facts.sensors
    )
    governor = facts.controls[0]
    assert (governor.name, governor.current) == ("governor", "ondemand")
    assert governor.choices == ("ondemand", "performance")
    assert {"rpi", "rpi4", "debian", "linux", "tpu", "edgetpu"} <= set(facts.tags)
    assert read_temperature(pi) == 48.686


def test_a_jetson(tmp_path: Path) -> None:
    files = {
        "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
        "proc/cpuinfo": PI_CPUINFO.replace("0xd08", "0xd42"),
        "proc/meminfo": "MemTotal: 8000000 kB\n",
        "etc/nv_tegra_release": "# R35 (release), REVISION: 4.1, GCID: 1, BOARD: t186ref\n",
    }
    facts = measure(lay(tmp_path, files), tmp_path)
    assert facts.accelerators[0].vendor == "NVIDIA"
    assert {"jetson", "jetson-orin", "cuda", "gpu"} <= set(facts.tags)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref", "35.4.1"),
        ("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic", "36.4.3"),
        ("# R38 (release), REVISION: 2.0, GCID: 41844464, BOARD: generic", "38.2.0"),
        ("nonsense", None),
    ],
)
def test_versions_of_jetson_linux(tmp_path: Path, text: str, version: str | None) -> None:
    facts = measure(lay(tmp_path, {"etc/nv_tegra_release": text}), tmp_path)
    assert [a.driver_version for a in facts.accelerators] == [version]


def test_the_npu_of_a_rockchip_is_no_gpu(tmp_path: Path) -> None:
    files = {
        "sys/class/drm/renderD129/device/uevent": "DRIVER=RKNPU\n",
        "sys/class/drm/renderD128/device/uevent": "DRIVER=panthor\n",
        "sys/bus/platform/drivers/RKNPU/fdab0000.npu/uevent": "DRIVER=RKNPU\n",
        "sys/kernel/debug/rknpu/version": "RKNPU driver: v0.9.8\n",
    }
    found = measure(lay(tmp_path, files), tmp_path).accelerators
    assert [(a.kind, a.vendor, a.driver_version) for a in found] == [
        ("gpu", None, None),
        ("npu", "Rockchip", "0.9.8"),
    ]


def test_a_device_that_offers_nothing_reads_unavailable_never_zero(tmp_path: Path) -> None:
    facts = measure(tmp_path, tmp_path)
    assert facts.board.model is None and facts.board.container is None
    assert facts.cpu.model is None and facts.cpu.max_frequency_hz is None
    assert facts.cpu.physical_cores is None and facts.memory.limit_bytes is None
    assert facts.sensors == facts.accelerators == facts.controls == ()
    assert read_temperature(tmp_path) is None
    assert facts.cpu.logical_cores >= 1


STAT_V2 = "anon 5\nfile 50000000\nfile_mapped 9000000\nshmem 1000000\nx"
STAT_V1 = "cache 1\ntotal_cache 9870912\ntotal_mapped_file 3000000\ntotal_shmem 0"
LIMITS = {
    "version 2, our own group": (
        {
            "proc/self/cgroup": "0::/system.slice/agent.service\n",
            "sys/fs/cgroup/system.slice/agent.service/memory.max": "536870912\n",
            "sys/fs/cgroup/system.slice/agent.service/memory.current": "100000000\n",
            "sys/fs/cgroup/system.slice/agent.service/memory.stat": STAT_V2,
        },
        536870912,
        536870912 - 60_000_000,
    ),
    "version 2, a group above": (
        {
            "proc/self/cgroup": "0::/a/b\n",
            "sys/fs/cgroup/a/b/memory.max": "max\n",
            "sys/fs/cgroup/a/memory.max": "536870912\n",
            "sys/fs/cgroup/a/memory.current": "1000\n",
        },
        536870912,
        536870912 - 1000,
    ),
    "version 2, high below max": (
        {
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": "900000000\n",
            "sys/fs/cgroup/memory.high": "600000000\n",
        },
        600000000,
        600000000,
    ),
    "version 1": (
        {
            "proc/self/cgroup": "4:cpu,memory:/jobs\n0::/elsewhere\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/jobs/memory.limit_in_bytes": "536870912\n",
            "sys/fs/cgroup/memory/jobs/memory.usage_in_bytes": "36870912\n",
            "sys/fs/cgroup/memory/jobs/memory.stat": STAT_V1,
        },
        536870912,
        536870912 - 30_000_000,
    ),
    "a container that sees the host's path": (
        {
            "proc/self/cgroup": "4:memory:/docker/0123\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "536870912\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "0\n",
        },
        536870912,
        536870912,
    ),
    "a path that leads out": (
        {
            "proc/self/cgroup": "0::/../../etc\n",
            "sys/fs/cgroup/memory.max": "536870912\n",
        },
        536870912,
        536870912,
    ),
    "no limit": ({"proc/self/cgroup": "0::/\n"}, None, 900_000 * 1024),
    "a limit above the total": (
        {"sys/fs/cgroup/memory.max": "99999999999\n"},
        None,
        900_000 * 1024,
    ),
    "nonsense": (
        {"proc/self/cgroup": "\n:\n::\nx", "sys/fs/cgroup/memory.max": "much\n"},
        None,
        900_000 * 1024,
    ),
}


@pytest.mark.parametrize("case", LIMITS)
def test_limits_of_memory(tmp_path: Path, case: str) -> None:
    files, limit, free = LIMITS[case]
    meminfo = {"proc/meminfo": "MemTotal: 1000000 kB\nMemFree: 1 kB\nMemAvailable: 900000 kB\n"}
    root = lay(tmp_path, {**meminfo, **files})
    found = memory.probe(root)
    assert (found.total_bytes, found.limit_bytes) == (1000000 * 1024, limit)
    assert memory.available(root) == free


def test_free_space_is_unavailable_without_a_source(tmp_path: Path) -> None:
    assert memory.available(tmp_path) is None


FOREIGN = {
    "aarch64 by an emulator": ("aarch64", 8),
    "x86_64 by an emulator": ("x86_64", 8),
    "32-bit on a 64-bit kernel": (platform.machine(), 4),
    "our own": (platform.machine(), 8),
}


@pytest.mark.parametrize(
    ("machine", "pointer", "arch"),
    [
        ("x86_64", 8, "x86_64"),
        ("AMD64", 8, "x86_64"),
        ("arm64", 8, "aarch64"),
        ("aarch64", 8, "aarch64"),
        ("aarch64", 4, "armv7l"),
        ("armv8l", 4, "armv7l"),
        ("armv7l", 4, "armv7l"),
        ("armv6l", 4, "armv6l"),
        ("x86_64", 4, "i686"),
        ("i386", 4, "i686"),
        ("i586", 4, "i686"),
        ("riscv64", 8, "riscv64"),
        # The kernel says so to programs under `linux32`, also to 64-bit ones.
        ("armv8l", 8, "aarch64"),
        ("armv7l", 8, "aarch64"),
        ("i686", 8, "x86_64"),
    ],
)
def test_the_architecture_is_that_of_the_programs(machine: str, pointer: int, arch: str) -> None:
    assert system.arch(machine, pointer) == arch
