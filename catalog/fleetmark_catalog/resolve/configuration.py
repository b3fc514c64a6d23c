"""Configurations of a benchmark, and the expansion of a request to a grid of them."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fleetmark_catalog.load.catalog import Catalog
from fleetmark_catalog.load.model import Component
from fleetmark_catalog.resolve.selection import Selection, alternatives, select, with_tags
from fleetmark_catalog.resolve.unknown_benchmark import unknown_benchmark_error
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.modes import CROSSCHECK, modes_of
from fleetmark_core.parameter_values import parse_value
from fleetmark_core.suggest import hint

COMPLIANCE = "compliance"
"""Represents all compliance tests of a benchmark where modes are named."""


@dataclass(frozen=True)
class Configuration:
    """One way to run a benchmark. `parameters` contains those that were set, not the defaults."""

    benchmark: str
    variations: tuple[str, ...]
    scenario: str
    mode: str
    profile: str
    parameters: dict[str, Any] = field(default_factory=dict)

    def label(self) -> str:
        """Return text for users: `fashion-mnist fp32,onnx SingleStream performance threads=2`."""
        parts = [self.benchmark, ",".join(self.variations), self.scenario, self.mode]
        parts += [f"{name}={value}" for name, value in sorted(self.parameters.items())]
        return " ".join(part for part in parts if part)


@dataclass(frozen=True)
class _Member:
    """A benchmark of a suite with the suite's settings for it, or a single benchmark."""

    benchmark: Component
    variations: tuple[str, ...] = ()
    scenarios: tuple[str, ...] = ()
    modes: tuple[str, ...] = ()


def expand(
    catalog: Catalog,
    name: str,
    *,
    scenarios: Sequence[str] = (),
    modes: Sequence[str] = (),
    variations: Sequence[str] = (),
    parameters: Mapping[str, Sequence[str]] | None = None,
    profile: str = "quick",
) -> list[Configuration]:
    """Return all configurations of benchmark or suite `name`, in a stable order, each once.

    Empty `scenarios` and `modes` mean those of the component, but for scenarios on request,
    compliance tests and find-performance. `variations` are added to a suite member's own ones and
    win within their group; several of one exclusive group are an axis of the grid. `parameters`
    maps a name to the texts of its values, which are axes as well. A parameter that only some
    scenarios or runtimes have is left out of the others.

    Raises:
        FleetmarkError: NOT_FOUND for the benchmark; UNKNOWN_WORD for any other word, for a value
            out of range, with the closest or the allowed ones, and for a parameter that none of the
            runtimes has.
    """
    found: dict[str, Configuration] = {}
    applied: set[str] = set()
    adapters: set[str] = set()
    definitions: dict[str, Mapping[str, Any]] = {}
    for member in _members(catalog, name):
        for words in alternatives(catalog, member.benchmark, member.variations, variations):
            selection = select(catalog, member.benchmark, member.variations, words)
            possible = _possible_adapters(catalog, selection)
            for configuration in _expand_member(
                member, selection, scenarios, modes, parameters or {}, profile, possible
            ):
                found.setdefault(configuration.label(), configuration)
            adapters |= possible
            known = selection.body(selection.only("program")).get("parameters", {})
            definitions.update({key: known[key] for key in parameters or {}})
            applied |= {key for key in parameters or {} if _fits_runtime(known[key], possible)}
    for key in sorted(set(definitions) - applied):
        raise FleetmarkError(
            ErrorKind.UNKNOWN_WORD,
            f"parameter {key} does not apply to runtime {' or '.join(sorted(adapters)) or 'none'}",
            "",
            f"It applies to {', '.join(definitions[key]['runtimes'])}",
        )
    return list(found.values())


def _expand_member(
    member: _Member,
    selection: Selection,
    scenarios: Sequence[str],
    modes: Sequence[str],
    parameters: Mapping[str, Sequence[str]],
    profile: str,
    adapters: Collection[str],
) -> Iterator[Configuration]:
    body = selection.body(member.benchmark)
    program = selection.only("program")
    known = body["scenarios"]
    wanted = (
        _checked("scenario", scenarios, known, member.benchmark)
        or member.scenarios
        or [scenario for scenario in known if not known[scenario].get("on_request")]
    )
    own = selection.body(program)
    chosen_modes = _modes(modes, body, own, member.benchmark) or member.modes or body["modes"]
    _checked("profile", [profile], body["profiles"], member.benchmark)
    for scenario in wanted:
        _checked("scenario", [scenario], body["profiles"][profile], member.benchmark)
    grid = _grid(selection, program, parameters, profile, wanted)
    for scenario, mode, point in itertools.product(wanted, chosen_modes, grid):
        yield Configuration(
            benchmark=member.benchmark.name,
            variations=selection.words,
            scenario=scenario,
            mode=mode,
            profile=profile,
            parameters={
                key: value
                for key, value in point.items()
                if _applies(program, key, scenario)
                and _fits_runtime(program.body["parameters"][key], adapters)
            },
        )


