"""Requirements of a shared library on the device that loads it (ELF, 64-bit, little-endian).

They are read as a loader reads them, from the dynamic segment: section headers may be absent, and a
library that lies in them loads nevertheless. See docs/adr/0009-elf-and-wheels.md.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

MACHINES = {62: "x86_64", 183: "aarch64"}
_LOAD, _DYNAMIC = 1, 2
_NEEDED, _STRTAB, _VERNEED, _VERNEEDNUM = 1, 5, 0x6FFFFFFE, 0x6FFFFFFF
_MAX_ENTRIES = 100_000
"""Maximum number of entries that are read; chains of entries may be as long as the file."""
_MAX_NAME_BYTES = 4096
# Libraries that PEP 600 guarantees on every system with the GNU C library. A wheel must contain any
# other.
_EVERYWHERE = {
    *("libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libutil.so.1"),
    *("ld-linux-aarch64.so.1", "ld-linux-x86-64.so.2"),
}


@dataclass(frozen=True)
class ElfRequirements:
    """Required architecture, names of libraries, and symbol versions (`GLIBC_2.17`) by library."""

    arch: str
    libraries: tuple[str, ...]
    versions: dict[str, tuple[str, ...]]


def read_needs(data: bytes) -> ElfRequirements:
    """Return the requirements of the shared library `data`.

    Raises:
        ValueError: `data` is not such a library, or is truncated.
    """
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError("is not a 64-bit little-endian ELF file")
    try:
        return _read(data)
    except (struct.error, LookupError, ValueError, StopIteration, OverflowError) as error:
        raise ValueError("is a damaged ELF file") from error


def _read(data: bytes) -> ElfRequirements:
    (machine,) = struct.unpack_from("<H", data, 18)
    (table,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    segments = [struct.unpack_from("<IIQQQQ", data, table + size * i) for i in range(count)]

    def offset(address: int) -> int:
        """Return the file offset that is mapped to a memory address."""
        return next(
            int(address - start + place)
            for kind, _, place, start, _, length in segments
            if kind == _LOAD and start <= address < start + length
        )

    # StopIteration ends the reading of a file with too many entries.
    entries = iter(range(_MAX_ENTRIES))
    dynamic: dict[int, list[int]] = {}
    for kind, _, place, _, _, length in segments:
        for position in range(place, place + length, 16) if kind == _DYNAMIC else ():
            next(entries)
            tag, value = struct.unpack_from("<qQ", data, position)
            if tag == 0:
                break
            dynamic.setdefault(tag, []).append(value)
    strings = offset(dynamic[_STRTAB][0]) if _STRTAB in dynamic else 0

    def text(position: int) -> str:
        next(entries)
        end = data.index(b"\0", strings + position, strings + position + _MAX_NAME_BYTES)
        return data[strings + position : end].decode("ascii", "replace")

    versions: dict[str, tuple[str, ...]] = {}
    if _VERNEED in dynamic:
        entry = offset(dynamic[_VERNEED][0])
        for _ in range(dynamic[_VERNEEDNUM][0]):
            _, number, library, first, following = struct.unpack_from("<HHIII", data, entry)
            found, place = [], entry + first
            for _ in range(number):
                _, _, _, name, next_place = struct.unpack_from("<IHHII", data, place)
                found.append(text(name))
                place += next_place
                if not next_place:
                    break
            versions[text(library)] = tuple(sorted(found))
            entry += following
            if not following:
                break
    libraries = tuple(text(position) for position in dynamic.get(_NEEDED, ()))
    return ElfRequirements(MACHINES.get(machine, f"machine {machine}"), libraries, versions)


def incompatibility(needs: ElfRequirements, arch: str, glibc: str) -> str:
    """Return why a library cannot run on every device of `arch` with `glibc` (such as 2.28).

    The result is empty if it can.
    """
    if needs.arch != arch:
        return f"is for {needs.arch}, not {arch}"
    strange = [name for name in needs.libraries if name not in _EVERYWHERE]
    if strange:
        return f"needs {', '.join(strange)}, which some devices do not have"
    limit = _numbers(glibc)
    for found in needs.versions.values():
        for version in found:
            name, _, number = version.partition("_")
            if name == "GLIBC" and _numbers(number) > limit:
                return f"needs glibc {number}, newer than {glibc}"
    return ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())
