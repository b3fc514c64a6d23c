"""Complete bundles: pack the harness, and obtain every blob that a lockfile names."""

from fleetmark_controller.artifacts.acquire import obtain
from fleetmark_controller.artifacts.harness import pack_harness

__all__ = ["obtain", "pack_harness"]