def _members(catalog: Catalog, name: str) -> list[_Member]:
    if catalog.has("suite", name):
        return [
            _Member(
                catalog.get("benchmark", member["benchmark"]),
                tuple(member.get("variations", ())),
                tuple(member.get("scenarios", ())),
                tuple(member.get("modes", ())),
            )
            for member in catalog.get("suite", name).body["members"]
        ]
    if catalog.has("benchmark", name):
        return [_Member(catalog.get("benchmark", name))]
    raise unknown_benchmark_error(catalog, name)


def _modes(
    words: Sequence[str], body: Mapping[str, Any], program: Mapping[str, Any], benchmark: Component
) -> tuple[str, ...]:
    """Return the modes for these words; COMPLIANCE expands to all tests that the benchmark has."""
    tests = list(body.get("compliance", {}))
    # A cross-check explains a stored run, so that it cannot be scheduled like a benchmark.
    own = [mode for mode in modes_of(body, program) if mode != CROSSCHECK]
    allowed = [*own, *([COMPLIANCE] if tests else [])]
    found: list[str] = []
    for word in _checked("mode", words, allowed, benchmark):
        found.extend(tests if word == COMPLIANCE else [word])
    return tuple(dict.fromkeys(found))


def _checked(
    what: str, words: Sequence[str], allowed: Iterable[str], benchmark: Component
) -> tuple[str, ...]:
    allowed = list(allowed)
    for word in words:
        if word not in allowed:
            raise FleetmarkError(
                ErrorKind.UNKNOWN_WORD,
                f"benchmark {benchmark.name} has no {what} {word!r}",
                "",
                hint(word, allowed),
            )
    return tuple(dict.fromkeys(words))


def _grid(
    selection: Selection,
    program: Component,
    parameters: Mapping[str, Sequence[str]],
    profile: str,
    scenarios: Sequence[str],
) -> list[dict[str, Any]]:
    known = selection.body(program).get("parameters", {})
    axes: dict[str, list[Any]] = {}
    for key, texts in sorted(parameters.items()):
        if key not in known:
            raise FleetmarkError(
                ErrorKind.UNKNOWN_WORD,
                f"program {program.name} has no parameter {key!r}",
                "",
                hint(key, known),
            )
        definition = known[key]
        for word, allowed in (
            (profile, definition.get("profiles")),
            *(
                ((scenario, definition.get("scenarios")) for scenario in scenarios)
                if not any(_applies(program, key, scenario) for scenario in scenarios)
                else ()
            ),
        ):
            if allowed is not None and word not in allowed:
                raise FleetmarkError(
                    ErrorKind.UNKNOWN_WORD,
                    f"parameter {key} does not apply to {word}",
                    "",
                    f"It applies to {', '.join(allowed)}",
                )
        axes[key] = list(dict.fromkeys(parse_value(key, definition, text) for text in texts))
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def _applies(program: Component, key: str, scenario: str) -> bool:
    definition = program.body["parameters"][key]
    return scenario in definition.get("scenarios", (scenario,))


def _fits_runtime(definition: Mapping[str, Any], adapters: Collection[str]) -> bool:
    runtimes = definition.get("runtimes")
    return runtimes is None or not set(runtimes).isdisjoint(adapters)


def _possible_adapters(catalog: Catalog, selection: Selection) -> frozenset[str]:
    """Return the adapters of the runtimes that the selection allows; a device may narrow them."""
    found: set[str] = set()
    for component in selection.components:
        for requirement in selection.requires(component):
            if requirement.role != "runtime":
                continue
            for choice in requirement.choices:
                if choice.name:
                    named = catalog.find(choice.kind, choice.name)
                    parts = [named] if named is not None else []
                else:
                    parts = with_tags(catalog, choice, selection.tags)
                found |= {str(part.body.get("adapter", part.name)) for part in parts}
    return frozenset(found)
