"""The catalog as it is after an admin has confirmed all files of which only an MD5 is known."""

from __future__ import annotations

import dataclasses

from fleetmark_catalog.load import Catalog, Component
from fleetmark_core.digest import sha256_hex


def with_all_confirmed(catalog: Catalog) -> Catalog:
    """Return the catalog in which each file with an MD5 has a SHA-256 and the size 1.

    The SHA-256 is made from the MD5: there are no such bytes.
    """
    return catalog.replacing([_confirmed(component) for component in catalog.all()])


def _confirmed(component: Component) -> Component:
    return dataclasses.replace(
        component,
        artifacts=tuple(
            dataclasses.replace(artifact, sha256=sha256_hex(artifact.md5.encode()), size_bytes=1)
            if artifact.md5
            else artifact
            for artifact in component.artifacts
        ),
    )
