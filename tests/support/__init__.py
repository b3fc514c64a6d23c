"""What several areas of tests share."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
DATA = TESTS / "data"
LOADGEN_LOGS = DATA / "loadgen"
DEVICE_TREES = DATA / "devices"
MACHINES = DATA / "machines"
