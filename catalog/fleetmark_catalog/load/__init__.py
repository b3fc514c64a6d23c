"""Reads the catalog: components from folders, validated, with errors that name file and key."""

from fleetmark_catalog.load.catalog import (
    BUILTIN,
    Catalog,
    check_catalog,
    load_catalog,
    read_folder,
)
from fleetmark_catalog.load.model import (
    KINDS,
    Artifact,
    Choice,
    Component,
    Location,
    Requirement,
    Variation,
    WheelFile,
    WheelSet,
)
from fleetmark_catalog.load.read import read_component

__all__ = [
    "BUILTIN",
    "KINDS",
    "Artifact",
    "Catalog",
    "Choice",
    "Component",
    "Location",
    "Requirement",
    "Variation",
    "WheelFile",
    "WheelSet",
    "check_catalog",
    "load_catalog",
    "read_component",
    "read_folder",
]
