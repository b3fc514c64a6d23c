"""HTTPS requests through urllib3: proxies, redirects within https, and an end after a given time.

urllib3 limits only how long a server may be silent. `Deadline` limits the whole transfer, so that a
server that sends one byte a minute does not hold a thread for weeks.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import unquote, urljoin

import urllib3
from urllib3 import exceptions
from urllib3.connection import HTTPSConnection
from urllib3.response import BaseHTTPResponse

from fleetmark_core.errors import ErrorKind, FleetmarkError

SILENCE_LIMIT_S = 30.0
"""Maximum silence of a server, in seconds."""
MAX_REDIRECTS = 5
_PLACE = re.compile(r"^(?:<?(?:urllib3\.\w+\.)?HTTPS?Connection(?:Pool)?\([^)]*\)[^:]*: )+")


class TemporaryFailure(Exception):
    """A failure after which another try may succeed, perhaps only after `retry_after_s`."""

    def __init__(self, what: str, retry_after_s: float = 0.0) -> None:
        super().__init__(what)
        self.retry_after_s = retry_after_s


class Deadline:
    """The end of a transfer: shuts down its connection when the time is over."""

    def __init__(self, limit_s: float) -> None:
        """Begin now; the transfer may take `limit_s` seconds."""
        self._end_s = time.monotonic() + limit_s
        self._timer = threading.Timer(limit_s, self._shut_down)
        self._timer.daemon = True
        self._lock = threading.Lock()
        self._watched: socket.socket | None = None

    def __enter__(self) -> Deadline:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self.release()

    def left_s(self) -> float:
        """Return the remaining time in seconds; it is not positive if the time is over."""
        return self._end_s - time.monotonic()

    def watch(self, connected: socket.socket) -> None:
        """Watch the socket of a new connection instead of the last one."""
        self.release()
        with self._lock:
            # A duplicate, because TLS takes over the socket itself.
            self._watched = connected.dup()
        if self.left_s() <= 0:
            self._shut_down()

    def release(self) -> None:
        """Forget the connection: it was closed."""
        with self._lock:
            if self._watched is not None:
                self._watched.close()
            self._watched = None

    def _shut_down(self) -> None:
        with self._lock, suppress(OSError):
            if self._watched is not None:
                self._watched.shutdown(socket.SHUT_RDWR)


class _WatchedConnection(HTTPSConnection):
    """A connection that ends at a deadline, also during handshakes and headers."""

    def __init__(self, *arguments: Any, deadline: Deadline, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._deadline = deadline

    def _new_conn(self) -> socket.socket:
        # urllib3's own SOCKS connections replace the socket at this place.
        connected = super()._new_conn()
        self._deadline.watch(connected)
        return connected


@contextmanager
def open_url(
    url: str, headers: Mapping[str, str], deadline: Deadline
) -> Iterator[BaseHTTPResponse]:
    """Request `url`, follow redirects, and yield the response, whose content is not read yet.

    Raises:
        FleetmarkError: ARTIFACT_UNAVAILABLE: an address without https, an invalid address or
            certificate, a proxy that cannot be used, too many redirects.
        TemporaryFailure: the server cannot be reached or does not speak HTTP.
    """
    for _ in range(MAX_REDIRECTS + 1):
        if not url.startswith("https://"):
            raise unavailable_error("was redirected to an address without https")
        with _network_errors():
            response = _request(url, headers, deadline)
            location = response.get_redirect_location()
            if location:
                response.close()
                url = urljoin(url, location)
                continue
        try:
            yield response
        finally:
            response.close()
            deadline.release()
        return
    raise unavailable_error(f"was redirected more than {MAX_REDIRECTS} times")


def read_some(response: BaseHTTPResponse, limit_bytes: int) -> bytes:
    """Return the next received bytes of a response, at most `limit_bytes`; empty at its end.

    Raises:
        TemporaryFailure: the connection broke off before the end.
    """
    with _network_errors():
        return response.read1(limit_bytes, decode_content=False)


def _request(url: str, headers: Mapping[str, str], deadline: Deadline) -> BaseHTTPResponse:
    parts = urllib3.util.parse_url(url)
    pool = _manager(parts.netloc or "").connection_from_url(url)
    pool.ConnectionCls = _WatchedConnection
    pool.conn_kw["deadline"] = deadline
    return pool.urlopen(
        "GET",
        parts.request_uri,
        headers=headers,
        redirect=False,
        retries=False,
        preload_content=False,
    )


def _manager(host: str) -> urllib3.PoolManager:
    """Return the connections to `host`: direct, or through the proxy of the environment."""
    options: dict[str, Any] = {
        "ssl_context": ssl.create_default_context(),
        "timeout": urllib3.Timeout(connect=SILENCE_LIMIT_S, read=SILENCE_LIMIT_S),
    }
    proxy = urllib.request.getproxies().get("https", "")
    if not proxy or urllib.request.proxy_bypass(host):
        return urllib3.PoolManager(**options)
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    try:
        user = urllib3.util.parse_url(proxy).auth
        return urllib3.ProxyManager(
            proxy,
            proxy_headers=urllib3.make_headers(proxy_basic_auth=unquote(user)) if user else None,
            proxy_ssl_context=options["ssl_context"],
            **options,
        )
    except (exceptions.HTTPError, ValueError) as error:
        # Not the value itself: it may contain a password.
        raise unavailable_error(
            "the proxy in the environment (HTTPS_PROXY) is not an http or https address"
        ) from error


@contextmanager
def _network_errors() -> Iterator[None]:
    """Convert the errors of a request: some are temporary, the others are final."""
    try:
        yield
    except exceptions.SSLError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise unavailable_error(_text(error)) from error
        raise TemporaryFailure(_text(error)) from error
    except (exceptions.LocationValueError, ValueError) as error:
        raise unavailable_error(f"is not a valid address: {error}") from error
    except (exceptions.HTTPError, OSError) as error:
        raise TemporaryFailure(_text(error)) from error


def _text(error: Exception) -> str:
    """Return the cause of an error without the object that urllib3 names first."""
    return _PLACE.sub("", str(error)) or type(error).__name__


def unavailable_error(what: str) -> FleetmarkError:
    """Return the error for a file that cannot be downloaded."""
    return FleetmarkError(ErrorKind.ARTIFACT_UNAVAILABLE, what)
