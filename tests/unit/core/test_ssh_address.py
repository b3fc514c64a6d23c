"""Addresses of devices behind SSH: no part may become an option or a shell word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_core.ssh_address import SshAddress, parse_jump, parse_ssh_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ssh://pi5", SshAddress("pi5")),
        ("ssh://pi@pi5.lab:2222", SshAddress("pi5.lab", "pi", 2222)),
        ("ssh://pi@192.0.2.7", SshAddress("192.0.2.7", "pi")),
        ("ssh://pi@[fe80::1%eth0]:22", SshAddress("fe80::1%eth0", "pi", 22)),
        ("ssh://[::1]", SshAddress("::1")),
    ],
)
def test_an_address_is_parsed_and_written_again(text: str, address: SshAddress) -> None:
    assert parse_ssh_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        "ssh://",
        "ssh://-oProxyCommand=id",
        "ssh://pi@-oProxyCommand=id",
        "ssh://-l@pi5",
        "ssh://a b",
        "ssh://a;id",
        "ssh://a$(id)",
        "ssh://a%h",
        "ssh://pi@pi@pi5",
        "ssh://pi5:0",
        "ssh://pi5:65536",
        "ssh://pi5:",
        "ssh://pi5:22x",
        "ssh://pi5/path",
        "ssh://[::1",
        "ssh://[::1]22",
        "ssh://[-o]",
        "ssh://pi5\n",
        "pi@pi5",
        "adb:1234",
    ],
)
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|is not ssh"):
        parse_ssh_address(text)


def test_jump_hosts_are_parsed() -> None:
    assert parse_jump("ops@gate:2222,second") == "ops@gate:2222,second"


@pytest.mark.parametrize("text", ["", "-oProxyCommand=id", "gate,", "gate,-J", "a b", "h," * 9])
def test_wrong_jump_hosts_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_jump(text)


@given(st.text(max_size=60))
def test_no_part_is_an_option(text: str) -> None:
    for parse in (parse_jump, lambda value: str(parse_ssh_address(f"ssh://{value}"))):
        try:
            found = parse(text)
        except ValueError:
            continue
        for part in found.removeprefix("ssh://").replace("@", ",").split(","):
            assert not part.startswith("-")
            assert not set(part) & set(" \t\n'\"\\$`;|&<>*?(){}")
