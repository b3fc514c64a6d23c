"""All kinds of faults: importing this module fills the registry."""

from __future__ import annotations

import kind_kills
import kind_network
import kind_pauses

__all__ = ["kind_kills", "kind_network", "kind_pauses"]
