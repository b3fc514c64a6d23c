"""What a response to a request for a file, or for its rest, is taken for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from urllib3 import HTTPHeaderDict

from fleetmark_controller.artifacts.http_download import (
    MAX_RETRY_AFTER_S,
    content_offset,
    retry_after_s,
    validator_of,
)
from fleetmark_controller.artifacts.https_client import TemporaryFailure
from fleetmark_core.errors import ErrorKind, FleetmarkError

TEXTS = st.text(alphabet='0123456789bytes -/*"W,:+é²', max_size=30) | st.text(max_size=30)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["Content-Range", "content-length", "Retry-After", "ETag", "Last-Modified", "X"]
    ),
    TEXTS | st.integers(-5, 10**25).map(str) | st.just("bytes 7-8/9"),
).map(HTTPHeaderDict)


@pytest.mark.fuzz("answers of a server of files")
@given(st.integers(100, 999), HEADERS, st.sampled_from([0, 7, 1 << 40]), st.integers(0, 1 << 41))
def test_any_answer_is_an_offset_or_a_failure(
    status: int, headers: HTTPHeaderDict, requested: int, limit: int
) -> None:
    try:
        begin = content_offset(status, headers, requested, limit)
    except FleetmarkError as error:
        assert error.kind is ErrorKind.ARTIFACT_UNAVAILABLE
    except TemporaryFailure as failure:
        assert 0 <= failure.retry_after_s <= MAX_RETRY_AFTER_S
    else:
        assert begin in ((0, requested, None) if requested else (0,))
        if begin:
            assert headers["Content-Range"].startswith(f"bytes {requested}-")
    assert validator_of(headers).isascii() and "\n" not in validator_of(headers)


@pytest.mark.fuzz("answers of a server of files")
@given(TEXTS | st.integers(0, 10**400).map(str) | st.datetimes().map("{:%a, %d %b %Y %T}".format))
def test_any_retry_after_is_a_number_of_seconds(value: str) -> None:
    assert 0.0 <= retry_after_s(value) <= 86_400.0


@pytest.mark.parametrize(("value", "seconds"), [("", 0.0), ("5", 5.0), (" 7 ", 7.0), ("x", 0.0)])
def test_retry_after_in_seconds(value: str, seconds: float) -> None:
    assert retry_after_s(value) == seconds
    assert retry_after_s("9" * 400) > MAX_RETRY_AFTER_S
