"""Home folders of the commands, and the precedence of flags, environment and config.toml."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fleetmark_core.document_parser import parse_toml
from fleetmark_core.regular_file import read_regular

_CONFIG_BYTES = 1024 * 1024


class ConfigError(Exception):
    """Raised when config.toml cannot be read; the message says where and why."""


def home_folder(role: str, flag: str | None) -> Path:
    """Return the home of `role`: the flag, FLEETMARK_<ROLE>_HOME, or a folder in the user's data.

    Args:
        role: `agent` or `controller`.
        flag: the value of --home, if given.
    """
    chosen = flag or os.environ.get(f"FLEETMARK_{role.upper()}_HOME")
    if chosen:
        return Path(chosen).expanduser().absolute()
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(data) / "fleetmark" / role


def read_config(home: Path) -> dict[str, Any]:
    """Return the values of config.toml in `home`, or an empty dict if the file does not exist.

    Raises:
        ConfigError: the file is not TOML, is not a regular file, is larger than 1 MiB, or cannot be
            read.
    """
    path = home / "config.toml"
    try:
        return parse_toml(read_regular(path, _CONFIG_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
