"""Build recipes: wheels that no index has, built once from pinned sources and stored by digest."""

from fleetmark_controller.wheelbuild.builder import Builder

__all__ = ["Builder"]
