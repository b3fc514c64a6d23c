"""Versions of ONNX that the catalog's versions of ONNX Runtime can run."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

from fleetmark_catalog.load import Catalog
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.versions import compare

PACKAGE = "onnxruntime"


@dataclass(frozen=True)
class OnnxLimit:
    """Versions of the file format (IR) and of the operator set of ONNX's main domain."""

    ir: int
    opset: int

    def covers(self, other: OnnxLimit) -> bool:
        """Return whether both versions are at least those of `other`."""
        return self.ir >= other.ir and self.opset >= other.opset


def onnx_limits(catalog: Catalog) -> dict[str, OnnxLimit]:
    """Return what each version of ONNX Runtime can run, the default version first.

    A version without limits in its component is left out.
    """
    component = catalog.find("package", PACKAGE)
    if component is None:
        return {}
    table = component.body.get("onnx", {})
    return {
        version: OnnxLimit(table[version]["ir"], table[version]["opset"])
        for version in component.versions()
        if version in table
    }


def required_version(model: OnnxLimit, limits: Mapping[str, OnnxLimit], where: str) -> str:
    """Return the oldest version that can run a model; empty if the default one can.

    Args:
        model: versions of the model.
        limits: limits by version of the runtime, the default first; empty if they are not known.
        where: name of the model's file, for the error.

    Raises:
        FleetmarkError: BAD_DOCUMENT: no version can run it.
    """
    if not limits or next(iter(limits.values())).covers(model):
        return ""
    able = [version for version, limit in limits.items() if limit.covers(model)]
    if able:
        return min(able, key=functools.cmp_to_key(compare))
    newest = max(limits, key=lambda version: (limits[version].ir, limits[version].opset))
    limit = limits[newest]
    raise FleetmarkError(
        ErrorKind.BAD_DOCUMENT,
        f"has IR version {model.ir} and opset {model.opset}; the newest onnxruntime in the "
        f"catalog, {newest}, runs IR versions up to {limit.ir} and opsets up to {limit.opset}",
        where,
        f"Export the model for opset {limit.opset} or older",
    )
