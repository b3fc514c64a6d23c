"""Devices that are laid out below a folder: small programs, Pythons with modules, kernel files."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from fleetmark_agent.software.detection_cache import builtin_folder
from fleetmark_agent.software.engine import detect
from fleetmark_agent.software.models import Finding
from fleetmark_agent.software.rules import DetectionRule, load_rules
from fleetmark_agent.software.search_paths import SearchPaths

BASE = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
RULES: dict[str, DetectionRule] = {rule.name: rule for rule in load_rules(builtin_folder())[0]}

_BOOTSTRAP = """
import sys
sys.path.insert(0, {site!r})
sys.executable = sys._base_executable = {path!r}
code, sys.argv = sys.argv[4], ["-c", *sys.argv[5:]]
exec(code)
"""


class DetectionDevice:
    """One device's file tree."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bin = root / "usr/bin"
        self.bin.mkdir(parents=True)

    def program(self, name: str, script: str) -> Path:
        """Write a program of the device: a shell script with shell built-ins only."""
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    def file(self, name: str, content: str | bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def python(self, name: str = "python3") -> Path:
        """Make a Python of the device; return the folder of its modules."""
        site = self.root / "site" / name
        site.mkdir(parents=True)
        boot = self.file(
            f"boot/{name}.py", _BOOTSTRAP.format(site=str(site), path=str(self.bin / name))
        )
        # Called as: python3 -I -B -c CODE ARGUMENTS.
        self.program(name, f'exec {BASE} -I -B {boot} "$@"')
        return site

    def place(self) -> SearchPaths:
        return SearchPaths.below(self.root)

    def find(self, *rules: str | DetectionRule, **more: float) -> list[Finding]:
        chosen = [RULES[rule] if isinstance(rule, str) else rule for rule in rules]
        return list(detect(self.place(), chosen, **more).findings)

    def verdicts(self, *rules: str | DetectionRule) -> list[tuple[str, str]]:
        return [(found.verdict.value, found.version) for found in self.find(*rules)]


def has_ended(pid: int) -> bool:
    """Wait until a process has ended; return False if it goes on."""
    for _ in range(500):
        try:
            # A zombie runs no more.
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False
