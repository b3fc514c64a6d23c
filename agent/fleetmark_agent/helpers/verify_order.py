"""Verify an order before it is executed: `python -I -m fleetmark_agent.helpers.verify_order`.

It is a separate process, so that an idle agent does not hold the modules that it loads. It reads
one JSON document (`VerificationTask`) from stdin and prints one: {"catalog_sha256", "serial",
"release_sha256"}, or {"fault", "what"} if the order must not be executed.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from fleetmark_core.errors import FleetmarkError
from fleetmark_core.order_verification import TrustState, verify_order
from fleetmark_core.regular_file import read_regular


@dataclass(frozen=True)
class VerificationTask:
    """The trust anchors, the order to verify, and the paths of CA, release and lockfile."""

    ca: str
    catalog_sha256: str
    serial: int
    release_sha256: str
    now_unix_s: int
    order: str
    release: str
    lock: str


def main() -> int:
    """Print the result of the verification, valid or not; return 0."""
    task = VerificationTask(**json.loads(sys.stdin.read()))
    try:
        trusted = TrustState(
            read_regular(Path(task.ca)),
            task.catalog_sha256,
            task.serial,
            task.release_sha256,
            task.now_unix_s,
        )
        release, lock = read_regular(Path(task.release)), read_regular(Path(task.lock))
        verified = verify_order(trusted, task.order.encode(), release, lock)
        # Keys of the stored trust file and of the provenance of a run, which are promises.
        answer = {
            "catalog_sha256": verified.root_sha256,
            "serial": verified.version,
            "release_sha256": verified.release_sha256,
        }
    except FleetmarkError as error:
        answer = {"fault": error.kind.name, "what": str(error)}
    print(json.dumps(answer))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
