"""Search paths of a detection: file tree, program folders, the loader's folders, Pythons.

All paths are below a root, so that a test can lay out the files of another device.
"""

from __future__ import annotations

import fnmatch
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from fleetmark_agent.fingerprint import sysfs
from fleetmark_core.regular_file import open_regular

_PROGRAMS = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin")
_MORE_PROGRAMS = ("/opt/homebrew/bin", "/system/bin")
_LIBRARIES = (
    *("/usr/local/lib", "/lib/*-linux-*", "/usr/lib/*-linux-*", "/lib64", "/usr/lib64"),
    *("/lib", "/usr/lib", "/opt/homebrew/lib", "/system/lib64", "/vendor/lib64"),
)
_MAX_MATCHES = 32
_KEPT_VARIABLES = ("ANDROID_ROOT", "ANDROID_DATA")


@dataclass(frozen=True)
class SearchPaths:
    """The file tree and search paths of one device.

    Attributes:
        root: the root of the file tree.
        path: the existing folders of programs.
        family: the operating system family.
        python: the Python that runs proofs written in Python.
        own: Pythons that are examined in addition to those in `path`.
    """

    root: Path
    path: tuple[Path, ...]
    family: str
    python: str
    own: tuple[str, ...] = ()

    @classmethod
    def here(cls) -> SearchPaths:
        """Return the search paths of this device."""
        named = [Path(name) for name in os.environ.get("PATH", "").split(os.pathsep)]
        folders = [*named, *map(Path, (*_PROGRAMS, *_MORE_PROGRAMS))]
        base = _base_python()
        return cls(Path("/"), _trusted(_distinct(folders)), _family(Path("/")), base, (base,))

    @classmethod
    def below(cls, root: Path, path: tuple[Path, ...] | None = None) -> SearchPaths:
        """Return search paths for a device whose files are laid out below `root`.

        This device runs its programs.

        Args:
            root: the root of the file tree.
            path: the program folders, instead of the standard ones below `root`.
        """
        folders = [root / name[1:] for name in _PROGRAMS] if path is None else list(path)
        return cls(root, _distinct(folders), _family(root), _base_python())

    def shown(self, path: Path | str) -> str:
        """Return the path as seen on the device itself."""
        try:
            return f"/{Path(path).relative_to(self.root)}"
        except ValueError:
            return str(path)

    def inside(self, absolute: str) -> Path:
        """Return the path below `root` of an absolute path of the device."""
        return self.root / absolute.lstrip("/")

    def programs(self, pattern: str) -> list[Path]:
        """Return the programs that match a name or glob in PATH order, or an absolute one."""
        if pattern.startswith("/"):
            return [path for path in self.files(pattern) if _is_program(path)]
        found: list[Path] = []
        for folder in self.path:
            try:
                listed = folder.iterdir() if set(pattern) & set("*?[") else [folder / pattern]
                hits = [path for path in listed if fnmatch.fnmatchcase(path.name, pattern)]
            except OSError:
                continue
            found += [path for path in sorted(hits, key=_natural) if _is_program(path)]
        return found[:_MAX_MATCHES]

    def files(self, pattern: str) -> list[Path]:
        """Return the files that match an absolute path or glob of the device, in natural order."""
        relative = pattern.lstrip("/")
        if not set(relative) & set("*?["):
            path = self.root / relative
            return [path] if os.path.lexists(path) else []
        try:
            return sorted(self.root.glob(relative), key=_natural)[:_MAX_MATCHES]
        except OSError:
            return []

    def libraries(self, pattern: str) -> list[Path]:
        """Return the matching shared libraries of the loader's folders.

        Libraries for another architecture than that of `python` are left out.
        """
        found: dict[str, Path] = {}
        own = _machine(Path(self.python))
        for folder in self._loader_folders():
            for path in sorted(folder.glob(pattern), key=_natural):
                theirs = _machine(path)
                if path.is_file() and (own is None or theirs is None or own == theirs):
                    found.setdefault(os.path.realpath(path), path)
        return list(found.values())[:_MAX_MATCHES]

    def environment(self, scratch: Path) -> dict[str, str]:
        """Return the whole environment of foreign programs; their HOME is `scratch`."""
        kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        return {
            **kept,
            "PATH": os.pathsep.join(map(str, self.path)),
            "HOME": str(scratch),
            "TMPDIR": str(scratch),
            "XDG_CONFIG_HOME": str(scratch),
            "XDG_CACHE_HOME": str(scratch),
            "XDG_DATA_HOME": str(scratch),
            "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "ORT_DISABLE_TELEMETRY": "1",
        }

    def _loader_folders(self) -> tuple[Path, ...]:
        folders = list(self._configured("/etc/ld.so.conf", 0))
        for pattern in _LIBRARIES:
            folders += self.files(pattern)
        return _distinct(folders)

    def _configured(self, pattern: str, depth: int) -> list[Path]:
        folders: list[Path] = []
        for path in self.files(pattern):
            for row in (sysfs.text(path) or "").splitlines():
                words = row.partition("#")[0].split()
                if len(words) == 2 and words[0] == "include" and depth < 4:
                    base = "" if words[1].startswith("/") else "/etc/"
                    folders += self._configured(base + words[1], depth + 1)
                elif len(words) == 1 and words[0].startswith("/"):
                    folders.append(self.inside(words[0]))
        return folders


def _base_python() -> str:
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def _family(root: Path) -> str:
    from fleetmark_agent.fingerprint import system

    return system.probe(root).family


def _distinct(folders: list[Path]) -> tuple[Path, ...]:
    """Return the existing absolute folders without duplicates: `/bin` may link to `/usr/bin`."""
    found: dict[str, Path] = {}
    for folder in folders:
        if folder.is_absolute() and folder.is_dir():
            found.setdefault(os.path.realpath(folder), folder)
    return tuple(found.values())


def _trusted(folders: tuple[Path, ...]) -> tuple[Path, ...]:
    """Drop world-writable folders: a program placed there would run with the agent's privileges."""
    return tuple(folder for folder in folders if not folder.stat().st_mode & stat.S_IWOTH)


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _natural(path: Path) -> tuple[tuple[int, str], ...]:
    """Return a sort key that orders cpu10 after cpu9."""
    text = str(path)
    words: list[tuple[int, str]] = []
    digits = ""
    for character in f"{text}\0":
        if character.isdecimal():
            digits += character
            continue
        if digits:
            words.append((int(digits), ""))
            digits = ""
        words.append((-1, character))
    return tuple(words)


def _machine(path: Path) -> bytes | None:
    """Return word size and architecture of an ELF file; None for any other file."""
    try:
        with open_regular(path) as file:
            head = file.read(20)
    except OSError:
        return None
    return head[4:6] + head[18:20] if head[:4] == b"\x7fELF" and len(head) == 20 else None
