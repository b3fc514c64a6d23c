"""An operator's description of a device for MLPerf, and the messages of the export."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.processes import Fleet, fleet_in
from tests.support.third_party_submissions import ROOT as OTHERS
from tests.support.third_party_submissions import third_party_tree

pytestmark = pytest.mark.e2e
EXPORT = ("export", "--format", "mlperf", "--round", "v6.1", "--division", "open")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_in(tmp_path_factory.mktemp("submission")) as fleet:
        fleet.start_controller()
        fleet.start_agent("bench-01")
        yield fleet


def test_a_device_is_described_field_by_field(fleet: Fleet) -> None:
    done = fleet.run(
        "fleet", "set-system-info", "bench-01", "cooling=air, one fan", "status=available"
    )
    assert done.returncode == 0, done.stderr
    assert "air, one fan" in done.stdout
    done = fleet.run("fleet", "set-system-info", "bench-01", "--unset", "status", "--json")
    described = json.loads(done.stdout)
    assert described["operator_fields"] == {"cooling": "air, one fan"}
    assert set(described) == {"operator_fields", "component", "catalog_fields"}
    for words, code, text in (
        (("colour=red",), 2, "no field colour"),
        (("status=soon",), 2, "must be one of available"),
        (("cooling",), 2, "is not FIELD=VALUE"),
        (("accelerators_per_node=two",), 2, "must be a whole number of at least 0"),
        (("system_type=edge,datacenter",), 2, "require Server, too"),
    ):
        done = fleet.run("fleet", "set-system-info", "bench-01", *words)
        assert done.returncode == code, done.stderr
        assert text in done.stderr
    assert fleet.run("fleet", "set-system-info", "bench-99", "cooling=air").returncode == 3
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
    assert "1 problem by the rules of round v6.1" in done.stderr
    done = fleet.run(*check, str(fleet.folder / "nowhere"))
    assert done.returncode == 2 and "the folder does not exist" in done.stderr
    done = fleet.run(*check, str(tree), "--out", str(fleet.folder / "never"))
    assert done.returncode == 2 and "--check cannot be combined" in done.stderr


def test_a_tree_of_others_is_checked_by_mlperfs_rules(fleet: Fleet) -> None:
    check = ("export", "--format", "mlperf", "--round", "v5.1", "--check")
    tree = third_party_tree(fleet.folder / "others")
    (tree / OTHERS / "code" / "resnet50" / "fleetmark").mkdir()
    done = fleet.run(*check, str(tree), "--controller", "127.0.0.1:1")
    assert done.returncode == 4
    # Its logs are of a moment; what Fleetmark's own form wants is marked.
    assert "min_duration is 250 ms, not 600000\n" in done.stdout
    assert "manifest.json: is missing (Fleetmark's own form)\n" in done.stdout
    assert "of them by Fleetmark's own form" in done.stderr
    done = fleet.run(*check, str(tree), "--infer")
    assert done.returncode == 2 and "--check cannot be combined" in done.stderr
    done = fleet.run(*(*check[:4], "v4.0", check[5]), str(tree))
    assert done.returncode == 2 and "rounds are v5.0, v5.1, v6.1" in done.stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--format", "mlperf"), "requires --round, --division and --submitter"),
        (("--format", "csv", "--round", "v6.1"), "require --format mlperf"),
        (("--format", "csv", "--infer"), "require --format mlperf"),
        ((*EXPORT[1:], "--submitter", "../x"), "cannot be the name of a folder"),
        ((*EXPORT[1:4], "v9", *EXPORT[5:], "--submitter", "Us"), "rounds are v5.1, v6.1"),
    ],
)
def test_words_that_cannot_be(fleet: Fleet, words: tuple[str, ...], text: str) -> None:
    done = fleet.run("export", *words, "--out", str(fleet.folder / "never"))
    assert done.returncode == 2, done.stderr
    assert text in done.stderr
