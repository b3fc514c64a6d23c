"""From a request to configurations, and from a configuration and a device to a lock. Pure."""

from fleetmark_catalog.resolve.configuration import Configuration, expand
from fleetmark_catalog.resolve.device import board_type
from fleetmark_catalog.resolve.resolver import resolve, wheels_for
from fleetmark_catalog.resolve.result import (
    BuiltWheel,
    Fetch,
    LocalFile,
    Resolution,
    Source,
    WheelSource,
)

__all__ = [
    "BuiltWheel",
    "Configuration",
    "Fetch",
    "LocalFile",
    "Resolution",
    "Source",
    "WheelSource",
    "board_type",
    "expand",
    "resolve",
    "wheels_for",
]
