"""Makes bundles whole: packs the harness, and obtains every blob that a lock names."""

from fleetmark_controller.bundling.harness import pack_harness
from fleetmark_controller.bundling.obtain import obtain

__all__ = ["obtain", "pack_harness"]
