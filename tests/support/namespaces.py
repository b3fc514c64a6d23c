"""Network namespaces of the tests' own, made without root where the kernel allows it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_OWN = ("unshare", "--user", "--map-root-user", "--net")
_LISTEN = """
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=512) as server:
    with socket.socket(fileno=0) as giver:
        socket.send_fds(giver, [b"x"], [server.fileno()])
"""

# Prints how many packets went out while a command ran.
_EAR = """
import socket, subprocess, sys, time
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as ear:
    ear.bind(("out0", 0))
    subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
    time.sleep(0.3)
    ear.setblocking(False)
    count = 0
    try:
        while True:
            ear.recv(65536)
            count += 1
    except BlockingIOError:
        print(count)
"""
# A network with a way out that ends nowhere; without IPv6, which speaks of itself.
_OUT = (
    "for f in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 > $f; done; "
    "ip link set lo up && ip link add out0 type veth peer name far0 && "
    "ip addr add 192.0.2.9/24 dev out0 && ip link set far0 up && ip link set out0 up arp off && "
    'ip route add default dev out0 && exec "$@"'
)


def packets_sent(environment: dict[str, str], *command: str) -> int:
    """Return how many packets a command sends outside, in a namespace with a route out."""
    done = subprocess.run(
        [*_OWN, "sh", "-c", _OUT, "sh", sys.executable, "-I", "-c", _EAR, *command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def namespace_skip_reason() -> str:
    """Return why a network namespace cannot be made here; empty if it can. Root is not needed."""
    if not all(shutil.which(tool) for tool in ("unshare", "nsenter", "ip")):
        return "needs unshare, nsenter and ip"
    tried = subprocess.run([*_OWN, "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else "network namespaces are not allowed here"


@dataclass(frozen=True)
class Namespace:
    """A network of its own, in which nothing but loopback is up."""

    prefix: tuple[str, ...]
    """Put before a command line, so that it runs inside."""

    def listen(self, port: int) -> socket.socket:
        """Return a socket that listens on loopback inside, to be served from outside."""
        taker, giver = socket.socketpair()
        with taker, giver:
            command = [*self.prefix, sys.executable, "-I", "-c", _LISTEN, str(port)]
            subprocess.run(command, stdin=giver, check=True)
            _, (number,), *_ = socket.recv_fds(taker, 1, 1)
        return socket.socket(fileno=number)


@contextmanager
def own_namespace() -> Iterator[Namespace]:
    """Yield a namespace that ends with the block."""
    holder = subprocess.Popen(
        [*_OWN, "sh", "-c", "ip link set lo up && echo ready && exec sleep 1200"],
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n"
        inside = ("--user", "--net", "--preserve-credentials")
        yield Namespace(("nsenter", "--target", str(holder.pid), *inside))
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
