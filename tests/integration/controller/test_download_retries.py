"""Downloads that break off, wait, are redirected or go through a proxy, from a real server."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fleetmark_controller.artifacts import http_download, https_client
from fleetmark_controller.artifacts.http_download import download
from fleetmark_core.errors import ErrorKind, FleetmarkError
from tests.support.https_server import Proxy, make_certificate, serve, serve_https

GOOD = hashlib.shake_256(b"good").digest(50_000)
OTHER = hashlib.shake_256(b"other").digest(50_000)
LIMIT = len(GOOD)
Answer = Callable[["Scripted"], None]


class Scripted(BaseHTTPRequestHandler):
    """Send the server's `answers` one after the other; repeat the last one."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None: ...

    def do_GET(self) -> None:
        server = self.server
        server.requests.append((time.monotonic(), self.path, dict(self.headers)))  # type: ignore[attr-defined]
        answers = server.answers  # type: ignore[attr-defined]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        self.close_connection = True
        with contextlib.suppress(OSError):
            answer(self)

    def head(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()


def whole(data: bytes = GOOD, *, stop: int | None = None, **headers: object) -> Answer:
    """Send the file, but no byte after `stop`."""
    headers = headers or {"ETag": '"1"'}

    def answer(to: Scripted) -> None:
        to.head(200, Content_Length=len(data), **headers)
        to.wfile.write(data[:stop])

    return answer


def rest(data: bytes = GOOD, *, most: int = 1 << 30, shift: int = 0) -> Answer:
    """Send what `Range` asks for, but at most `most` bytes; name the place `shift` bytes off."""

    def answer(to: Scripted) -> None:
        begin = int(to.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        place = f"bytes {begin + shift}-{len(data) - 1}/{len(data)}"
        to.head(206, Content_Length=len(data) - begin, Content_Range=place, ETag='"1"')
        to.wfile.write(data[begin : begin + most])

    return answer


def status(number: int, **headers: object) -> Answer:
    return lambda to: to.head(number, Content_Length=0, **headers)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def web(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., ThreadingHTTPServer]]:
    """Return the server after it was given its answers."""
    monkeypatch.setenv("SSL_CERT_FILE", str(pair[0]))
    monkeypatch.setattr(http_download, "RETRY_DELAYS_S", (0.01, 0.01))
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serve_https(Scripted, pair) as server:
        server.requests = []  # type: ignore[attr-defined]

        def answering(*answers: Answer) -> ThreadingHTTPServer:
            server.answers = list(answers)  # type: ignore[attr-defined]
            return server

        yield answering


def address(server: ThreadingHTTPServer) -> str:
    return f"https://localhost:{server.server_address[1]}"


def requests(server: ThreadingHTTPServer) -> list[dict[str, str]]:
    return [headers for _, _, headers in server.requests]  # type: ignore[attr-defined]


def refused(server: ThreadingHTTPServer, folder: Path) -> str:
    with pytest.raises(FleetmarkError) as caught:
        download(f"{address(server)}/file", folder / "file", LIMIT)
    assert caught.value.kind is ErrorKind.ARTIFACT_UNAVAILABLE
    assert "\n" not in str(caught.value)
    return caught.value.what


# cut


def test_a_transfer_that_breaks_off_is_continued(
    tmp_path: Path, web: Callable[..., ThreadingHTTPServer]
) -> None:
    server = web(whole(stop=1000), rest())
    download(f"{address(server)}/a?b=c", tmp_path / "file", LIMIT)
    assert (tmp_path / "file").read_bytes() == GOOD
    first, second = requests(server)
    assert "Range" not in first and first["Accept-Encoding"] == "identity"
    assert (second["Range"], second["If-Range"]) == ("bytes=1000-", '"1"')
    assert server.requests[1][1] == "/a?b=c"  # type: ignore[attr-defined]


def test_any_number_of_cuts_is_survived_while_there_is_progress(
    tmp_path: Path, web: Callable[..., ThreadingHTTPServer]
) -> None:
    server = web(whole(stop=1000), rest(most=2500))
    download(f"{address(server)}/file", tmp_path / "file", LIMIT)
    assert (tmp_path / "file").read_bytes() == GOOD
    assert len(requests(server)) == 21 > http_download.MAX_FAILURES


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param((whole(),), id="Range is ignored"),
        pytest.param((status(416), whole()), id="416"),
        pytest.param((rest(shift=1), whole()), id="another rest"),
        pytest.param((status(206), whole()), id="206 without a place"),
        pytest.param((status(416), whole(stop=2000), rest()), id="416, then cut again"),
        pytest.param((whole(stop=500), whole()), id="ignored and cut"),
    ],
)
def test_a_server_that_does_not_continue_sends_the_whole_file(
    tmp_path: Path, web: Callable[..., ThreadingHTTPServer], answers: tuple[Answer, ...]
) -> None:
    server = web(whole(stop=1000), *answers)
    download(f"{address(server)}/file", tmp_path / "file", LIMIT)
    assert (tmp_path / "file").read_bytes() == GOOD
    assert requests(server)[1]["Range"] == "bytes=1000-"


