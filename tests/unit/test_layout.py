"""What the layers of pyproject.toml cannot say: who executes SQL; that no imports form rings."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from tests.support import ROOT

PACKAGES = ("agent", "cli", "controller", "core", "protos")
SQL_MODULES = ("controller/fleetmark_controller/store/", "controller/fleetmark_controller/export/")
EXECUTES = {"execute", "executemany", "executescript"}


@cache
def sources() -> dict[str, Path]:
    """Return this project's modules by dotted name; the catalog's components are data."""
    found: dict[str, Path] = {}
    roots = [*(ROOT / name for name in PACKAGES), ROOT / "catalog"]
    for root in roots:
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            if "components" in parts or not parts[0].startswith("fleetmark_"):
                continue
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(path: Path, known: dict[str, Path]) -> set[str]:
    """Our modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found.add(name if name in known else node.module)
    return found & known.keys()


def ring_in(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a ring; empty if there are none."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for other in sorted(graph[name]):
            ring = visit(other, [*path, name])
            if ring:
                return ring
        done.add(name)
        return []

    return next((ring for name in sorted(graph) if (ring := visit(name, []))), [])


def executions_in(text: str) -> list[int]:
    """Lines that execute SQL on a connection or cursor."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in EXECUTES
    ]


def test_only_the_store_and_the_sqlite_export_execute_sql() -> None:
    elsewhere = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sources().values()
        if not str(path.relative_to(ROOT)).startswith(SQL_MODULES)
        for line in executions_in(path.read_text())
    ]
    assert elsewhere == []
    export = ROOT / SQL_MODULES[1]
    assert {p.name for p in export.glob("*.py") if executions_in(p.read_text())} == {"sqlite.py"}


def test_the_search_for_sql_finds_it() -> None:
    assert executions_in("def f(c):\n    return c.execute('SELECT 1').fetchone()\n") == [2]
    assert executions_in("c.executemany('INSERT INTO t VALUES (?)', rows)") == [1]
    assert executions_in("execution.start('SELECT 1')") == []


def test_no_files_import_each_other_in_a_ring() -> None:
    known = sources()
    graph = {name: imports_of(path, known) - {name} for name, path in known.items()}
    assert ring_in(graph) == []
    assert len(graph) > 400


def test_the_search_for_rings_finds_one() -> None:
    assert ring_in({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": set()}) == ["a", "b", "c", "a"]
    assert ring_in({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_the_tops_of_both_programs_hold_packages() -> None:
    """A folder says what lives in it: beside packages stand only what names itself."""
    for program, modules in {
        "agent/fleetmark_agent": {"__init__", "cli", "errors", "offline"},
        "controller/fleetmark_controller": {"__init__", "__main__"},
        "controller/fleetmark_controller/store": {"__init__", "epochs", "events", "id_lookup"},
    }.items():
        assert {path.stem for path in (ROOT / program).glob("*.py")} == modules
