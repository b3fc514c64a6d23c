"""What a front decides from the facts of a device."""

from __future__ import annotations

import pytest

from fleetmark_agent.front.device_facts import check_facts
from fleetmark_agent.front.device_scripts import compose, parse_answer
from fleetmark_core.errors import FleetmarkError

FRONT = "0123 alice@desk:/front"
GOOD = {
    "home": ["/home/pi"],
    "folder": ["absent"],
    "machine": ["aarch64"],
    "system": ["Linux"],
    "elf_class": ["2"],
    "glibc": ["2.31"],
    "free_kib": ["4000000"],
    "writable": ["yes"],
    "executable": ["yes"],
    "python": [
        "3 9 64 cpython 0 /usr/bin/python3.9",
        "3 13 64 cpython 1 /usr/bin/python3.13t",
        "3 11 64 cpython 0 /usr/bin/python3.11",
    ],
}


def test_a_device_that_fits_gives_its_platform() -> None:
    facts = check_facts(GOOD, FRONT, "ssh://pi")
    assert facts.interpreter.path == "/usr/bin/python3.11"
    assert facts.interpreter.abis == ("cp311",)
    assert facts.interpreter.platforms[0] == "manylinux_2_31_aarch64"
    assert "manylinux_2_17_aarch64" in facts.interpreter.platforms
    assert not facts.is_ours
    assert not facts.is_enrolled
    assert facts.agent_pid == ""


def test_a_device_that_has_the_agent_says_so() -> None:
    there = {"folder": ["front"], "front": [FRONT], "version": ["a", "b"], "agent": ["12"]}
    facts = check_facts({**GOOD, **there, "enrolled": ["yes"]}, FRONT, "ssh://pi")
    assert facts.is_ours and facts.is_enrolled
    assert facts.versions == ("a", "b")
    assert facts.agent_pid == "12"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"home": ["/home/a b"]}, "'/home/a b' has characters"),
        ({"home": []}, "'' has characters"),
        ({"folder": ["link"]}, "/home/pi/.fleetmark-agent is a link"),
        ({"folder": ["file"]}, "exists and is not that of a front"),
        ({"folder": ["foreign"]}, "exists and is not that of a front"),
        (
            {"folder": ["front"], "front": ["9 bob@lab:/f"]},
            "another front has this device: bob@lab",
        ),
        ({"folder": ["front"]}, "another front has this device: another one"),
        ({"system": ["Darwin"]}, "it runs Darwin, and agents need Linux"),
        ({"machine": ["riscv64"]}, "no agent is built for its architecture 'riscv64'"),
        ({"machine": ["armv7l"], "elf_class": ["1"]}, "architecture 'armv7l'"),
        ({"elf_class": ["1"]}, "its programs are 32-bit"),
        ({"glibc": [], "musl": ["/lib/ld-musl-aarch64.so.1"]}, "its C library is musl"),
        ({"glibc": ["2.12"]}, "its glibc is 2.12"),
        ({"free_kib": ["1024"]}, "needs 300 MiB in /home/pi, and 1 MiB are free"),
        (
            {"writable": [], "unwritable": ["Read-only file system"]},
            "cannot write to /home/pi: Read-only file system",
        ),
        ({"executable": ["no"]}, "no program can run in /home/pi"),
        ({"python": []}, "no usable Python 3.10 to 3.13 (found: none)"),
        ({"python": ["3 9 64 cpython 0 /usr/bin/python3.9"]}, "(found: 3.9)"),
        ({"python": ["3 11 64 cpython 0 /opt/my python"]}, "(found: 3.11)"),
        ({"python": ["3 11 32 cpython 0 /usr/bin/python3"]}, "(found: 3.11)"),
        ({"python": ["3 10 64 pypy 0 /usr/bin/pypy3"]}, "(found: 3.10)"),
    ],
)
def test_a_device_that_does_not_fit_is_refused_with_one_reason(
    change: dict[str, list[str]], reason: str
) -> None:
    with pytest.raises(FleetmarkError) as caught:
        check_facts({**GOOD, **change}, FRONT, "ssh://pi")
    text = str(caught.value)
    assert text.startswith("ssh://pi: ")
    assert reason in text
    assert "\n" not in text


def test_only_lines_between_the_markers_count() -> None:
    inside = b"folder=absent\nnoise\nX Y=1\npython=a\npython=b\n"
    output = b"folder=link\nWelcome\nm begin\r\n" + inside + b"\nm end\nhome=/x\n"
    assert parse_answer(output, "m") == {"folder": ["absent"], "python": ["a", "b"]}


@pytest.mark.parametrize("output", [b"", b"m begin\nfolder=absent\n", b"m end\nm begin\n"])
def test_an_answer_that_is_cut_off_does_not_count(output: bytes) -> None:
    assert parse_answer(output, "m") is None


def test_arguments_of_a_script_are_quoted() -> None:
    assert "name='$(id) '\"'\"'x'\n" in compose("", {"name": "$(id) 'x"}, "m")
