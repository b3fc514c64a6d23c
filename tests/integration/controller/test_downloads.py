"""Downloads that lie: each is refused, and the blob folder stays as it was."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import ssl
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from fleetmark_catalog.load import Location
from fleetmark_catalog.resolve import Fetch
from fleetmark_controller.artifacts import http_download
from fleetmark_controller.artifacts.acquire import obtain
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.errors import ErrorKind, FleetmarkError
from tests.support.https_server import make_certificate, serve_https

GOOD = bytes(range(256)) * 100
DIGEST = hashlib.sha256(GOOD).hexdigest()


class Liar(BaseHTTPRequestHandler):
    """Serves GOOD in good and bad ways, by path."""

    def log_message(self, format: str, *args: object) -> None: ...

    def do_GET(self) -> None:
        way = self.path.strip("/")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLError):
            getattr(self, f"way_{way}")()
        self.close_connection = True

    def head(self, size: int | None, status: int = 200, **more: str) -> None:
        self.send_response(status)
        if size is not None:
            self.send_header("Content-Length", str(size))
        for name, value in more.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def way_good(self) -> None:
        self.head(len(GOOD))
        self.wfile.write(GOOD)

    def way_zipped(self) -> None:
        self.head(None)
        self.wfile.write(gzip.compress(GOOD))

    def way_wrong(self) -> None:
        self.head(len(GOOD))
        self.wfile.write(GOOD[::-1])

    def way_truncated(self) -> None:
        self.head(len(GOOD))
        self.wfile.write(GOOD[:1000])

    def way_chunked(self) -> None:
        self.protocol_version = "HTTP/1.1"
        self.head(None, Transfer_Encoding="chunked")
        self.wfile.write(b"400\r\n" + GOOD[:500])

    def way_endless(self) -> None:
        self.head(None)
        while True:
            self.wfile.write(bytes(1 << 16))

    def way_large(self) -> None:
        self.head(len(GOOD) + 1)

    def way_missing(self) -> None:
        self.head(0, 404)

    def way_plain(self) -> None:
        self.head(0, 302, Location="http://127.0.0.1:1/good")

    def way_local(self) -> None:
        self.head(0, 302, Location="file:///etc/passwd")

    def way_nonsense(self) -> None:
        self.wfile.write(b"hello\r\n\r\n")

    def way_silent(self) -> None:
        return


@pytest.fixture(scope="module")
def liar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pair = make_certificate(tmp_path_factory.mktemp("tls"))
    with serve_https(Liar, pair) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(pair[0]))
        patch.setattr(http_download, "RETRY_DELAYS_S", (0.01, 0.01))
        for name in ("HTTPS_PROXY", "https_proxy"):
            patch.delenv(name, raising=False)
        yield f"https://localhost:{server.server_address[1]}"


def fetch(folder: Path, *places: Location) -> BlobFolder:
    blobs = BlobFolder(folder / "blobs")
    source = Fetch("data.bin", len(GOOD), places)
    obtain({DIGEST: source}, blobs, None, lambda _: None)
    return blobs


@pytest.mark.parametrize(("way", "compression"), [("good", ""), ("zipped", "gzip")])
def test_a_good_download_becomes_a_blob(
    tmp_path: Path, liar: str, way: str, compression: str
) -> None:
    place = Location(url=f"{liar}/{way}", compression=compression, size_bytes=len(GOOD))
    blobs = fetch(tmp_path, place)
    assert blobs.path(DIGEST).read_bytes() == GOOD


BAD = {
    "wrong": "sha256 is",
    "truncated": "IncompleteRead",
    "chunked": "IncompleteRead",
    "endless": "larger than the declared",
    "large": "larger than the declared",
    "missing": "status 404",
    "plain": "without https",
    "local": "without https",
    "nonsense": "BadStatusLine",
    "silent": "Remote end closed connection without response",
}


@pytest.mark.parametrize("way", BAD)
def test_a_bad_download_leaves_nothing(tmp_path: Path, liar: str, way: str) -> None:
    with pytest.raises(FleetmarkError, match=BAD[way]) as caught:
        fetch(tmp_path, Location(url=f"{liar}/{way}", size_bytes=len(GOOD)))
    assert caught.value.kind is ErrorKind.ARTIFACT_UNAVAILABLE
    assert f"{liar}/{way}" in caught.value.what
    assert not [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]


def test_the_next_place_is_tried(tmp_path: Path, liar: str) -> None:
    places = [Location(url=f"{liar}/{way}", size_bytes=len(GOOD)) for way in ("wrong", "good")]
    assert fetch(tmp_path, *places).has(DIGEST)


def test_a_server_with_an_untrusted_certificate_is_refused(
    tmp_path: Path, liar: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(FleetmarkError, match="certificate"):
        fetch(tmp_path, Location(url=f"{liar}/good", size_bytes=len(GOOD)))


def test_what_must_be_provided_says_so(tmp_path: Path) -> None:
    place = Location(provided="agree to the license at example.org", size_bytes=len(GOOD))
    with pytest.raises(FleetmarkError, match="agree to the license") as caught:
        fetch(tmp_path, place)
    assert "catalog import-files" in caught.value.next_step
