"""Makes bundles whole: packs the harness, and obtains every blob that a lock names."""

from fleetmark_controller.artifacts.acquire import obtain
from fleetmark_controller.artifacts.harness import pack_harness

__all__ = ["obtain", "pack_harness"]
