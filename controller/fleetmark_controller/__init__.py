"""The controller: registry, scheduler, results store and exports of a fleet."""

from fleetmark_core.version import VERSION

__version__ = VERSION
