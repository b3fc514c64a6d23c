"""Devices with the programs of their vendors, which answer and write files as the real ones do."""

from __future__ import annotations

from pathlib import Path

from tests.support.device_tree import DeviceTree

NVPMODEL_CONF = """
###########################
< POWER_MODEL ID=0 NAME=15W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=1 NAME=7W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
CPU_ONLINE CORE_0 1
< PM_CONFIG DEFAULT=0 >
"""
STATUS = "var/lib/nvpmodel/status"
CLOCKS = "clocks"
"""File of the fake device in which its clocks are: `dynamic` or `highest`."""
GPU = "GPU-01234567-89ab-cdef-0123-456789abcdef"
GPU_CLOCK = "gpu-clock"
CALLS = "calls"

_NVPMODEL = r"""#!/bin/sh
root={root}
echo "nvpmodel $*" >> $root/calls
if [ -e $root/kill-at ]; then
    read call < $root/kill-at
    if [ "$call" = "before nvpmodel $1" ]; then kill -9 $PPID; exit 1; fi
fi
if [ -e $root/slow ]; then sleep 2; fi
read line < $root/var/lib/nvpmodel/status
mode=${{line#pmode:}}; mode=${{mode#000}}
case "$1" in
-q) echo "NV Power Mode: MODE_$mode"; echo $mode;;
-m)
    if [ -e $root/wants-reboot ]; then
        echo "NVPM WARN: Reboot required for changing to this power mode: $2"
        echo "NVPM WARN: DO YOU WANT TO REBOOT NOW? enter YES/yes to confirm:"
        if read answer && [ "$answer" = YES ]; then echo rebooted > $root/rebooted; fi
        echo "NVPM ERROR: bad input!"; exit 1
    fi
    if [ -e $root/nvpmodel-fails ]; then echo "NVPM ERROR: out of order" >&2; exit 255; fi
    echo "pmode:000$2" > $root/var/lib/nvpmodel/status;;
esac
if [ "$call" = "after nvpmodel $1" ]; then kill -9 $PPID; fi
"""
_JETSON_CLOCKS = r"""#!/bin/sh
root={root}
echo "jetson_clocks $1" >> $root/calls
if [ -e $root/kill-at ]; then
    read call < $root/kill-at
    if [ "$call" = "before jetson_clocks ${{1:-set}}" ]; then kill -9 $PPID; exit 1; fi
fi
case "$1" in
--help) echo "usage: jetson_clocks [--store] [--restore]";;
--store)
    if [ -e "$2" ]; then
        echo "File $2 already exists. Can I overwrite it? Y/N:"
        read answer || exit 1
    fi
    read clocks < $root/clocks; echo "$clocks" > "$2";;
--restore)
    if [ ! -e "$2" ]; then echo "Error: $2 file not found !"; exit 1; fi
    if [ -e $root/restore-fails ]; then echo "out of order" >&2; exit 1; fi
    read clocks < "$2"; echo "$clocks" > $root/clocks;;
"") echo highest > $root/clocks;;
esac
if [ "$call" = "after jetson_clocks ${{1:-set}}" ]; then kill -9 $PPID; fi
"""
_NVIDIA_SMI = r"""#!/bin/sh
root={root}
echo "nvidia-smi $*" >> $root/calls
case "$*" in
--query-gpu=uuid*) echo "GPU-01234567-89ab-cdef-0123-456789abcdef, 2520";;
*-lgc*)
    if [ -e $root/no-locked-clocks ]; then
        echo "Setting locked GPU clocks is not supported for GPU 00000000:01:00.0."
        echo "Treating as warning and moving on."; echo "All done."; exit 0
    fi
    echo "$4" > $root/gpu-clock;;
*-rgc*) echo unlocked > $root/gpu-clock;;
esac
"""
_VCGENCMD = r"""#!/bin/sh
case "$1" in
version) echo "2024/09/10 14:40:05"; echo "Copyright (c) 2012 Broadcom"
    echo "version 6e3a3c8 (clean) (release) (start)";;
get_throttled) echo "throttled=0x50005";;
pmic_read_adc) echo "$(while read -r line; do echo "$line"; done < {root}/pmic)";;
esac
"""
PMIC = """ 3V7_WL_SW_A current(0)=0.00000000A
   3V3_SYS_A current(1)=0.10000000A
  VDD_CORE_A current(7)=2.50000000A
 3V7_WL_SW_V volt(8)=3.70000000V
   3V3_SYS_V volt(9)=3.30000000V
  VDD_CORE_V volt(15)=0.80000000V
     EXT5V_V volt(24)=5.15398000V
      BATT_V volt(25)=0.00000000V"""
"""Answer of a Raspberry Pi 5, shortened to three rails: 0, 0.33 and 2 W."""


class JetsonDevice(DeviceTree):
    """A Jetson Orin Nano with JetPack 6, in power mode 15W and with dynamic clocks."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.put("etc/nv_tegra_release", "# R36 (release), REVISION: 4.3, GCID: 38968081, "
                 "BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC 2025")  # fmt: skip
        self.put("etc/nvpmodel.conf", NVPMODEL_CONF)
        self.put(STATUS, "pmode:0000")
        self.put(CLOCKS, "dynamic")
        self.program("usr/sbin/nvpmodel", _NVPMODEL)
        self.program("usr/bin/jetson_clocks", _JETSON_CLOCKS)

    def program(self, path: str, script: str) -> Path:
        """Write a program, for shells with built-in commands only."""
        found = self.put(path, script.format(root=self.root))
        found.chmod(0o755)
        return found

    def calls(self) -> list[str]:
        """Return what was asked of the programs."""
        path = self.root / CALLS
        return path.read_text().splitlines() if path.exists() else []

    def state(self) -> tuple[str, str]:
        """Return the power mode and the clocks."""
        return self.get(STATUS), self.get(CLOCKS)


def add_gpu(tree: DeviceTree) -> None:
    """Add an NVIDIA GPU's program to a device."""
    tree.put(GPU_CLOCK, "unlocked")
    tree.put("usr/bin/nvidia-smi", _NVIDIA_SMI.format(root=tree.root)).chmod(0o755)


def add_vcgencmd(tree: DeviceTree, pmic: str = PMIC) -> Path:
    """Add the program of a Raspberry Pi's firmware."""
    tree.put("pmic", pmic)
    program = tree.put("usr/bin/vcgencmd", _VCGENCMD.format(root=tree.root))
    program.chmod(0o755)
    return program
