"""Write a device's name and labels into an agent's config.toml: write_config.py HOME [options].

Run by install-agent.sh with the Python of the new environment. All other lines stay as they are.
The agent's own reader checks the result before it replaces the file, so that a mistake shows when
the device is installed and not when its agent starts.

With --check nothing is written: the script does so before it builds anything, with the agent's code
straight from the checkout or the wheel, which needs no other library.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from pathlib import Path

from fleetmark_agent.config.loader import BadSetting, load_settings, parse_label
from fleetmark_cli.paths import ConfigError
from fleetmark_protos.token import TokenError, parse_token

_NAME = "config.toml"


def merge(text: str, name: str | None, labels: dict[str, str]) -> str:
    """Return the text of a config.toml with `name` and `labels` set in it."""
    lines = text.splitlines()
    if name is not None:
        first = next((i for i, line in enumerate(lines) if line.startswith("[")), len(lines))
        _set(lines, 0, first, "name", name)
    if labels:
        if "[labels]" not in lines:
            lines += ["", "[labels]"] if lines else ["[labels]"]
        for key, value in labels.items():
            start = lines.index("[labels]") + 1
            after = (i for i in range(start, len(lines)) if lines[i].startswith("["))
            _set(lines, start, next(after, len(lines)), key, value)
    return "".join(f"{line}\n" for line in lines)


def _set(lines: list[str], start: int, end: int, key: str, value: str) -> None:
    """Replace the line of `key` between two indexes, or insert one there."""
    bare = bool(re.fullmatch(r"[A-Za-z0-9_-]+", key))
    # A JSON string without surrogates is a TOML string.
    line = f"{key if bare else json.dumps(key)} = {json.dumps(value, ensure_ascii=False)}"
    own = re.compile(rf"""\s*(["']?){re.escape(key)}\1\s*=""")
    for index in range(start, end):
        if own.match(lines[index]):
            lines[index] = line
            return
    while end > start and not lines[end - 1].strip():
        end -= 1
    lines.insert(end, line)


def main() -> int:
    """Return 0, or 2 after a line on stderr if a value is not allowed."""
    parser = argparse.ArgumentParser(prog="write_config")
    parser.add_argument("home", type=Path)
    parser.add_argument("--controller", help="only checked; it is kept elsewhere")
    parser.add_argument("--name")
    parser.add_argument("--label", action="append", default=[])
    parser.add_argument("--token-file", type=Path, help="only checked")
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args()
    path = options.home / _NAME
    if options.token_file is not None:
        try:
            parse_token(options.token_file.read_text(encoding="utf-8", errors="replace"))
        except TokenError as error:
            print(f"--token-file: {error}", file=sys.stderr)
            return 2
    try:
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        text = merge(before, options.name, dict(map(parse_label, options.label)))
        with tempfile.TemporaryDirectory() as scratch:
            tried = Path(scratch) / _NAME
            tried.write_text(text, encoding="utf-8")
            try:
                load_settings(tried.parent, controller=options.controller)
            except ConfigError as error:
                raise ConfigError(str(error).replace(f"{tried}: ", "")) from error
    except (ValueError, BadSetting, ConfigError) as error:
        print(f"{path}: {error}", file=sys.stderr)
        return 2
    if text != before and not options.check:
        scratch_file = path.with_suffix(".tmp")
        with os.fdopen(
            os.open(scratch_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w"
        ) as f:
            f.write(text)
        scratch_file.replace(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
