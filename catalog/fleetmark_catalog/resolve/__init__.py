"""Expands requests to configurations, and resolves them on a device to a lockfile. Pure."""

from fleetmark_catalog.resolve.configuration import Configuration, expand
from fleetmark_catalog.resolve.device import system_component
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
    "expand",
    "resolve",
    "system_component",
    "wheels_for",
]
