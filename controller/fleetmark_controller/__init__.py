"""The controller: registry, scheduler, results store and exports of a fleet."""

__version__ = "0.1.0"
