"""Measures any model's speed under MLPerf LoadGen on random inputs that match its signature."""

from __future__ import annotations

import sys

from fleetmark_harness import tensor_job
from fleetmark_harness.run import main

if __name__ == "__main__":
    sys.exit(main(tensor_job.load))
