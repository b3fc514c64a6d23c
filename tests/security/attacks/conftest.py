"""One controller for the whole table of attacks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.security.attacks.target import Target, start

CONFIG = f"refusals_per_minute = 1000\ndevice_bytes_per_day = {Target.daily_bytes}\n"


@pytest.fixture(scope="package")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    fleet = start(tmp_path_factory.mktemp("target"), CONFIG)
    try:
        made = Target(fleet)
        yield made
        made.close()
    finally:
        fleet.stop()
        print(fleet.log("controller")[-3000:])
