"""Rules about the kernel's files, and how the engine keeps foreign programs within bounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetmark_agent.software import verdicts
from fleetmark_agent.software.detection_cache import builtin_folder
from fleetmark_agent.software.models import details_of
from fleetmark_agent.software.rules import DetectionRule, load_rules, parse_rule
from fleetmark_agent.software.search_paths import SearchPaths
from fleetmark_catalog.load import load_catalog
from tests.support.detection_devices import DetectionDevice


@pytest.fixture
def device(tmp_path: Path) -> DetectionDevice:
    return DetectionDevice(tmp_path)


def rule(command: list[str], **more: object) -> DetectionRule:
    entry = {"type": "command", "command": command, **more}
    return parse_rule({"kind": "soft", "name": "probe", "soft": {"detect": [entry]}})


POLICY = "sys/devices/system/cpu/cpufreq/policy"


def test_nodes_of_the_device_tree_and_contents_of_files(device: DetectionDevice) -> None:
    device.file("proc/device-tree/compatible", b"raspberrypi,4-model-b\0brcm,bcm2711\0")
    device.file("etc/nv_tegra_release", "# R35 (release), REVISION: 4.1\n")
    tree = {"type": "device_tree", "path": "compatible", "match": "^brcm,"}
    other = {"type": "device_tree", "path": "compatible", "match": "^nvidia,"}
    tegra = {
        "type": "file",
        "paths": ["/etc/nv_tegra_release"],
        "read": "content",
        "version_pattern": r"R(\d+) ",
    }

    def verdict(entry: dict[str, object]) -> tuple[str, str]:
        made = parse_rule({"kind": "soft", "name": "x", "soft": {"detect": [entry]}})
        return device.verdicts(made)[0]

    assert verdict(tree) == ("found", "")
    assert verdict(other) == ("absent", "")
    assert verdict(tegra) == ("found", "35")
    assert verdict({**tegra, "version_pattern": r"Q(\d+)"}) == ("broken", "")


def test_details_are_bounded() -> None:
    many = "\n".join(f"key{n}={'v' * 1000}" for n in range(1000))
    kept = details_of(f"no pair\n=x\nbad key=1\nempty=\nesc=\x1b[1m\n{many}")
    assert len(kept) == 32 and kept["esc"] == "[1m"
    assert max(map(len, kept.values())) <= 300


def test_no_rule_asks_for_rights() -> None:
    for path in builtin_folder().glob("*/component.toml"):
        words = set(path.read_text().replace('"', " ").split())
        assert not words & {"sudo", "su", "doas", "pkexec", "setuid"}, path


def test_a_folder_where_anybody_may_put_programs_is_not_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, mode in (("own", 0o755), ("anybody", 0o777)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
    monkeypatch.setenv("PATH", f"{tmp_path}/own:{tmp_path}/anybody:relative:.")
    place = SearchPaths.here()
    assert tmp_path / "own" in place.path and tmp_path / "anybody" not in place.path
    assert all(folder.is_absolute() for folder in place.path)


def test_the_rules_that_are_shipped_are_those_of_the_catalog() -> None:
    rules, bad = load_rules(builtin_folder())
    assert not bad and len(rules) >= 12
    assert [made.name for made in rules] == [c.name for c in load_catalog().all("soft")]


@pytest.mark.parametrize(
    ("version", "wanted", "fits"),
    [
        ("1.23.2", ">=1.20", True),
        ("10.2.1-6ubuntu1", ">=10.2", True),
        ("v18.19.0", ">=18", True),
        ("535.104.05", ">=418", True),
        ("3.13.0rc1", ">=3.9", True),
        ("9", ">=10", False),
        ("unknown", ">=1", False),
        ("", ">=1", False),
    ],
)
def test_versions_that_are_not_python_s(version: str, wanted: str, fits: bool) -> None:
    made = parse_rule(
        {"kind": "soft", "name": "x", "soft": {
            "versions": wanted, "detect": [{"type": "command", "command": ["x"]}]}}
    )  # fmt: skip
    assert (verdicts.version_fault(version, made.versions) == "") is fits
