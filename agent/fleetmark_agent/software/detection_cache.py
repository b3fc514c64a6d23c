"""Stores the last detection in the agent's home, so that a restart can reuse it."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from fleetmark_agent.software.models import DetectedSoftware
from fleetmark_core.atomic_file import write_atomic
from fleetmark_core.digest import canonical_json
from fleetmark_core.errors import FleetmarkError
from fleetmark_core.regular_file import read_regular
from fleetmark_core.serde import parse_trusted, to_plain

_FRESH_S = 600.0
_MAX_BYTES = 4 * 1024 * 1024


def builtin_folder() -> Path:
    """Return the folder of the rules that are installed with the agent."""
    import fleetmark_catalog

    return Path(fleetmark_catalog.__file__).parent / "components" / "soft"


def rules_digest(folder: Path) -> str:
    """Return a digest that changes when a rule changes."""
    import hashlib

    digest = hashlib.sha256()
    for path in sorted(folder.glob("*/component.toml")):
        with contextlib.suppress(OSError):
            data = path.read_bytes()
            digest.update(f"{path.parent.name} {len(data)} ".encode() + data)
    return digest.hexdigest()


def boot_mark(root: Path = Path("/")) -> str:
    """Return the kernel's boot id; an empty string if it has none."""
    try:
        return (root / "proc/sys/kernel/random/boot_id").read_text().strip()[:60]
    except (OSError, UnicodeDecodeError):
        return ""


def load(home: Path, rules: str | None = None) -> DetectedSoftware | None:
    """Return the last detection with these rules since this boot, or None.

    Args:
        home: the agent's home.
        rules: the digest of the rules, if it is already known.
    """
    try:
        data = read_regular(home / "software.json", _MAX_BYTES)
        found = parse_trusted(DetectedSoftware, data, "software.json")
    except (OSError, FleetmarkError):
        return None
    same = (found.rules_digest, found.boot) == (
        rules or rules_digest(builtin_folder()),
        boot_mark(),
    )
    return found if same else None


def save(home: Path, detection: DetectedSoftware) -> None:
    """Store the detection; ignore a failed write, after which the next start detects again."""
    with contextlib.suppress(OSError):
        data = canonical_json(to_plain(detection))
        write_atomic(home / "software.json", data, durable=False)


def is_fresh(detection: DetectedSoftware, now_unix_s: float | None = None) -> bool:
    """Return whether the detection is so recent that a restart need not repeat it."""
    now = time.time() if now_unix_s is None else now_unix_s
    return 0 <= now - detection.finished_unix_s < _FRESH_S
