"""The sample codec and percentiles."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fleetmark_controller.evaluation import samples
from fleetmark_controller.evaluation.samples import (
    decode,
    decode_parts,
    encode,
    percentile,
    read_raw,
)
from fleetmark_controller.evaluation.thresholds import MAX_SAMPLES
from fleetmark_controller.loadgen.errors import IngestError
from fleetmark_controller.loadgen.limits import MAX_LATENCY_NS
from tests.support import LOADGEN_LOGS
from tests.support.evaluation_cases import PERFORMANCE

Read = Callable[[bytes], np.ndarray]


def in_parts(blob: bytes, part: int = 7) -> np.ndarray:
    return np.concatenate([np.empty(0, np.int64), *decode_parts(blob, part)])


def by_places(blob: bytes) -> np.ndarray:
    with mock.patch.object(samples, "_WHOLE_SAMPLES", -1):
        return in_parts(blob)


READERS = pytest.mark.parametrize("read", [decode, in_parts, by_places])
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)


@READERS
@given(arrays(np.int64, st.integers(0, 300), elements=INT64))
def test_decode_gives_back_what_encode_got(read: Read, given_samples: np.ndarray) -> None:
    found = read(encode(given_samples))
    assert found.dtype == np.int64
    assert np.array_equal(found, given_samples)


def test_parts_have_at_most_the_size_that_is_asked_for() -> None:
    blob = encode(np.arange(20, dtype=np.int64))
    for whole in (0, 100):
        with mock.patch.object(samples, "_WHOLE_SAMPLES", whole):
            assert [len(part) for part in decode_parts(blob, 8)] == [8, 8, 4]


@given(arrays(np.int64, 40, elements=INT64), st.integers(1, 4))
def test_a_view_with_gaps_is_encoded_alike(every: np.ndarray, step: int) -> None:
    assert encode(every[::step]) == encode(every[::step].copy())


@pytest.mark.fuzz("samples")
@READERS
@given(st.binary(max_size=200))
def test_hostile_blobs_are_refused(read: Read, blob: bytes) -> None:
    with pytest.raises(IngestError):
        read(blob)


@pytest.mark.fuzz("samples")
@READERS
@given(st.data())
def test_damaged_blobs_are_refused_or_have_the_right_length(
    read: Read, data: st.DataObject
) -> None:
    blob = bytearray(encode(np.arange(100, dtype=np.int64)))
    place = data.draw(st.integers(0, len(blob) - 1))
    blob[place] ^= data.draw(st.integers(1, 255))
    try:
        found = read(bytes(blob))
    except IngestError:
        return
    assert found.size == 100


@READERS
@pytest.mark.parametrize("claimed", [0, 99, 101, MAX_SAMPLES, MAX_SAMPLES + 1, (1 << 64) - 1])
def test_a_header_that_lies_about_the_count_costs_nothing(read: Read, claimed: int) -> None:
    blob = encode(np.arange(100, dtype=np.int64))
    with pytest.raises(IngestError):
        read(struct.pack("<4sHHQ", b"FMSL", 1, 8, claimed) + blob[16:])


def test_a_frame_that_lies_about_its_size_costs_nothing() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(50_000_000))
    with pytest.raises(IngestError, match="size"):
        decode(struct.pack("<4sHHQ", b"FMSL", 1, 8, 1000) + bomb)


def test_a_newer_format_is_named() -> None:
    blob = encode(np.arange(3, dtype=np.int64))
    with pytest.raises(IngestError, match="format 2, this version reads format 1"):
        decode(blob[:4] + b"\x02\x00" + blob[6:])


def test_latencies_shrink_to_a_few_bytes_each() -> None:
    samples = read_raw(LOADGEN_LOGS / "singlestream_performance" / "samples.i64")
    assert len(encode(samples)) < 3 * samples.size


def test_percentiles_are_taken_as_loadgen_takes_them() -> None:
    ordered = np.arange(1000, dtype=np.int64)
    assert [percentile(ordered, share) for share in (0.5, 0.9, 0.99, 0.999)] == [500, 900, 990, 999]
    assert percentile(np.array([7], dtype=np.int64), 0.999) == 7


@given(arrays(np.int64, st.integers(1, 200), elements=st.integers(0, 10**9)), st.floats(0, 0.9999))
def test_a_percentile_is_a_latency_that_occurred(samples: np.ndarray, share: float) -> None:
    ordered = np.sort(samples)
    value = percentile(ordered, share)
    assert value in samples
    assert np.count_nonzero(samples <= value) >= share * samples.size


@pytest.mark.parametrize("name", PERFORMANCE)
def test_genuine_samples_are_read(name: str) -> None:
    samples = read_raw(LOADGEN_LOGS / name / "samples.i64")
    assert samples.size > 0
    assert samples.min() > 0


@pytest.mark.parametrize(
    ("content", "output"),
    [
        (b"1234567", "7 bytes"),
        (struct.pack("<q", -1), "-1 to"),
        (struct.pack("<2q", 5, MAX_LATENCY_NS + 1), "holds latencies"),
    ],
)
def test_what_is_no_latency_is_refused(tmp_path: Path, content: bytes, output: str) -> None:
    path = tmp_path / "samples.i64"
    path.write_bytes(content)
    with pytest.raises(IngestError, match=output):
        read_raw(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(IngestError, match=r"samples\.i64: cannot be read"):
        read_raw(tmp_path / "samples.i64")
