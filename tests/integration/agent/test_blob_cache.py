"""The cache: resumed transfers, verified bytes, eviction, room."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.bundles import blob
from tests.unit.agent.test_blob_cache import Source, make


async def test_a_transfer_that_is_cut_ten_times_resumes_each_time(tmp_path: Path) -> None:
    data = os.urandom(2000)
    source, cache = Source(data), make(tmp_path)
    source.cuts = [150] * 10
    ref = blob("model", data)
    path = await cache.fetch(ref, source.download)
    assert path.read_bytes() == data
    assert source.calls == [150 * n for n in range(11)]
    await cache.fetch(ref, source.download)
    assert len(source.calls) == 11
