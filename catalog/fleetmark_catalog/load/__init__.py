"""Loads the catalog: components from folders, validated, with errors that name file and key."""

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
    Build,
    BuildRecipe,
    Choice,
    Component,
    Location,
    Requirement,
    Sdist,
    Tool,
    Variation,
    WheelFile,
    WheelSet,
)
from fleetmark_catalog.load.parse import component_bytes, read_component

__all__ = [
    "BUILTIN",
    "KINDS",
    "Artifact",
    "Build",
    "BuildRecipe",
    "Catalog",
    "Choice",
    "Component",
    "Location",
    "Requirement",
    "Sdist",
    "Tool",
    "Variation",
    "WheelFile",
    "WheelSet",
    "check_catalog",
    "component_bytes",
    "load_catalog",
    "read_component",
    "read_folder",
]
