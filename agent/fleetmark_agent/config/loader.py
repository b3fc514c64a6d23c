"""Loads the agent's settings: flags over environment over config.toml over defaults."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fleetmark_agent.config.settings import STABLE_SETTINGS, AgentSettings
from fleetmark_core.device_names import RULE, is_device_name
from fleetmark_core.log_format import LOG_FORMATS
from fleetmark_core.regular_file import read_regular
from fleetmark_core.sandbox_levels import LEVELS
from fleetmark_core.tunnel_address import split_address
from fleetmark_protos.channel import DEFAULT_PORT

_MAX_TOKEN_BYTES = 64 << 10

_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9._/-]{0,62}")


class BadSetting(Exception):
    """Raised when a flag has an invalid value; the message names the value and the rule."""


def load_settings(
    home: Path,
    *,
    controller: str | None = None,
    name: str | None = None,
    labels: Mapping[str, str] | None = None,
    once: bool = False,
    token: str | None = None,
    token_file: str | None = None,
    sandbox: str | None = None,
    allow_network: bool = False,
    allow_folders: Sequence[str] = (),
    log_format: str | None = None,
) -> AgentSettings:
    """Combine the arguments (flags), the environment and `home`/config.toml.

    A token in the environment is removed from it, so that child processes do not inherit it.

    Raises:
        ConfigError: config.toml is not TOML, or has an invalid key or value.
        BadSetting: a flag or an environment variable has an invalid value.
    """
    from fleetmark_cli.paths import ConfigError, read_config
    from fleetmark_core.suggest import hint

    path = home / "config.toml"
    try:
        values = read_config(home)
    except ConfigError as error:
        raise ConfigError(f"{error}. Correct the file") from error
    checked: dict[str, Any] = {}
    for key, value in values.items():
        check = KEYS.get(key)
        if check is None:
            raise ConfigError(f"{path}: unknown key {key!r}. {hint(key, KEYS)}")
        try:
            checked[key] = check.read(value)
        except ValueError as error:
            raise ConfigError(f"{path}: {key}: {error}") from error
    chosen = controller or os.environ.get("FLEETMARK_CONTROLLER")
    log_format = log_format or os.environ.get("FLEETMARK_LOG_FORMAT")
    try:
        if chosen:
            checked["controller"] = _address(chosen)
        if name is not None:
            checked["name"] = _name(name)
        if labels:
            checked["labels"] = {**checked.get("labels", {}), **_labels(dict(labels))}
        if sandbox is not None:
            checked["sandbox"] = _level(sandbox)
        if log_format:
            checked["log_format"] = _log_format(log_format)
        if allow_network:
            checked["allow_network"] = True
        if allow_folders:
            more = _folders(list(allow_folders))
            checked["allow_folders"] = [*checked.get("allow_folders", ()), *more]
    except ValueError as error:
        raise BadSetting(str(error)) from error
    for folder in checked.get("allow_folders", ()):
        if Path(os.path.realpath(home)).is_relative_to(folder):
            raise BadSetting(f"allow_folders: {folder} contains the agent's home with its keys")
    return AgentSettings(home=home, once=once, token=_read_token(token, token_file), **checked)


def _read_token(given: str | None, file: str | None) -> str:
    inherited = os.environ.pop("FLEETMARK_TOKEN", "")
    if given and file:
        raise BadSetting("--token and --token-file: use only one of them")
    if file:
        try:
            from fleetmark_cli.paths import expand_user

            return read_regular(expand_user(file), _MAX_TOKEN_BYTES).decode().strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise BadSetting(f"--token-file {file}: {why}") from error
    return (given or inherited).strip()


def parse_label(text: str) -> tuple[str, str]:
    """Parse `key=value`, the argument of `--label`.

    Raises:
        ValueError: the text does not have this form, or key or value is invalid.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"{text!r} does not have the form key=value")
    return next(iter(_labels({key: value}).items()))


def _address(value: object) -> str:
    try:
        split_address(value if isinstance(value, str) else "")
    except ValueError as error:
        raise ValueError(
            f"{value!r} is not HOST:PORT, for example 127.0.0.1:{DEFAULT_PORT} or"
            f" [fd00::1]:{DEFAULT_PORT}, or unix:/FOLDER:PORT of a tunnel"
        ) from error
    return str(value)


def _name(value: object) -> str:
    if not isinstance(value, str) or not is_device_name(value):
        raise ValueError(f"{value!r} is not a name: {RULE}")
    return value


