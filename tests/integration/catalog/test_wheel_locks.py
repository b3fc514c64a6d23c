from __future__ import annotations

import json

import pytest

from fleetmark_catalog.load.wheels import lock_package
from tests.unit.catalog.test_wheel_locks import CATALOG


def test_the_generator_makes_the_same_lock_again() -> None:
    package = CATALOG.get("package", "mlcommons-loadgen")
    try:
        document = lock_package(CATALOG, package, upgrade=False)
    except SystemExit as error:
        pytest.skip(f"no package index: {error}")
    if not document["sets"]:
        pytest.skip("no package index")
    assert (
        json.dumps(document, indent=1, sort_keys=True) + "\n"
        == (package.folder / "wheels.json").read_text()
    )
