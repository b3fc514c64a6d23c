"""Home folders of the commands, and the precedence of flags, environment and config.toml."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fleetmark_core.document_parser import parse_toml
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.regular_file import read_regular

_CONFIG_BYTES = 1024 * 1024


class ConfigError(Exception):
    """Raised when config.toml cannot be read; the message says where and why."""


def home_folder(role: str, flag: str | None) -> Path:
    """Return the home of `role` (agent, controller): flag, FLEETMARK_<ROLE>_HOME, or user's data.

    Raises:
        FleetmarkError: CONFIGURATION: no home is given, and the user has no home folder.
    """
    variable = f"FLEETMARK_{role.upper()}_HOME"
    chosen = flag or os.environ.get(variable)
    if chosen:
        return expand_user(chosen).absolute()
    data = user_folder("XDG_DATA_HOME", ".local/share")
    if data is None:
        raise no_home_error(f"Set HOME or {variable}, or name the {role}'s folder with --home")
    return data / "fleetmark" / role


def user_folder(variable: str, default: str) -> Path | None:
    """Return a folder of the XDG base directory specification; None if the user has no home.

    Args:
        variable: environment variable that names the folder.
        default: the default folder, relative to the user's home folder.
    """
    chosen = os.environ.get(variable)
    if chosen:
        return Path(chosen)
    home = user_home()
    return None if home is None else home / default


def user_home() -> Path | None:
    """Return the user's home folder: HOME, or that of the password database; None without both."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def expand_user(text: str) -> Path:
    """Return a path with a leading `~` replaced by the user's home folder.

    Raises:
        FleetmarkError: CONFIGURATION: the user has no home folder.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise no_home_error(f"Set HOME, or give {text!r} without ~") from error


def no_home_error(next_step: str) -> FleetmarkError:
    """Return the error for a user without a home folder."""
    return FleetmarkError(
        ErrorKind.CONFIGURATION,
        f"HOME is not set, and user {os.geteuid()} has no entry in the password database",
        next_step=next_step,
    )


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
