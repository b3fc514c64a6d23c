"""Floods of connections against a controller that has 1,024 descriptors and cannot get more."""

from __future__ import annotations

import resource
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from fleetmark_protos.v1 import enrollment_pb2
from tests.security.attacks.target import Member, Target, outcome, start, until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.xdist_group("attacks")]
DESCRIPTORS = 1024
HANDSHAKE_S = 4.0
QUICK_S = 10.0
"""Generous for a busy machine: before there were limits, it took 97 s."""
IDLE_S = 30.0
"""The open port's idle time."""
HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""How an HTTP/2 client begins: the preface, and settings without a value."""
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)
"""Of a TLS handshake; complete only with its last byte."""


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8 * DESCRIPTORS), hard))
    few = ("/bin/sh", "-c", f'ulimit -n {DESCRIPTORS}; exec "$@"', "sh")
    config = f"handshake_timeout_s = {HANDSHAKE_S}\ncalls_per_device = 50\n"
    fleet = start(tmp_path_factory.mktemp("few"), config, few)
    try:
        made = Target(fleet)
        yield made
        made.close()
    finally:
        fleet.stop()
        print(fleet.log("controller")[-3000:])
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def lines() -> Iterator[list[socket.socket]]:
    """Yield a list for an attacker's connections; close them at the end."""
    with ExitStack() as stack:
        found: list[socket.socket] = []
        stack.callback(lambda: [line.close() for line in found])
        yield found


def dial(target: Target, port: str, source: str = "127.0.0.1") -> socket.socket:
    """Connect to the port for callers with a certificate (`session`), or to the open one."""
    host, _, number = (target.entry if port == "entry" else target.fleet.address).rpartition(":")
    return socket.create_connection((host, int(number)), QUICK_S, (source, 0))


def encrypted(target: Target, port: str, member: Member, folder: Path) -> socket.socket:
    """Connect and shake hands, with the certificate of a member."""
    identity = folder / f"{member.name}.pem"
    identity.write_bytes(member.pair.key + member.pair.certificate)
    context = ssl.create_default_context(cadata=target.ca.decode())
    context.check_hostname = False
    context.load_cert_chain(identity)
    context.set_alpn_protocols(["h2"])
    return context.wrap_socket(dial(target, port))


def is_open(line: socket.socket) -> bool:
    line.setblocking(False)
    try:
        while line.recv(4096):
            pass
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        pass
    return False


def count_open(lines: list[socket.socket]) -> int:
    return sum(is_open(line) for line in lines)


def descriptors(target: Target) -> int:
    folder = Path(f"/proc/{target.fleet.children['controller'].pid}/fd")
    return sum(1 for _ in folder.iterdir())


def served_in_time(target: Target) -> bool:
    """Check that a device keeps its stream, and that a new device and a command are served."""
    began = time.monotonic()
    until(
        lambda: outcome(lambda: target.connect(target.victim)) == "PROTOCOL", "a newcomer", QUICK_S
    )
    until(lambda: target.fleet.run("fleet", "list").returncode == 0, "a command", QUICK_S)
    health = enrollment_pb2.HealthRequest()
    until(
        lambda: outcome(lambda: target.stubs().enrollment.Health(health)) == "OK",
        "the open port",
        QUICK_S,
    )
    return target.answers() and time.monotonic() - began < QUICK_S


@pytest.mark.parametrize("port", ["session", "entry"])
@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.66"], ids=["same", "other"])
def test_idle_connections_leave_room_for_newcomers(
    target: Target, port: str, source: str, lines: list[socket.socket]
) -> None:
    for _ in range(1500):
        lines.append(dial(target, port, source))
    assert served_in_time(target)
    assert descriptors(target) < DESCRIPTORS * 7 // 8
    # The handshake's time limit takes those that are left.
    until(lambda: count_open(lines) == 0, "the end of idle connections", HANDSHAKE_S + QUICK_S)
    assert served_in_time(target)
    reported = "connections without calls closed"
    assert reported in target.fleet.log("controller")
    rows = [row for row in target.refusals() if row[1] == "connection"]
    assert rows, "an operator sees it in the audit log"
    assert all(who.startswith("address 127.0.0.") for who, _, _ in rows)


@pytest.mark.parametrize("port", ["session", "entry"])
def test_one_byte_at_a_time_ends_with_the_handshakes_time(
    target: Target, port: str, lines: list[socket.socket]
) -> None:
    for _ in range(300):
        lines.append(dial(target, port))
    ended = threading.Event()

    def drip() -> None:
        for byte in HELLO:
            for line in lines:
                with suppress(OSError):
                    line.send(bytes([byte]))
            if ended.wait(0.2):
                return

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        assert served_in_time(target)
        time.sleep(HANDSHAKE_S)
        until(lambda: count_open(lines) == 0, "the end of slow handshakes", QUICK_S)
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("port", ["session", "entry"])
def test_silence_after_the_handshake_ends_the_connection(
    target: Target, port: str, lines: list[socket.socket], tmp_path: Path
) -> None:
    for _ in range(200):
        with suppress(OSError):  # the open port closes some at once
            lines.append(encrypted(target, port, target.mallory, tmp_path))
    assert len(lines) >= 50
    assert served_in_time(target)
    until(lambda: count_open(lines) == 0, "the end of silence", HANDSHAKE_S + QUICK_S)


@pytest.mark.slow
def test_connections_without_calls_end_on_the_open_port(
    target: Target, lines: list[socket.socket], tmp_path: Path
) -> None:
    """They have begun HTTP/2, so that no handshake is unfinished."""
    for _ in range(40):
        line = encrypted(target, "entry", target.mallory, tmp_path)
        line.sendall(HTTP2)
        lines.append(line)
    time.sleep(HANDSHAKE_S)
    assert count_open(lines) == len(lines)
    assert served_in_time(target)
    until(lambda: count_open(lines) == 0, "the end of idle connections", 2 * IDLE_S)


def test_a_devices_connections_without_calls_yield_to_others(
    target: Target, lines: list[socket.socket], tmp_path: Path
) -> None:
    """The port for certificates lets operators' programs idle for minutes, if there is room."""
    for _ in range(900):
        with suppress(OSError):
            line = encrypted(target, "session", target.mallory, tmp_path)
            line.sendall(HTTP2)
            lines.append(line)
    assert len(lines) > DESCRIPTORS // 2
    assert served_in_time(target)
    assert count_open(lines) < DESCRIPTORS // 2
