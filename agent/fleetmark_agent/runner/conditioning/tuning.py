"""The settings of a stable run: they are made before the run and always restored afterwards.

Each change is in the journal on disk before it is made, so that an agent that was killed restores
it at its next start. A setting that another program has changed meanwhile is not restored.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetmark_agent.config.settings import STABLE_SETTINGS
from fleetmark_agent.fingerprint import sysfs
from fleetmark_agent.runner.conditioning.cpufreq import WANTED, plan_governor
from fleetmark_agent.runner.conditioning.device_programs import (
    CONTROLS,
    FULL_SPEED,
    CannotSet,
    ControlChange,
    NotOffered,
    PowerMode,
    remove_stored_values,
)
from fleetmark_core.atomic_file import sync_folder, write_atomic
from fleetmark_core.log import get_logger
from fleetmark_core.regular_file import read_regular

log = get_logger(__name__)

GOVERNOR = "governor"
JOURNAL = "tuning.json"
_BOOT = "proc/sys/kernel/random/boot_id"
_changing = threading.Lock()


@dataclass
class _Journal:
    """Changes that must be reversed: of files, and by programs."""

    boot: str
    settings: list[dict[str, str]] = field(default_factory=list)
    changes: list[ControlChange] = field(default_factory=list)

    def document(self) -> bytes:
        programs = [change.as_document() for change in self.changes]
        values = {"boot": self.boot, "settings": self.settings, "programs": programs}
        return json.dumps(values, indent=1).encode()


@dataclass
class _Report:
    """What was made of the settings, for the run's provenance."""

    governors: list[str] = field(default_factory=list)
    made: list[dict[str, str]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    unavailable: list[str] = field(default_factory=list)

    def as_provenance(self) -> dict[str, Any]:
        return {
            "governor": WANTED if any(one["name"] == GOVERNOR for one in self.made) else None,
            "governor_before": "+".join(sorted(set(self.governors))) or None,
            "settings": self.made,
            "not_set": [*self.unavailable, *self.refused],
            "refused": self.refused,
        }


class Tuning:
    """The settings of a device, by its files below `root`; the journal is in the agent's home."""

    def __init__(
        self,
        home: Path,
        root: Path,
        allowed: Collection[str] = STABLE_SETTINGS,
        power_mode: str = FULL_SPEED,
    ) -> None:
        """Set what may be changed; nothing is read or changed yet.

        Args:
            home: the agent's folder.
            root: the folder above the device's files and programs.
            allowed: names of `STABLE_SETTINGS` that may be changed.
            power_mode: the power mode of a Jetson that is wanted.
        """
        self.root = root
        self.home = home
        self.journal = home / JOURNAL
        self.allowed = allowed
        self._controls = {name: kind(root, home, power_mode) for name, kind in CONTROLS.items()}

    def apply(self) -> dict[str, Any]:
        """Change the settings that the device permits; return the changes for the run's provenance.

        Raises:
            OSError: the journal cannot be written; what was changed before is in it.
        """
        with _changing:
            # What could not be restored stays in the journal, with its value of before.
            journal = self._undo() or _Journal(self._boot())
            report = _Report()
            for name in STABLE_SETTINGS:
                if name not in self.allowed:
                    continue
                if name == GOVERNOR:
                    self._set_governor(journal, report)
                else:
                    self._set_by_program(name, journal, report)
            return report.as_provenance()

    def undo(self) -> None:
        """Restore the settings that the journal names, and delete the journal. Idempotent."""
        with _changing:
            self._undo()

    def plans(self) -> dict[str, str]:
        """Return the settings that a stable run would change, or why it cannot, by name."""
        found: dict[str, str] = {}
        for name in STABLE_SETTINGS:
            if name not in self.allowed:
                found[name] = "left as it is by stable_settings in config.toml"
            elif name == GOVERNOR:
                plan = plan_governor(self.root)
                why = [*plan.refused, *plan.unavailable]
                found[name] = why[0].partition(": ")[2] if why else f"{WANTED} can be set"
            else:
                control = self._controls[name]
                try:
                    changes = control.plan()
                except (CannotSet, NotOffered) as error:
                    found[name] = str(error)
                    continue
                if changes:
                    values = dict.fromkeys(control.shown(change.set) for change in changes)
                    found[name] = f"{', '.join(values)} can be set"
        return found

    def _set_governor(self, journal: _Journal, report: _Report) -> None:
        plan = plan_governor(self.root)
        kept = {setting["path"] for setting in journal.settings}
        plan.settings = [setting for setting in plan.settings if setting["path"] not in kept]
        report.refused += plan.refused
        report.unavailable += plan.unavailable
        report.governors += [setting["before"] for setting in plan.settings]
        if not plan.settings:
            return
        journal.settings += plan.settings
        write_atomic(self.journal, journal.document())
        for setting in plan.settings:
            try:
                (self.root / setting["path"]).write_text(setting["set"])
            except OSError as error:
                report.refused.append(f"{GOVERNOR}: {setting['path']}: {error.strerror}")
            else:
                target, before = setting["path"], setting["before"]
                report.made.append(
                    {"name": GOVERNOR, "target": target, "before": before, "set": WANTED}
                )

    def _set_by_program(self, name: str, journal: _Journal, report: _Report) -> None:
        if any(change.control == name for change in journal.changes):
            report.refused.append(f"{name}: the change of an earlier run could not be restored")
            return
        control = self._controls[name]
        try:
            changes = control.plan()
        except CannotSet as error:
            report.refused.append(f"{name}: {error}")
            return
        except NotOffered as error:
            report.unavailable.append(f"{name}: {error}")
            return
        for change in changes:
            journal.changes.append(change)
            write_atomic(self.journal, journal.document())
            try:
                control.apply(change)
            except (CannotSet, OSError) as error:
                # The change stays in the journal: it may have been made in part.
                report.refused.append(f"{name}: {error}")
            except NotOffered as error:
                report.unavailable.append(f"{name}: {error}")
            else:
                before, now = control.shown(change.before), control.shown(change.set)
                report.made.append(
                    {"name": name, "target": change.target, "before": before, "set": now}
                )

    def _undo(self) -> _Journal | None:
        """Restore what the journal names; return what could not be restored, if anything."""
        journal = self._read()
        if journal is None:
            return None
        settings, changes = journal.settings, journal.changes
        if journal.boot != self._boot():
            # A reboot has already restored all other settings.
            settings = []
            changes = [change for change in changes if CONTROLS[change.control].survives_boot]
            remove_stored_values(self.home)
        # All controls but the power mode are set after the governor.
        before = [change for change in changes if change.control == PowerMode.name]
        after = [change for change in changes if change.control != PowerMode.name]
        left = [change for change in reversed(after) if not self._reverse(change)]
        kept = [setting for setting in settings if not self._restore(setting)]
        left += [change for change in before if not self._reverse(change)]
        if not left and not kept:
            self._forget()
            return None
        remaining = _Journal(self._boot(), kept, left)
        try:
            write_atomic(self.journal, remaining.document())
        except OSError as error:
            # The journal of before is still complete.
            log.warning("journal of settings not removed", path=self.journal, error=error)
        return remaining

    def _boot(self) -> str:
        return sysfs.text(self.root / _BOOT) or ""

    def _restore(self, setting: dict[str, str]) -> bool:
        """Restore a file; return whether nothing is left to do."""
        path = self.root / setting["path"]
        if sysfs.text(path) != setting["set"]:
            return True
        try:
            path.write_text(setting["before"])
        except OSError as error:
            self._warn(str(path), setting["set"], error.strerror or error)
            return False
        log.info("setting restored", path=str(path), value=setting["before"])
        return True

    def _reverse(self, change: ControlChange) -> bool:
        """Reverse the change of a program; return whether nothing is left to do."""
        try:
            self._controls[change.control].undo(change)
        except (CannotSet, OSError) as error:
            self._warn(f"{change.control} {change.target}".strip(), change.set, error)
            return False
        log.info("setting restored", path=change.control, value=change.before)
        return True

    def _warn(self, path: str, value: str, error: object) -> None:
        log.warning("setting not restored", path=path, value=value, error=error)

    def _read(self) -> _Journal | None:
        try:
            document = json.loads(read_regular(self.journal))
            settings = [
                {name: str(setting[name]) for name in ("path", "before", "set")}
                for setting in document["settings"]
            ]
            # Older agents wrote no changes by programs.
            changes = [ControlChange.parse(one) for one in document.get("programs", [])]
            return _Journal(str(document["boot"]), settings, changes)
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
