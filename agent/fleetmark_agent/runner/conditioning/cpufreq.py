"""The CPU governor of a stable run: it is set before the run and always restored afterwards.

The previous settings are on disk before anything is changed, so that an agent that was killed
restores them at its next start. A setting that another program has changed meanwhile is not
restored.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from fleetmark_agent.fingerprint import sysfs
from fleetmark_core.atomic_file import sync_folder, write_atomic
from fleetmark_core.log import get_logger
from fleetmark_core.regular_file import read_regular

log = get_logger(__name__)

WANTED = "performance"
JOURNAL = "tuning.json"
_BOOT = "proc/sys/kernel/random/boot_id"


class Tuning:
    """The settings of a device, by its files below `root`; the journal is in the agent's home."""

    def __init__(self, home: Path, root: Path) -> None:
        """Set the paths; nothing is read or changed yet."""
        self.root = root
        self.journal = home / JOURNAL

    def apply(self) -> dict[str, Any]:
        """Change the settings that the device permits; return the changes for the run's provenance.

        Raises:
            OSError: the journal cannot be written; then nothing was changed.
        """
        self.undo()
        settings, reasons = self._wanted()
        if settings:
            boot = sysfs.text(self.root / _BOOT) or ""
            document = {"boot": boot, "settings": settings}
            write_atomic(self.journal, json.dumps(document, indent=1).encode())
        failed = []
        for setting in settings:
            try:
                (self.root / setting["path"]).write_text(setting["set"])
            except OSError as error:
                failed.append(f"{setting['path']}: {error.strerror}")
        done = len(settings) - len(failed)
        before = sorted({setting["before"] for setting in settings})
        return {
            "governor": WANTED if done else None,
            "governor_before": "+".join(before) or None,
            "not_set": [*reasons, *failed],
        }

    def undo(self) -> None:
        """Restore the settings that the journal names, and delete the journal. Idempotent."""
        document = self._read()
        if document is None:
            return
        # A reboot has already restored the settings.
        settings = document["settings"]
        if document["boot"] != (sysfs.text(self.root / _BOOT) or ""):
            settings = []
        failed = False
        for setting in settings:
            path = self.root / setting["path"]
            if sysfs.text(path) != setting["set"]:
                continue
            try:
                path.write_text(setting["before"])
                log.info("setting restored", path=str(path), value=setting["before"])
            except OSError as error:
                failed = True
                log.warning(
                    "setting not restored",
                    path=str(path),
                    value=setting["set"],
                    error=error.strerror or error,
                )
        if not failed:
            self._forget()

    def _wanted(self) -> tuple[list[dict[str, str]], list[str]]:
        """Return the settings to change, and the reasons why others are not changed."""
        settings: list[dict[str, str]] = []
        reasons: list[str] = []
        cpu = self.root / "sys/devices/system/cpu"
        policies = sorted(cpu.glob("cpufreq/policy[0-9]*")) or sorted(cpu.glob("cpu[0-9]*/cpufreq"))
        if not policies:
            reasons.append("governor: the device has no cpufreq")
        for policy in policies:
            path = policy / "scaling_governor"
            now = sysfs.text(path)
            choices = (sysfs.text(policy / "scaling_available_governors") or "").split()
            shown = path.relative_to(self.root).as_posix()
            if now is None or WANTED not in choices:
                reasons.append(f"governor: {shown} does not offer {WANTED}")
            elif now == WANTED:
                continue
            elif not os.access(path, os.W_OK):
                reasons.append(f"governor: {shown} may only be changed by root")
            else:
                settings.append({"path": shown, "before": now, "set": WANTED})
        return settings, reasons

    def _read(self) -> dict[str, Any] | None:
        try:
            document = json.loads(read_regular(self.journal))
            settings = [
                {name: str(setting[name]) for name in ("path", "before", "set")}
                for setting in document["settings"]
            ]
            return {"boot": str(document["boot"]), "settings": settings}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            log.warning(
                "journal of settings not read",
                path=self.journal,
                error=error,
                hint="The settings that it lists stay as they are",
            )
            self._forget()
            return None

    def _forget(self) -> None:
        try:
            self.journal.unlink(missing_ok=True)
            sync_folder(self.journal.parent)
        except OSError as error:
            log.warning("journal of settings not removed", path=self.journal, error=error)
