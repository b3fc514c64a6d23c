"""All kinds of faults: importing this module fills the registry."""

from __future__ import annotations

import kind_clocks
import kind_disks
import kind_ends
import kind_kills
import kind_network
import kind_pauses

__all__ = ["kind_clocks", "kind_disks", "kind_ends", "kind_kills", "kind_network", "kind_pauses"]