def test_a_file_that_changed_meanwhile_is_not_mixed(
    tmp_path: Path, web: Callable[..., ThreadingHTTPServer]
) -> None:
    server = web(whole(OTHER, stop=30_000), whole(GOOD[:40_000], ETag='"2"'))
    download(f"{address(server)}/file", tmp_path / "file", LIMIT)
    assert (tmp_path / "file").read_bytes() == GOOD[:40_000]


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        ({"ETag": 'W/"1"'}, ""),
        ({"ETag": '"1\xff"'}, ""),
        ({"X_A": "b"}, ""),
        ({"Last_Modified": "Tue, 15 Nov 1994 12:45:26 GMT"}, "Tue, 15 Nov 1994 12:45:26 GMT"),
        ({"ETag": '"a"', "Last_Modified": "Tue, 15 Nov 1994 12:45:26 GMT"}, '"a"'),
    ],
)
def test_only_a_file_whose_version_is_known_is_continued(
    tmp_path: Path,
    web: Callable[..., ThreadingHTTPServer],
    headers: dict[str, str],
    validator: str,
) -> None:
    server = web(whole(stop=1000, **headers), whole(**headers))
    download(f"{address(server)}/file", tmp_path / "file", LIMIT)
    assert (tmp_path / "file").read_bytes() == GOOD
    assert requests(server)[1].get("If-Range", "") == validator
    assert ("Range" in requests(server)[1]) == bool(validator)


def test_a_rest_that_never_ends_is_refused(
    tmp_path: Path, web: Callable[..., ThreadingHTTPServer]
) -> None:
    def endless(to: Scripted) -> None:
        to.head(206, Content_Range="bytes 1000-49999/50000")
        while True:
            to.wfile.write(bytes(10_000))

    assert "larger than the declared 50000" in refused(web(whole(stop=1000), endless), tmp_path)
    assert (tmp_path / "file").stat().st_size <= LIMIT


# failures that pass, and others


def test_a_server_that_asks_to_wait_is_given_that_time(
    tmp_path: Path, web: Callable[..., ThreadingHTTPServer]
) -> None:
    server = web(status(503, Retry_After=1), whole())
    download(f"{address(server)}/file", tmp_path / "file", LIMIT)
    first, second = (moment for moment, _, _ in server.requests)  # type: ignore[attr-defined]
    assert second - first >= 1.0


@pytest.mark.parametrize(
    "value", ["3600", "9" * 90, "Fri, 01 Jan 2999 00:00:00 GMT"], ids=["hour", "digits", "date"]
)
def test_a_server_that_asks_to_wait_too_long_is_left_at_once(
    tmp_path: Path, web: Callable[..., ThreadingHTTPServer], value: str
) -> None:
    server = web(status(429, Retry_After=value), whole())
    assert "status 429 and asks to wait" in refused(server, tmp_path)
    assert len(requests(server)) == 1


