"""HTTPS on loopback with a certificate of its own, and a proxy before it."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Return a certificate for `localhost` and its key; skip the test without openssl."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = (
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
        *("-days", "2", "-keyout", str(key), "-out", str(certificate)),
    )
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("no openssl that makes a certificate")
    return certificate, key


@contextlib.contextmanager
def serve_https(
    handler: type[BaseHTTPRequestHandler], pair: tuple[Path, Path]
) -> Iterator[ThreadingHTTPServer]:
    """Serve on a free port until the block ends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    with serve(handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        yield server


@contextlib.contextmanager
def serve(handler: type[BaseHTTPRequestHandler]) -> Iterator[ThreadingHTTPServer]:
    """Serve without TLS on a free port until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class Proxy(BaseHTTPRequestHandler):
    """A proxy that opens tunnels, to callers with the server's `credentials` if it has any."""

    def log_message(self, format: str, *args: object) -> None: ...

    def do_CONNECT(self) -> None:
        credentials = self.headers.get("Proxy-Authorization", "")
        self.server.tunnels.append((self.path, credentials))  # type: ignore[attr-defined]
        if credentials != getattr(self.server, "credentials", credentials):
            self.send_error(407)
            return
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=10) as other:
            self.send_response(200)
            self.end_headers()
            self.wfile.flush()
            self._copy(other)
        self.close_connection = True

    def _copy(self, other: socket.socket) -> None:
        ends = {self.connection: other, other: self.connection}
        with contextlib.suppress(OSError):
            while True:
                for ready in select.select(list(ends), [], [])[0]:
                    data = ready.recv(1 << 16)
                    if not data:
                        return
                    ends[ready].sendall(data)
