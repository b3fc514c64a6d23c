"""Classifies strings, given as bytes or tokens, under MLPerf LoadGen."""

from __future__ import annotations

import sys

from fleetmark_harness import classify
from fleetmark_harness.run import main

if __name__ == "__main__":
    sys.exit(main(classify.load))
