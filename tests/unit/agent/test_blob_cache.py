"""The cache: resumed transfers, verified bytes, eviction, room."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fleetmark_agent.cache.blob_cache import Cache
from fleetmark_agent.errors import Refusal
from fleetmark_agent.net.transport import TransportError
from fleetmark_core import atomic_file
from fleetmark_core.lockfile import BlobRef
from tests.support.bundles import blob

GIB = 1 << 30


class Source:
    """Serves blobs, in pieces; `cuts` says after how many bytes each call breaks off."""

    def __init__(self, *contents: bytes) -> None:
        self.contents = {blob("x", data).sha256: data for data in contents}
        self.calls: list[int] = []
        self.cuts: list[int] = []
        self.temporary = True

    async def download(self, sha256: str, offset: int) -> AsyncIterator[bytes]:
        self.calls.append(offset)
        data = self.contents[sha256]
        left = self.cuts.pop(0) if self.cuts else len(data)
        for start in range(offset, len(data), 100):
            if left <= 0:
                raise TransportError("cut", temporary=self.temporary)
            piece = data[start : start + min(100, left)]
            left -= len(piece)
            yield piece


def make(path: Path, limit_bytes: int = GIB, min_free_bytes: int = 0) -> Cache:
    return Cache(path / "cache", limit_bytes, min_free_bytes)


async def test_a_new_process_resumes_what_the_old_one_left(tmp_path: Path) -> None:
    data = os.urandom(2000)
    source = Source(data)
    source.cuts = [700]
    ref = blob("model", data)
    with pytest.raises(TransportError):
        await make(tmp_path).fetch(ref, source.download, patient=False)
    cache = make(tmp_path)
    cache.clean()
    await cache.fetch(ref, source.download)
    assert source.calls == [0, 700]


async def test_other_bytes_are_fetched_once_more_and_then_refused(tmp_path: Path) -> None:
    source, cache = Source(), make(tmp_path)
    ref = blob("model.onnx", b"right" * 100)
    source.contents[ref.sha256] = b"wrong" * 100
    with pytest.raises(Refusal, match=r"model\.onnx: sha256 is") as caught:
        await cache.fetch(ref, source.download)
    assert source.calls == [0, 0] and not caught.value.retryable
    assert not cache.blobs.has(ref.sha256)
    assert list((tmp_path / "cache" / "blobs" / "partial").iterdir()) == []


async def test_bytes_that_went_wrong_on_the_way_are_mended(tmp_path: Path) -> None:
    data = b"right" * 100
    source, cache = Source(data), make(tmp_path)
    ref = blob("model", data)
    cache.blobs.partial(ref.sha256).write_bytes(b"rotten")
    assert (await cache.fetch(ref, source.download)).read_bytes() == data
    assert source.calls == [6, 0]


async def test_more_bytes_than_named_end_the_transfer(tmp_path: Path) -> None:
    source, cache = Source(), make(tmp_path)
    ref = blob("model", b"x" * 100)
    source.contents[ref.sha256] = b"x" * 1000
    with pytest.raises(Refusal, match="sent more than the 100 declared bytes"):
        await cache.fetch(ref, source.download)


async def test_what_the_controller_does_not_have_is_refused(tmp_path: Path) -> None:
    source, cache = Source(b"x" * 100), make(tmp_path)
    source.cuts, source.temporary = [0], False
    with pytest.raises(Refusal, match="model: cut"):
        await cache.fetch(blob("model", b"x" * 100), source.download)


async def test_empty_blobs_exist(tmp_path: Path) -> None:
    assert (await make(tmp_path).fetch(blob("e", b""), Source(b"").download)).read_bytes() == b""


async def test_a_blob_that_rotted_on_the_disk_is_noticed_before_use(tmp_path: Path) -> None:
    source, cache = Source(b"x" * 100), make(tmp_path)
    ref = blob("model", b"x" * 100)
    path = await cache.fetch(ref, source.download)
    path.chmod(0o600)
    path.write_bytes(b"y" * 100)
    with pytest.raises(Refusal, match="is damaged on the disk") as caught:
        await cache.verified(ref)
    assert caught.value.retryable
    assert cache.lacking([ref]) == [ref]


async def test_the_least_recently_used_goes_first_and_what_is_needed_stays(tmp_path: Path) -> None:
    contents = [bytes([n]) * 1000 for n in range(4)]
    source, cache = Source(*contents), make(tmp_path, limit_bytes=4500)
    refs = [blob(f"b{n}", data) for n, data in enumerate(contents)]
    for age, ref in enumerate(refs):
        path = await cache.fetch(ref, source.download)
        os.utime(path, (1000 + age, 1000 + age))
    environment = cache.environments / "key"
    environment.mkdir(parents=True)
    (environment / "module.py").write_bytes(b"x" * 100)
    os.utime(environment, (999, 999))
    with cache.pinned("attempt", {refs[0].sha256}):
        cache.make_room(1000)
    assert not environment.exists()
    assert [cache.blobs.has(ref.sha256) for ref in refs] == [True, False, True, True]
    cache.make_room(1_000_000)
    assert list(cache.blobs) == []


async def test_what_will_not_fit_is_refused_with_both_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make(tmp_path)
    monkeypatch.setattr("fleetmark_agent.cache.blob_cache.free_bytes", lambda _path: 1_200_000)
    with pytest.raises(Refusal) as caught:
        cache.make_room(53_100_000, "resnet with its environment")
    place = tmp_path / "cache"
    assert str(caught.value) == (
        f"resnet with its environment needs 53.1 MB, 1.2 MB free at {place}: "
        "free space or move the home"
    )


async def test_room_that_must_stay_free_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make(tmp_path, min_free_bytes=64_000_000)
    monkeypatch.setattr("fleetmark_agent.cache.blob_cache.free_bytes", lambda _path: 70_000_000)
    with pytest.raises(Refusal, match=r"6\.0 MB free at .* besides the 64\.0 MB that must stay"):
        cache.make_room(53_100_000)
    cache.make_room(5_000_000)


async def test_a_disk_that_fills_up_in_the_midst_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, cache = Source(b"x" * 100), make(tmp_path)
    real = atomic_file.sync_file

    def full(_self: object, partial: Path, _sha256: str, _size: int) -> Path:
        real(partial)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fleetmark_core.blob_store.BlobFolder.commit", full)
    with pytest.raises(Refusal, match="no space left for model"):
        await cache.fetch(BlobRef("model", blob("m", b"x" * 100).sha256, 100), source.download)
    assert list((tmp_path / "cache" / "blobs" / "partial").iterdir()) == []
