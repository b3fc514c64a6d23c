"""`agent front run`: keeps the tunnel of each device open, one thread for each."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType

from fleetmark_agent.front import device_setup
from fleetmark_agent.front.device_scripts import Device
from fleetmark_agent.front.registry import FrontedDevice, FrontHome
from fleetmark_core.errors import FleetmarkError
from fleetmark_core.log import get_logger
from fleetmark_core.retry import Backoff

log = get_logger(__name__)
_LOOK_S = 1.0
_CHECK_AGENT_S = 600.0
"""How often a connected device is asked whether its agent runs: each question costs it CPU time."""


class DeviceLink:
    """The connection to one device, in a thread."""

    def __init__(self, home: FrontHome, record: FrontedDevice) -> None:
        self.record = record
        self._home = home
        self._log = log.bind(device=record.name)
        self._stopping = threading.Event()
        self._backoff = Backoff(1.0, 60.0, jitter=0.5)
        self._thread = threading.Thread(target=self._run, name=record.name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to close its connection."""
        self._stopping.set()

    def join(self) -> None:
        """Wait until the connection is closed."""
        self._thread.join(90.0)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._connect()
                reason = "the connection was lost"
            except FleetmarkError as error:
                reason = str(error)
            except OSError as error:
                reason = error.strerror or str(error)
            except Exception as error:
                # One device must not end the connections of the others.
                self._log.failure("device connection failed", error)
                reason = str(error)
            if self._stopping.is_set():
                break
            self._log.warning("device not connected", reason=reason)
            self._home.set_status(self.record.name, "disconnected", reason)
            self._stopping.wait(self._backoff.next_s())
        self._home.clear_status(self.record.name)

    def _connect(self) -> None:
        self._home.set_status(self.record.name, "connecting")
        transport = device_setup.open_transport(self.record)
        try:
            device = Device(transport, self._home.mark(), self.record.address)
            pid = device_setup.connect_tunnel(device, self.record)
            self._log.info("device connected", pid=pid)
            self._home.set_status(self.record.name, "connected")
            self._backoff.reset()
            checked = time.monotonic()
            while not self._stopping.is_set() and transport.wait(_LOOK_S):
                if time.monotonic() - checked > _CHECK_AGENT_S:
                    device_setup.start_agent(device, self.record)
                    checked = time.monotonic()
        finally:
            transport.close()


def serve(home: FrontHome) -> None:
    """Keep all devices of a front connected, until SIGTERM or Ctrl-C.

    Their agents continue when it ends.

    Raises:
        FleetmarkError: another front runs with this home, or one of its files is damaged.
    """
    home.lock()
    stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    links: dict[str, DeviceLink] = {}
    log.info("front started", home=str(home.folder))
    try:
        while not stopping.is_set():
            _follow(home, links)
            stopping.wait(_LOOK_S)
    finally:
        for link in links.values():
            link.stop()
        for link in links.values():
            link.join()
    log.info("front stopped")


def _follow(home: FrontHome, links: dict[str, DeviceLink]) -> None:
    """Begin and end connections as the files of the devices say."""
    wanted = {name: record for name, record in home.load().items() if not record.is_removed}
    for name in [name for name, link in links.items() if wanted.get(name) != link.record]:
        link = links.pop(name)
        link.stop()
        link.join()
    for name, record in wanted.items():
        if name not in links:
            links[name] = DeviceLink(home, record)
