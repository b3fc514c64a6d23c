"""Removal of personal details from texts: host and user names, addresses, serial numbers. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

NO_MAC, NO_IPV4, NO_IPV6 = "00:00:00:00:00:00", "0.0.0.0", "::"  # noqa: S104
NO_UUID = "00000000-0000-0000-0000-000000000000"
HOST, USER, SERIAL = "HOST", "USER", "SERIAL"
_COMMON = frozenset(
    (
        *("root", "pi", "jetson", "nvidia", "orin", "ubuntu", "debian", "rock", "radxa", "rk3588"),
        *("orangepi", "raspberrypi", "khadas", "odroid", "localhost", "localdomain", "user"),
        *(
            "admin",
            "core",
            "android",
            "shell",
            "host",
            "none",
            "linux",
            "tegra",
            "tegra-ubuntu",
            "default",
        ),
    )
)
"""Names that images of vendors come with. They identify nothing, and are words of the facts."""
_LEAST_NAME, _LEAST_SERIAL = 3, 5
_LONG_NAME = 4
"""From this length on a name also counts beside an underscore: `max` is a part of many files."""
_FIRST_IPV6 = 1 << 32
"""Lower addresses are those of no network: `::1`, and the `0::` of control groups."""
_HOME = re.compile(r"(/(?:home|Users)/)[^/\s\"':;,]+")
_UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.IGNORECASE)
_MAC = re.compile(
    r"(?<![0-9a-f:-])[0-9a-f]{2}([:-])[0-9a-f]{2}(?:\1[0-9a-f]{2}){4,18}(?![0-9a-f])",
    re.IGNORECASE,
)
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])")
_IPV6 = re.compile(r"(?<![\w:.])[0-9a-f:]*:[0-9a-f:]*:[0-9a-f:.]*(?![\w:])", re.IGNORECASE)
_SERIAL = re.compile(r"(serial(?:[ _-]?(?:number|no))?\"?\s*[:=]\s*\"?)[^\s\",}]+", re.IGNORECASE)
_PRIVATE_FILES = frozenset(
    (
        *("environ", "cmdline", "hostname", "boot_id", "machine-id", "product_uuid", "cid"),
        *("address", "uevent_seqnum", "bootconfig"),
    )
)


class Scrubber:
    """Replaces personal details by placeholders that are the same in every text."""

    def __init__(
        self, hosts: Iterable[str] = (), users: Iterable[str] = (), serials: Iterable[str] = ()
    ) -> None:
        """Set what is known of this device; addresses and home folders are found by their form."""
        words = {serial: SERIAL for serial in serials if len(serial) >= _LEAST_SERIAL}
        for names, placeholder in ((users, USER), (hosts, HOST)):
            for name in names:
                if len(name) >= _LEAST_NAME and name.lower() not in _COMMON:
                    words[name] = placeholder
        # A file of any encoding is read byte by byte.
        words.update({word.encode().decode("latin-1"): text for word, text in list(words.items())})
        self._words = {word.lower(): text for word, text in words.items()}
        longest = sorted(self._words, key=len, reverse=True)
        known = (
            rf"(?<!\w){re.escape(word)}(?!\w)"
            if len(word) < _LONG_NAME
            else rf"(?<![^\W_]){re.escape(word)}(?![^\W_])"
            for word in longest
        )
        self._known = re.compile("|".join(known), re.IGNORECASE) if longest else None

    def text(self, text: str) -> str:
        """Return the text without personal details."""
        if self._known is not None:
            text = self._known.sub(lambda found: self._words[found.group(0).lower()], text)
        text = _HOME.sub(rf"\g<1>{USER}", text)
        text = _UUID.sub(NO_UUID, text)
        text = _MAC.sub(NO_MAC, text)
        text = _IPV4.sub(NO_IPV4, text)
        text = _IPV6.sub(_without_ipv6, text)
        return _SERIAL.sub(rf"\g<1>{SERIAL}", text)

    def data(self, data: bytes) -> bytes:
        """Return the content of a file without personal details; other bytes stay as they are."""
        return self.text(data.decode("latin-1")).encode("latin-1")

    def plain(self, value: Any) -> Any:
        """Return plain values, keys included, without personal details."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {
                self.text(str(key)): SERIAL if _is_serial(str(key), one) else self.plain(one)
                for key, one in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [self.plain(one) for one in value]
        return value


def is_private(path: str) -> bool:
    """Return whether a file is never recorded, because it holds nothing but personal details."""
    name = PurePosixPath(path).name.lower()
    return name in _PRIVATE_FILES or "serial" in name


def _is_serial(key: str, value: object) -> bool:
    return "serial" in key.lower() and isinstance(value, str) and bool(value)


def _without_ipv6(found: re.Match[str]) -> str:
    text = found.group(0)
    try:
        address = ipaddress.IPv6Address(text.rstrip("."))
    except ValueError:
        return text
    return NO_IPV6 if int(address) >= _FIRST_IPV6 else text