@pytest.mark.parametrize("value", ["", "soon", "-5", "9" * 5000, "1e9", "Fri, 99 Foo 99999 1:1:1"])
def test_nonsense_in_retry_after_counts_as_absent(
    tmp_path: Path, web: Callable[..., ThreadingHTTPServer], value: str
) -> None:
    server = web(status(503, Retry_After=value), whole())
    if value.isdecimal():
        assert "asks to wait" in refused(server, tmp_path)
    else:
        download(f"{address(server)}/file", tmp_path / "file", LIMIT)


@pytest.mark.parametrize(
    ("answer", "words", "tries"),
    [
        (status(503), "status 503", http_download.MAX_FAILURES),
        (status(404), "status 404", 1),
        (status(403, Retry_After=1), "status 403", 1),
        (status(206), "status 206", 1),
        (status(304), "status 304", 1),
        (whole(stop=0), "IncompleteRead", http_download.MAX_FAILURES),
        (whole(Content_Encoding="gzip", ETag='"1"', stop=0), "Inc", http_download.MAX_FAILURES),
        (lambda to: to.wfile.write(b"SSH-2.0\r\n"), "BadStatusLine", http_download.MAX_FAILURES),
    ],
)
def test_a_failure_that_lasts_is_reported(
    tmp_path: Path,
    web: Callable[..., ThreadingHTTPServer],
    answer: Answer,
    words: str,
    tries: int,
) -> None:
    server = web(answer)
    assert words in refused(server, tmp_path)
    assert len(requests(server)) == tries


def test_an_unreachable_server_is_reported_in_plain_words(
    tmp_path: Path, web: Callable[..., ThreadingHTTPServer]
) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        web(whole())
        with pytest.raises(FleetmarkError, match="refused") as caught:
            download(f"https://localhost:{port}/file", tmp_path / "file", LIMIT)
    assert "HTTPSConnection" not in str(caught.value)


# redirects


def test_redirects_are_followed(tmp_path: Path, web: Callable[..., ThreadingHTTPServer]) -> None:
    server = web(whole())
    here = address(server)
    server = web(
        status(302, Location="/second?x"),
        status(308, Location=f"{here}/third"),
        whole(stop=1000),
        status(307, Location="fourth"),
        rest(),
    )
    download(f"{here}/first", tmp_path / "file", LIMIT)
    assert (tmp_path / "file").read_bytes() == GOOD
    paths = [path for _, path, _ in server.requests]  # type: ignore[attr-defined]
    assert paths == ["/first", "/second?x", "/third", "/first", "/fourth"]
    assert requests(server)[4]["Range"] == "bytes=1000-"


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("/again", "redirected more than 5 times"),
        ("http://localhost/file", "without https"),
        ("file:///etc/passwd", "without https"),
        ("https://[", "not a valid address"),
        ("https://localhost:99999999/", "not a valid address"),
    ],
)
def test_a_redirect_that_leads_nowhere_is_refused(
    tmp_path: Path, web: Callable[..., ThreadingHTTPServer], location: str, words: str
) -> None:
    server = web(status(302, Location=location))
    assert words in refused(server, tmp_path)
    assert len(requests(server)) == (6 if location == "/again" else 1)


# time


def dripping(begin: bytes) -> Answer:
    """Send `begin` and then a byte now and then, never silent for long."""

    def answer(to: Scripted) -> None:
        to.wfile.write(begin)
        while True:
            to.wfile.write(b"a")
            time.sleep(0.02)

    return answer


@pytest.mark.parametrize(
    "begin",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nX-A: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n",
    ],
    ids=["status", "headers", "content", "content of unknown length", "chunk"],
)
def test_a_server_that_drips_is_left_at_the_deadline(
    tmp_path: Path,
    web: Callable[..., ThreadingHTTPServer],
    monkeypatch: pytest.MonkeyPatch,
    begin: bytes,
) -> None:
    monkeypatch.setattr(http_download, "TIME_LIMIT_S", 0.5)
    monkeypatch.setattr(http_download, "SLOWEST_BYTES_PER_S", 1 << 30)
    assert "did not end within" in refused(web(dripping(begin)), tmp_path)


