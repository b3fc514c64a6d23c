"""Generator of docs/reference/views.md, which `make docs` calls."""

from __future__ import annotations

import sys

from fleetmark_controller.export.columns import VIEWS

_HEAD = """# The public views

The stable interface of the results store: eight views, independent of the tables beneath them.
Every export has the same columns; `samples` exists only in exports. Times are ISO 8601 in UTC.
Any value may be NULL if the device does not offer it or the mode does not measure it.

Generated from `controller/fleetmark_controller/export/columns.py`.
"""


def text() -> str:
    """Return the documentation of all views as Markdown."""
    parts = [_HEAD]
    for view, columns in VIEWS.items():
        parts.append(f"\n## {view}\n\n| column | type | unit | meaning |\n|---|---|---|---|\n")
        parts.extend(
            f"| {c.name} | {c.type} | {c.unit or '–'} | {c.meaning} |\n" for c in columns.values()
        )
    return "".join(parts)


if __name__ == "__main__":
    sys.stdout.write(text())
