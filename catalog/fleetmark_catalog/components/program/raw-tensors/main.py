"""Measures any model's speed on random inputs of its own signature under MLPerf LoadGen."""

from __future__ import annotations

import sys

from fleetmark_harness import tensors
from fleetmark_harness.run import main

if __name__ == "__main__":
    sys.exit(main(tensors.load))
