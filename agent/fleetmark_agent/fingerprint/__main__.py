"""Command that prints the capabilities as JSON: `python -I -m fleetmark_agent.fingerprint …`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fleetmark_agent.fingerprint import measure
from fleetmark_core.digest import canonical_json
from fleetmark_core.sandbox_levels import BUBBLEWRAP
from fleetmark_core.serde import to_plain

parser = argparse.ArgumentParser()
parser.add_argument("--home", type=Path, required=True)
parser.add_argument("--sandbox", default=BUBBLEWRAP)
parser.add_argument("--system-root", type=Path, default=Path("/"))
asked = parser.parse_args()
facts = measure(home=asked.home, sandbox=asked.sandbox, system_root=asked.system_root)
sys.stdout.buffer.write(canonical_json(to_plain(facts)))