def _labels(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f"found {value!r}, expected a table of strings")
    for key, text in value.items():
        if not _LABEL.fullmatch(str(key)):
            raise ValueError(f"{key!r} is not a label key: use letters, digits, and . _ - /")
        if not isinstance(text, str) or len(text) > 200 or not text.isprintable():
            raise ValueError(
                f"label {key!r} has the value {text!r}, expected at most 200 printable characters"
            )
    return {str(key): str(text) for key, text in value.items()}


def _level(value: object) -> str:
    from fleetmark_core.suggest import hint

    if value not in LEVELS:
        raise ValueError(f"{value!r} is not a sandbox level. {hint(str(value), LEVELS)}")
    return str(value)


def _log_format(value: object) -> str:
    if value not in LOG_FORMATS:
        raise ValueError(f"{value!r} is not a log format: use {', '.join(LOG_FORMATS)}")
    return str(value)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"found {value!r}, expected true or false")
    return value


def _folders(value: object) -> list[str]:
    if not isinstance(value, list):
        raise ValueError(f"found {value!r}, expected a list of folders")
    for path in value:
        if not isinstance(path, str) or not os.path.isabs(path) or not Path(path).is_dir():  # noqa: PTH117
            raise ValueError(f"{path!r} is not the absolute path of an existing folder")
    return [os.path.realpath(path) for path in value]


def _stable_settings(value: object) -> list[str]:
    from fleetmark_core.suggest import hint

    if not isinstance(value, list):
        raise ValueError(f"found {value!r}, expected a list of settings")
    for name in value:
        if name not in STABLE_SETTINGS:
            raise ValueError(f"{name!r} is not a setting. {hint(str(name), STABLE_SETTINGS)}")
    return list(value)


def _power_mode(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"\S{1,40}", value):
        raise ValueError(f"found {value!r}, expected the name of a power mode")
    return value


def _root(value: object) -> str:
    return _folders([value])[0]


def _sensor(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or len(value) > 100:
        raise ValueError(f"found {value!r}, expected the name of a sensor")
    return value


class Check(NamedTuple):
    """Validation of a key's value: `read` converts it; `allowed` describes valid values."""

    read: Callable[[object], Any]
    allowed: str


def _whole(lowest: int) -> Check:
    def read(value: object) -> int:
        if type(value) is not int or value < lowest:
            raise ValueError(f"found {value!r}, expected an integer of at least {lowest}")
        return value

    return Check(read, f"whole number, at least {lowest:,}")


def _seconds(lowest: float, highest: float) -> Check:
    def read(value: object) -> float:
        fits = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not fits or not lowest <= float(str(value)) <= highest:
            raise ValueError(f"found {value!r}, expected seconds from {lowest:g} to {highest:g}")
        return float(str(value))

    return Check(read, f"seconds, {lowest:g} to {highest:,.10g}")


KEYS: dict[str, Check] = {
    "controller": Check(_address, "HOST:PORT, an IPv6 host in brackets; or unix:/FOLDER:PORT"),
    "name": Check(_name, RULE),
    "labels": Check(_labels, "table of texts"),
    "cache_limit_bytes": _whole(0),
    "spool_limit_bytes": _whole(1024),
    "min_free_bytes": _whole(0),
    "telemetry_interval_s": _seconds(0.05, 3600),
    "job_output_limit_bytes": _whole(0),
    "stop_grace_s": _seconds(0, 600),
    "detect_interval_s": _seconds(0, 30 * 86400),
    "once_wait_s": _seconds(0.1, 86400),
    "sandbox": Check(_level, ", ".join(LEVELS)),
    "allow_network": Check(_flag, "true or false"),
    "allow_folders": Check(_folders, "list of absolute paths of folders that exist"),
    "job_memory_bytes": _whole(0),
    "job_processes": _whole(0),
    "job_scratch_bytes": _whole(1024 * 1024),
    "start_wait_s": _seconds(0, 86400),
    "system_root": Check(_root, "absolute path of a folder that exists"),
    "stable_settings": Check(_stable_settings, f"list of {', '.join(STABLE_SETTINGS)}"),
    "nvpmodel_mode": Check(_power_mode, "name of a power mode, up to 40 characters"),
    "log_format": Check(_log_format, ", ".join(LOG_FORMATS)),
    "energy_input": Check(_sensor, "name of a sensor, up to 100 characters"),
}
"""Keys of config.toml."""
