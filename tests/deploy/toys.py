"""The toy catalog of the fault tests, whose job takes as long as one wants."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_PATH = Path(__file__).parent.parent / "faults" / "toy.py"
_SPEC = importlib.util.spec_from_file_location("fleetmark_toy", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)

TOY: str = _MODULE.NAME
make_catalog = _MODULE.make_catalog