def test_a_server_that_never_answers_the_handshake_is_left_at_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, web: Callable[..., ThreadingHTTPServer]
) -> None:
    web(whole())
    monkeypatch.setattr(http_download, "TIME_LIMIT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"https://localhost:{silent.getsockname()[1]}/file"
        with pytest.raises(FleetmarkError, match="did not end within"):
            download(address, tmp_path / "file", 1)


def test_a_silent_server_is_tried_again(
    tmp_path: Path, web: Callable[..., ThreadingHTTPServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(https_client, "SILENCE_LIMIT_S", 0.2)
    ended = threading.Event()

    def silent(to: Scripted) -> None:
        whole(stop=1000)(to)
        ended.wait(60)

    server = web(silent, rest())
    download(f"{address(server)}/file", tmp_path / "file", LIMIT)
    ended.set()
    assert (tmp_path / "file").read_bytes() == GOOD
    assert requests(server)[1]["Range"] == "bytes=1000-"


def test_no_thread_and_no_socket_is_left(
    tmp_path: Path, web: Callable[..., ThreadingHTTPServer]
) -> None:
    server = web(*itertools.repeat(whole(stop=1000), 3), rest())
    download(f"{address(server)}/file", tmp_path / "file", LIMIT)
    timers = [one for one in threading.enumerate() if isinstance(one, threading.Timer)]
    for timer in timers:
        timer.join(10)
    assert not [one for one in timers if one.is_alive()]


# proxies


@pytest.fixture
def proxy() -> Iterator[ThreadingHTTPServer]:
    with serve(Proxy) as server:
        server.tunnels = []  # type: ignore[attr-defined]
        yield server


@pytest.mark.parametrize("scheme", ["http://", ""])
def test_a_proxy_of_the_environment_is_used(
    tmp_path: Path,
    web: Callable[..., ThreadingHTTPServer],
    proxy: ThreadingHTTPServer,
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
) -> None:
    server = web(whole(stop=1000), rest())
    proxy.credentials = "Basic " + base64.b64encode(b"me:p@ss").decode()  # type: ignore[attr-defined]
    place = f"127.0.0.1:{proxy.server_address[1]}"
    monkeypatch.setenv("HTTPS_PROXY", f"{scheme}me:p%40ss@{place}")
    download(f"{address(server)}/file", tmp_path / "file", LIMIT)
    assert (tmp_path / "file").read_bytes() == GOOD
    there = address(server).removeprefix("https://")
    assert proxy.tunnels == [(there, proxy.credentials)] * 2  # type: ignore[attr-defined]


def test_an_address_that_needs_no_proxy_is_reached_directly(
    tmp_path: Path,
    web: Callable[..., ThreadingHTTPServer],
    proxy: ThreadingHTTPServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = web(whole())
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.server_address[1]}")
    monkeypatch.setenv("NO_PROXY", "other.example,localhost")
    download(f"{address(server)}/file", tmp_path / "file", LIMIT)
    assert proxy.tunnels == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("http://me:s3cret@{place}", "407"),
        ("socks5://me:s3cret@{place}", "not an http or https address"),
        ("http://me:s3cret@[", "not an http or https address"),
        ("http://me:s3cret@127.0.0.1:1", "refused"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_reported_without_its_password(
    tmp_path: Path,
    web: Callable[..., ThreadingHTTPServer],
    proxy: ThreadingHTTPServer,
    monkeypatch: pytest.MonkeyPatch,
    value: str,
    words: str,
) -> None:
    server = web(whole())
    proxy.credentials = "Basic other"  # type: ignore[attr-defined]
    place = f"127.0.0.1:{proxy.server_address[1]}"
    monkeypatch.setenv("HTTPS_PROXY", value.format(place=place))
    text = refused(server, tmp_path)
    assert words in text and "s3cret" not in text
    assert requests(server) == []
