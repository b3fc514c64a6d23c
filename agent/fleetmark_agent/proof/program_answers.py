"""Answers of the vendors' programs, which a recorded device gives again. Nothing is changed."""

from __future__ import annotations

from pathlib import Path

from fleetmark_agent.proof.scrub import Scrubber
from fleetmark_core import subprocesses

_LIMIT_S = 10.0
_PROPERTIES = (
    *("ro.product.manufacturer", "ro.product.model", "ro.product.device", "ro.hardware"),
    *("ro.soc.manufacturer", "ro.soc.model", "ro.board.platform", "ro.build.version.release"),
    *("ro.build.version.sdk", "ro.product.cpu.abilist"),
)
QUESTIONS: dict[str, tuple[tuple[str, ...], ...]] = {
    "usr/sbin/nvpmodel": (("-q",),),
    "usr/bin/jetson_clocks": (("--help",), ("--show",)),
    "usr/bin/vcgencmd": (("version",), ("get_throttled",), ("pmic_read_adc",)),
    "opt/vc/bin/vcgencmd": (("version",), ("get_throttled",)),
    "usr/bin/nvidia-smi": (
        ("--query-gpu=name,driver_version,memory.total", "--format=csv,noheader,nounits"),
        ("--query-gpu=uuid,clocks.max.graphics", "--format=csv,noheader,nounits"),
    ),
    "system/bin/getprop": tuple((name,) for name in _PROPERTIES),
    "system/bin/dumpsys": (("battery",), ("thermalservice",)),
}
"""Programs below the root and their arguments; all of them only read."""


def ask_programs(root: Path, scrubber: Scrubber) -> list[dict[str, object]]:
    """Return the answers of the programs that the device has."""
    found: list[dict[str, object]] = []
    for name, questions in QUESTIONS.items():
        program = root / name
        for arguments in questions if program.is_file() else ():
            ran = subprocesses.run_tool([str(program), *arguments], _LIMIT_S)
            found.append(
                {
                    "program": name,
                    "arguments": list(arguments),
                    "output": scrubber.text(ran.output),
                    "errors": scrubber.text(ran.errors),
                    "fault": ran.fault,
                }
            )
    return found
