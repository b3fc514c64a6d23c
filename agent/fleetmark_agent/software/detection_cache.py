"""Remembers in the agent's home what was detected, so that a restart need not look again."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from fleetmark_agent.software.models import Detection
from fleetmark_core.atomic_file import write_atomic
from fleetmark_core.digest import canonical_json
from fleetmark_core.errors import FleetmarkError
from fleetmark_core.regular_file import read_regular
from fleetmark_core.serde import parse_own, to_plain

_FRESH_S = 600.0
_MAX_BYTES = 4 * 1024 * 1024


def builtin_folder() -> Path:
    """Where the rules lie that are installed with the agent."""
    import fleetmark_catalog

    return Path(fleetmark_catalog.__file__).parent / "components" / "soft"


def rules_digest(folder: Path) -> str:
    """Changes when a rule does."""
    import hashlib

    digest = hashlib.sha256()
    for path in sorted(folder.glob("*/component.toml")):
        with contextlib.suppress(OSError):
            data = path.read_bytes()
            digest.update(f"{path.parent.name} {len(data)} ".encode() + data)
    return digest.hexdigest()


def boot_mark(root: Path = Path("/")) -> str:
    """Names the kernel's present life; empty where it has no name."""
    try:
        return (root / "proc/sys/kernel/random/boot_id").read_text().strip()[:60]
    except (OSError, UnicodeDecodeError):
        return ""


def load(home: Path, rules: str | None = None) -> Detection | None:
    """What was detected last by these rules since this boot; None if nothing was.

    `rules` is their digest, where it is known already.
    """
    try:
        data = read_regular(home / "software.json", _MAX_BYTES)
        found = parse_own(Detection, data, "software.json")
    except (OSError, FleetmarkError):
        return None
    same = (found.rules_digest, found.boot) == (
        rules or rules_digest(builtin_folder()),
        boot_mark(),
    )
    return found if same else None


def save(home: Path, detection: Detection) -> None:
    """Remember it, if the disk takes it: without, the next start looks again."""
    with contextlib.suppress(OSError):
        data = canonical_json(to_plain(detection))
        write_atomic(home / "software.json", data, durable=False)


def is_fresh(detection: Detection, now_unix_s: float | None = None) -> bool:
    """Whether it is so young that a restart need not look again."""
    now = time.time() if now_unix_s is None else now_unix_s
    return 0 <= now - detection.finished_unix_s < _FRESH_S
