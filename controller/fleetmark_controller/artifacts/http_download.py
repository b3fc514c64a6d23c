"""Download one file over HTTPS: bounded in size and time, retried, and resumed after a cut.

Proxies come from the environment (`HTTPS_PROXY`, `NO_PROXY`), trusted certificates from the system
or from `SSL_CERT_FILE`. The caller verifies the digest.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path

import urllib3
from urllib3.exceptions import InvalidHeader
from urllib3.response import BaseHTTPResponse

from fleetmark_controller.artifacts.https_client import (
    Deadline,
    TemporaryFailure,
    open_url,
    read_some,
    unavailable_error,
)
from fleetmark_core.errors import FleetmarkError
from fleetmark_core.retry import Backoff

TIME_LIMIT_S = 120.0
SLOWEST_BYTES_PER_S = 50_000
"""A transfer may take `TIME_LIMIT_S`, and as long as its declared size takes at this rate."""
RETRY_DELAYS_S = (0.5, 8.0)
"""First and longest delay between two tries, in seconds."""
MAX_FAILURES = 4
"""Number of successive tries without progress after which a download fails."""
MAX_RETRY_AFTER_S = 60.0
"""Longest wait that a server may ask for, in seconds."""
_CHUNK = 1 << 18
_TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})
_LENGTH = re.compile(r"[0-9]{1,18}")
_STRONG_TAG = re.compile(r'"[!\x23-\x7e]{1,200}"')
_DATE = re.compile(r"[A-Za-z0-9 ,:+-]{1,60}")
_MAX_RETRY_AFTER_TEXT = 100
_DAY_S = 86_400.0
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/(?:[0-9]{1,18}|\*)")


def download(url: str, target: Path, limit_bytes: int) -> None:
    """Download `url` to the file `target`.

    A transfer that breaks off is continued where it ended if the server supports it and says that
    the file has not changed; otherwise it starts again. Temporary failures are retried.

    Args:
        url: The https address.
        target: The file to write.
        limit_bytes: Maximum size of the file.

    Raises:
        FleetmarkError: ARTIFACT_UNAVAILABLE: the server cannot be reached, does not send the file,
            sends more than `limit_bytes`, redirects to an address without https, or is too slow.
        OSError: `target` cannot be written.
    """
    limit_s = TIME_LIMIT_S + limit_bytes / SLOWEST_BYTES_PER_S
    part = _PartialFile(target, limit_bytes)
    backoff, failures = Backoff(*RETRY_DELAYS_S), 0
    with Deadline(limit_s) as deadline:
        while True:
            longest_before = part.longest_bytes
            try:
                with open_url(url, part.request_headers(), deadline) as response:
                    part.receive(response)
                # A connection that the deadline shut down may look like the end of the file.
                if deadline.left_s() > 0:
                    return
                raise TemporaryFailure("the time is over")
            except TemporaryFailure as failure:
                if part.longest_bytes > longest_before:
                    backoff.reset()
                    failures = 0
                failures += 1
                delay_s = max(backoff.next_s(), failure.retry_after_s)
                if deadline.left_s() <= 0:
                    raise unavailable_error(f"did not end within {limit_s:.0f} s") from failure
                if failures == MAX_FAILURES or delay_s >= deadline.left_s():
                    raise unavailable_error(str(failure)) from failure
            time.sleep(delay_s)


class _PartialFile:
    """The received beginning of a file, and the version of the file that it belongs to."""

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self._path = path
        self._limit_bytes = limit_bytes
        self._size_bytes = 0
        self._validator = ""
        self.longest_bytes = 0

    def request_headers(self) -> dict[str, str]:
        """Return the headers that request the missing rest, or the whole file."""
        headers = {"User-Agent": "fleetmark", "Accept-Encoding": "identity"}
        if self._size_bytes and self._validator:
            headers["Range"] = f"bytes={self._size_bytes}-"
            headers["If-Range"] = self._validator
        else:
            self._size_bytes = 0
        return headers

    def receive(self, response: BaseHTTPResponse) -> None:
        """Write the content of a response to the file, behind what it continues.

        Raises:
            FleetmarkError: the server does not send the file, or sends too much.
            TemporaryFailure: it may send the file, or the rest of it, at the next try.
            OSError: the file cannot be written.
        """
        begin = content_offset(
            response.status, response.headers, self._size_bytes, self._limit_bytes
        )
        if begin is None:
            self._validator = ""
            raise TemporaryFailure(f"the server does not continue the file ({response.status})")
        if begin == 0:
            self._validator = validator_of(response.headers)
        self._size_bytes = begin
        with self._path.open("r+b" if begin else "wb") as file:
            file.seek(begin)
            while chunk := read_some(response, _CHUNK):
                if self._size_bytes + len(chunk) > self._limit_bytes:
                    raise _too_large_error(self._limit_bytes)
                file.write(chunk)
                self._size_bytes += len(chunk)
                self.longest_bytes = max(self.longest_bytes, self._size_bytes)


def content_offset(
    status: int, headers: Mapping[str, str], requested_bytes: int, limit_bytes: int
) -> int | None:
    """Return the offset at which the content of a response belongs in the file. Pure.

    Args:
        status: The status code.
        headers: The headers, found by names in any case.
        requested_bytes: Offset of the requested rest; 0 if the whole file was requested.
        limit_bytes: Maximum size of the file.

    Returns:
        `requested_bytes` for the rest, 0 for the whole file, None if the server does not send the
        requested rest, so that the whole file must be requested.

    Raises:
        FleetmarkError: ARTIFACT_UNAVAILABLE: the server does not send the file, or it is too large.
        TemporaryFailure: the server may send the file later.
    """
    what = f"the server answers with status {status}"
    if status in _TEMPORARY:
        wait_s = retry_after_s(headers.get("Retry-After", ""))
        if wait_s > MAX_RETRY_AFTER_S:
            raise unavailable_error(f"{what} and asks to wait {wait_s:.0f} s")
        raise TemporaryFailure(what, wait_s)
    if requested_bytes and status in (206, 416):
        found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
        if status == 416 or found is None or int(found[1]) != requested_bytes:
            return None
    elif status != 200:
        raise unavailable_error(what)
    begin = requested_bytes if status == 206 else 0
    length = headers.get("Content-Length", "")
    if _LENGTH.fullmatch(length) and begin + int(length) > limit_bytes:
        raise _too_large_error(limit_bytes)
    return begin


def validator_of(headers: Mapping[str, str]) -> str:
    """Return what identifies this version of the file in `If-Range`, or an empty text.

    It is a strong entity tag or a date (RFC 9110, 13.1.5).
    """
    tag, date = headers.get("ETag", ""), headers.get("Last-Modified", "")
    if tag:
        return tag if _STRONG_TAG.fullmatch(tag) else ""
    return date if _DATE.fullmatch(date) else ""


def retry_after_s(value: str) -> float:
    """Return the seconds that a Retry-After header asks to wait: a number or a date.

    The result is 0 if there is no valid header.
    """
    try:
        wait_s = urllib3.Retry().parse_retry_after(value[:_MAX_RETRY_AFTER_TEXT])
    except (InvalidHeader, ValueError, TypeError, OverflowError):
        return 0.0
    return min(float(wait_s), _DAY_S)


def _too_large_error(limit_bytes: int) -> FleetmarkError:
    return unavailable_error(f"is larger than the declared {limit_bytes} bytes")
