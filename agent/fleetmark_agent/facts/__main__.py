"""Prints the board's facts as JSON: `python -I -m fleetmark_agent.facts --home DIR …`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fleetmark_agent.facts import measure
from fleetmark_catalog.core.digest import canonical_json
from fleetmark_catalog.core.plain import to_plain
from fleetmark_catalog.core.sandbox import BUBBLEWRAP

parser = argparse.ArgumentParser()
parser.add_argument("--home", type=Path, required=True)
parser.add_argument("--sandbox", default=BUBBLEWRAP)
asked = parser.parse_args()
facts = measure(home=asked.home, sandbox=asked.sandbox)
sys.stdout.buffer.write(canonical_json(to_plain(facts)))
