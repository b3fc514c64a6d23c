"""Addresses of tunnels, and where they lead."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_core.tunnel_address import (
    Endpoint,
    endpoint,
    grpc_target,
    join_address,
    split_address,
)

FOLDERS = st.from_regex(r"(/[A-Za-z0-9._-]{1,12}){1,5}", fullmatch=True).filter(
    lambda folder: ".." not in folder.split("/")
)


@given(FOLDERS, st.integers(1, 65535))
def test_an_address_survives_both_directions(folder: str, port: int) -> None:
    host = f"unix:{folder}"
    assert split_address(join_address(host, port)) == (host, port)
    assert grpc_target(f"unix:{folder}/none:{port}") == f"unix:{folder}/none/{port}.sock"


def test_other_addresses_stay_as_they_are() -> None:
    assert split_address("[fd00::1]:7117") == ("fd00::1", 7117)
    assert join_address("fd00::1", 7117) == "[fd00::1]:7117"
    assert grpc_target("host:7117") == "host:7117"
    assert endpoint("host", 7117) == Endpoint("", "host", 7117)


@pytest.mark.parametrize(
    "text",
    [
        *("unix:", "unix:/run", "unix:run:7117", "unix:/run:0", "unix:/run:x", "unix:/run:65536"),
        *(
            "unix:/a\0b:7117",
            "unix:/a[b]:7117",
            "unix:/run/../etc:7117",
            "unix:/run\n:7117",
            "unix::7117",
        ),
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        split_address(text)


@given(st.text().map("unix:/".__add__))
def test_no_text_makes_it_fail_otherwise(text: str) -> None:
    try:
        host, port = split_address(text)
    except ValueError:
        return
    assert host.startswith("unix:/") and 0 < port < 65536


def test_signs_of_a_uri_in_a_folder_are_quoted_for_grpc() -> None:
    target = grpc_target("unix:/a b/50%/é#?:7117")
    assert target == "unix:/a%20b/50%25/%C3%A9%23%3F/7117.sock"


def test_a_tunnel_has_a_socket_or_a_port(tmp_path: Path) -> None:
    host = f"unix:{tmp_path}"
    assert endpoint(host, 7117) == Endpoint(f"{tmp_path}/7117.sock")
    (tmp_path / "7117.port").write_text("34567\n")
    assert endpoint(host, 7117) == Endpoint("", "127.0.0.1", 34567)
    assert grpc_target(f"{host}:7117") == "127.0.0.1:34567"


@pytest.mark.parametrize("text", ["", "0", "65536", "x", "1\n2", "٣", "9" * 17])
def test_a_damaged_port_file_is_no_endpoint(tmp_path: Path, text: str) -> None:
    (tmp_path / "7117.port").write_text(text)
    with pytest.raises(OSError):
        endpoint(f"unix:{tmp_path}", 7117)
