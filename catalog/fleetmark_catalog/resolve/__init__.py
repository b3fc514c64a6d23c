"""Expands requests to configurations, and resolves them on a device to a lockfile. Pure."""

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
