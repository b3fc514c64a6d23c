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


def no_namespaces() -> str:
    """Why a network namespace cannot be made here; empty if it can. Root is not needed."""
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
        """A socket that listens on loopback inside, to be served from outside."""
        taker, giver = socket.socketpair()
        with taker, giver:
            command = [*self.prefix, sys.executable, "-I", "-c", _LISTEN, str(port)]
            subprocess.run(command, stdin=giver, check=True)
            _, (number,), *_ = socket.recv_fds(taker, 1, 1)
        return socket.socket(fileno=number)


@contextmanager
def own_namespace() -> Iterator[Namespace]:
    """A namespace that ends with the block."""
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
