"""A front against a device that answers as it likes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from fleetmark_agent.front import device_scripts
from fleetmark_agent.front.device_scripts import Device
from fleetmark_agent.front.device_setup import connect_tunnel
from fleetmark_agent.front.registry import FrontedDevice
from fleetmark_agent.front.transport import Forward
from fleetmark_core.errors import FleetmarkError

RECORD = FrontedDevice("pi", "ssh://pi", "192.0.2.1:7117", 7118, "1")


class FakeTransport:
    """Answers each script by a function of it, and notes what it is to forward."""

    def __init__(self, answer: Callable[[str], str]) -> None:
        self._answer = answer
        self.forwarded: list[str] = []

    def run(self, script: str, data: Iterable[bytes] = (), timeout_s: float = 60.0) -> bytes:
        marker = script.split("'")[3].removesuffix(" begin")
        return f"{marker} begin\n{self._answer(script)}\n{marker} end\n".encode()

    def forward(self, folder: str, host: str, ports: Iterable[int]) -> list[Forward]:
        self.forwarded.append(folder)
        return [Forward(port) for port in ports]

    def wait(self, timeout_s: float) -> bool:
        return True

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    "folder",
    ["8080:192.0.2.9:22", "/home/pi/run/other", "/x y/run/{name}", "/x:22:h/run/{name}", ""],
)
def test_a_device_cannot_choose_what_is_forwarded(folder: str) -> None:
    def answer(script: str) -> str:
        name = script.split("name=")[1].split("\n", maxsplit=1)[0]
        return "tunnel=" + folder.replace("{name}", name)

    transport = FakeTransport(answer)
    with pytest.raises(FleetmarkError, match="wrong path of a tunnel"):
        connect_tunnel(Device(transport, "front", "ssh://pi"), RECORD)
    assert transport.forwarded == []


def test_a_number_that_is_none_is_refused() -> None:
    device = Device(FakeTransport(lambda script: "received=many"), "front", "ssh://pi")
    with pytest.raises(FleetmarkError, match="no number for 'received'"):
        device.count(device_scripts.CLAIM, "received", version="1")


@pytest.mark.parametrize("answer", ["error=cannot write to /home", "other=1"])
def test_a_script_that_fails_says_why(answer: str) -> None:
    device = Device(FakeTransport(lambda script: answer), "front", "ssh://pi")
    with pytest.raises(
        FleetmarkError, match=r"^ssh://pi: (cannot write to /home|its answer has no 'wiped')$"
    ):
        device.first(device_scripts.WIPE, "wiped")
