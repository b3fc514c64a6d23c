"""The command `controller`: says what to install where the controller's libraries are missing."""

from __future__ import annotations

import importlib.util
import sys
from typing import NoReturn

_NEEDED = ("sqlite_utils", "lark", "jsonschema", "rich", "numpy", "scipy", "pyarrow", "jinja2")


def main() -> NoReturn:
    """Run the command line."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(  # noqa: T201
            f"controller: not installed here: {', '.join(missing)}. "
            "Run `pip install 'fleetmark[controller]'`",
            file=sys.stderr,
        )
        sys.exit(4)
    from fleetmark_controller.cli import run

    run()


if __name__ == "__main__":
    main()
