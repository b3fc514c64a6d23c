"""The solver against trying everything: small package graphs, all answers counted."""

from __future__ import annotations

import itertools
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetmark_catalog.load import Catalog, Choice, Component, Requirement, WheelFile, WheelSet
from fleetmark_catalog.resolve.solver import PackageRequirement, Solver
from fleetmark_catalog.selectors import Subject
from fleetmark_core.versions import in_range
from tests.support.examples import examples
from tests.support.sample_devices import interpreter, sample_device

NAMES = ("a", "b", "c", "d")
RANGES = ("", ">=2", "<2", "==1.0", ">=3", "<3", "!=2.0")
PYTHON = interpreter("3.11.7")


def package(name: str, versions: list[str], requires: list[Requirement], extra: str) -> Component:
    sets = []
    for version in versions:
        own = WheelFile(f"{name}-{version}-py3-none-any.whl", name, version, name * 64, 1)
        # A distribution that more than one package brings, each in the version of its own.
        shared = WheelFile(f"s-{version}-py3-none-any.whl", "s", version, "5" * 64, 1)
        sets.append(WheelSet(version, "3.11", "x86_64", (own, shared) if extra else (own,)))
    return Component(
        kind="package",
        name=name,
        version=versions[0],
        title=name,
        license="MIT",
        source="",
        folder=Path(),
        sha256="0" * 64,
        requires=tuple(requires),
        body={"distribution": name, "older": versions[1:]},
        wheels=tuple(sets),
    )


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Catalog, list[PackageRequirement]]:
    choice = st.builds(Choice, st.just("package"), st.sampled_from(NAMES), st.sampled_from(RANGES))
    parts = []
    for name in NAMES:
        versions = draw(st.permutations(["1.0", "2.0", "3.0"]))[: draw(st.integers(1, 3))]
        requires = draw(st.lists(st.lists(choice, min_size=1, max_size=2), max_size=2))
        parts.append(
            package(
                name,
                versions,
                [Requirement(f"r{n}", tuple(one)) for n, one in enumerate(requires)],
                draw(st.sampled_from(["", "", "shared"])),
            )
        )
    wanted = draw(st.lists(choice, min_size=1, max_size=3))
    return Catalog(parts), [
        PackageRequirement("root", Requirement(f"n{number}", (one,)))
        for number, one in enumerate(wanted)
    ]


def holds(catalog: Catalog, needs: list[PackageRequirement], chosen: dict[str, str]) -> bool:
    def met(requirement: Requirement) -> bool:
        return any(
            one.name in chosen and in_range(chosen[one.name], one.version)
            for one in requirement.choices
        )

    shared = {
        wheel.version
        for name, version in chosen.items()
        for entry in catalog.get("package", name).wheels
        if entry.version == version
        for wheel in entry.wheels
        if wheel.name == "s"
    }
    return (
        len(shared) < 2
        and all(met(need.requirement) for need in needs)
        and all(
            met(requirement)
            for name in chosen
            for requirement in catalog.get("package", name).requires
        )
    )


def by_trying(catalog: Catalog, needs: list[PackageRequirement]) -> bool:
    versions = [("", *catalog.get("package", name).versions()) for name in NAMES]
    return any(
        holds(catalog, needs, {n: v for n, v in zip(NAMES, point, strict=True) if v})
        for point in itertools.product(*versions)
    )


@settings(max_examples=examples(600))
@given(graph=graphs())
def test_it_finds_an_answer_exactly_where_there_is_one(
    graph: tuple[Catalog, list[PackageRequirement]],
) -> None:
    catalog, needs = graph
    subject = Subject("", {}, sample_device(PYTHON))
    solver = Solver(catalog, PYTHON, subject)
    found = solver.solve(needs)
    again = Solver(catalog, PYTHON, subject)
    assert again.solve(needs) == found
    assert again.reasons == solver.reasons
    if found is None:
        assert not by_trying(catalog, needs)
        assert solver.reasons
    else:
        chosen = {entry.component.name: entry.version for entry in found}
        assert holds(catalog, needs, chosen)
        assert len(chosen) == len(found)
