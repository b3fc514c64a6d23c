"""What a person says of a board for MLPerf, and the export's own answers."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.processes import Fleet, fleet_in

pytestmark = pytest.mark.e2e
EXPORT = ("export", "--format", "mlperf", "--round", "v6.1", "--division", "open")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_in(tmp_path_factory.mktemp("submission")) as fleet:
        fleet.start_controller()
        fleet.start_agent("bench-01")
        yield fleet


def test_a_board_is_described_field_by_field(fleet: Fleet) -> None:
    done = fleet.run("fleet", "describe", "bench-01", "cooling=air, one fan", "status=available")
    assert done.returncode == 0, done.stderr
    assert "air, one fan" in done.stdout
    done = fleet.run("fleet", "describe", "bench-01", "--unset", "status", "--json")
    described = json.loads(done.stdout)
    assert described["operator_fields"] == {"cooling": "air, one fan"}
    assert set(described) == {"operator_fields", "component", "catalog_fields"}
    for words, code, text in (
        (("colour=red",), 2, "no field colour"),
        (("status=soon",), 2, "must be one of available"),
        (("cooling",), 2, "is not FIELD=VALUE"),
    ):
        done = fleet.run("fleet", "describe", "bench-01", *words)
        assert done.returncode == code, done.stderr
        assert text in done.stderr
    assert fleet.run("fleet", "describe", "bench-99", "cooling=air").returncode == 3
    acts = {row[0] for row in fleet.query("SELECT kind FROM events")}
    assert "device.described" in acts


def test_an_export_of_nothing_says_so(fleet: Fleet) -> None:
    out = fleet.folder / "out"
    done = fleet.run(*EXPORT, "--submitter", "Us", "--out", str(out))
    assert done.returncode == 3
    assert "no run can be submitted" in done.stderr
    assert not out.exists()


def test_a_tree_is_checked_without_a_controller(fleet: Fleet) -> None:
    check = ("export", "--format", "mlperf", "--round", "v6.1", "--check")
    tree = fleet.folder / "tree"
    tree.mkdir()
    (tree / "README.md").write_text("Ours\n")
    done = fleet.run(*check, str(tree), "--controller", "127.0.0.1:1")
    assert done.returncode == 4
    assert done.stdout == ".: holds no submission\n"
    assert "1 thing is wrong" in done.stderr
    done = fleet.run(*check, str(fleet.folder / "nowhere"))
    assert done.returncode == 2 and "there is no such folder" in done.stderr
    done = fleet.run(*check, str(tree), "--out", str(fleet.folder / "never"))
    assert done.returncode == 2 and "--check writes nothing" in done.stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--format", "mlperf"), "needs --round, --division and --submitter"),
        (("--format", "csv", "--round", "v6.1"), "are for --format mlperf"),
        ((*EXPORT[1:], "--submitter", "../x"), "cannot be a folder's name"),
        ((*EXPORT[1:4], "v9", *EXPORT[5:], "--submitter", "Us"), "rounds are v5.1, v6.1"),
    ],
)
def test_words_that_cannot_be(fleet: Fleet, words: tuple[str, ...], text: str) -> None:
    done = fleet.run("export", *words, "--out", str(fleet.folder / "never"))
    assert done.returncode == 2, done.stderr
    assert text in done.stderr
