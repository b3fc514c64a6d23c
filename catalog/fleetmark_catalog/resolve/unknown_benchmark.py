"""Help for a name that is no benchmark and no suite. Pure."""

from __future__ import annotations

from fleetmark_catalog.load.catalog import Catalog
from fleetmark_catalog.resolve.well_known_models import find_alias, find_well_known
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.suggest import nearest

_KINDS = ("benchmark", "suite", "model")
_LISTED = 12
_SHOWN = 80
"""Longest name that is repeated."""


def unknown_benchmark_error(catalog: Catalog, name: str) -> FleetmarkError:
    """Return the error for a name that the catalog has neither as a benchmark nor as a suite.

    It says what the name may mean, or for a well-known model of MLPerf what is missing, where the
    file comes from and how to provide it.
    """
    shown = name[:_SHOWN]
    missing = f"the catalog has no benchmark or suite {shown!r}"
    if catalog.has("model", name):
        what = f"{shown!r} is a model, and jobs run a benchmark or a suite"
        return _error(what, _benchmarks_with(catalog, name))
    alias = find_alias(name)
    if catalog.has("benchmark", alias):
        title = catalog.get("benchmark", alias).title
        return _error(missing, f"Run `controller schedule {alias}`: {title}")
    model = find_well_known(name)
    if model is not None:
        return _error(
            f"{missing}: the model ({model.task}) is missing",
            f"Get {model.file} from {model.place}, then run `controller catalog import "
            f"{model.file} --name {model.name}` and `controller schedule {model.name}`",
        )
    own = "For a model of your own, run `controller catalog import FILE`"
    return _error(missing, " ".join(part for part in (_similar(catalog, name), own) if part))


def _error(what: str, advice: str) -> FleetmarkError:
    return FleetmarkError(ErrorKind.NOT_FOUND, what, "", advice)


def _similar(catalog: Catalog, name: str) -> str:
    """Return the most similar name of each kind as a question, or else the known benchmarks."""
    found = []
    for kind in _KINDS:
        near = nearest(name, [part.name for part in catalog.all(kind)])
        if near:
            found.append(f"{kind} {near!r}")
    if found:
        return f"Did you mean {' or '.join(found)}?"
    names = sorted(part.name for kind in _KINDS[:2] for part in catalog.all(kind))
    more = ", …" if len(names) > _LISTED else ""
    return f"Known: {', '.join(names[:_LISTED])}{more}." if names else ""


def _benchmarks_with(catalog: Catalog, model: str) -> str:
    """Return how to schedule a model of the catalog: its benchmarks, each with its variation."""
    commands = []
    for benchmark in catalog.all("benchmark"):
        if any(choice.name == model for need in benchmark.requires for choice in need.choices):
            commands.append(f"`controller schedule {benchmark.name}`")
            continue
        for word, variation in benchmark.variations.items():
            choices = [choice for need in variation.requires for choice in need.choices]
            if any(choice.kind == "model" and choice.name == model for choice in choices):
                commands.append(f"`controller schedule {benchmark.name} --variation {word}`")
                break
    if commands:
        return f"Run {' or '.join(commands[:3])}"
    return f"Add a benchmark that requires model/{model}"
