"""Checks an order before anything runs: `python -I -m fleetmark_agent.helpers.verify_order`.

A process of its own, because an idle agent must not carry what it loads. It reads one JSON document
from stdin (`Task`) and prints one: {"catalog_sha256", "serial", "release_sha256"}, or {"fault",
"what"} where the order must not be followed.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from fleetmark_core.errors import FleetmarkError
from fleetmark_core.order_verification import Trusted, vouch
from fleetmark_core.regular_file import read_regular


@dataclass(frozen=True)
class Task:
    """What is trusted, and what is to be checked: the order itself, and where the rest lies."""

    ca: str
    catalog_sha256: str
    serial: int
    release_sha256: str
    now_unix_s: int
    order: str
    release: str
    lock: str


def main() -> int:
    """0: there is an answer, whichever."""
    task = Task(**json.loads(sys.stdin.read()))
    try:
        trusted = Trusted(
            read_regular(Path(task.ca)),
            task.catalog_sha256,
            task.serial,
            task.release_sha256,
            task.now_unix_s,
        )
        release, lock = read_regular(Path(task.release)), read_regular(Path(task.lock))
        answer = asdict(vouch(trusted, task.order.encode(), release, lock))
    except FleetmarkError as error:
        answer = {"fault": error.kind.name, "what": str(error)}
    print(json.dumps(answer))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
