"""The documentation as a site: built strictly, and complete without a network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support import ROOT
from tests.support.processes import BIN


def test_the_page_of_the_protocol_is_up_to_date() -> None:
    """`make docs` writes it."""
    written = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "site" / "write_protocol.py")],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert (ROOT / "docs" / "reference" / "protocol.md").read_text() == written


def test_the_site_is_built_without_warnings_and_loads_nothing_of_other_hosts(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [
            *(str(BIN / "mkdocs"), "build", "--strict", "--quiet", "--site-dir", str(tmp_path)),
            *("--config-file", str(ROOT / "docs" / "site" / "mkdocs.yml")),
        ],
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 30
    loading = (
        r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=[\"']?((?:https?:)?//[^\"' >]+)"
    )
    loaded = {url for page in pages for url in re.findall(loading, page.read_text())}
    assert loaded == set()
    # For a page with this component, the theme's script asks GitHub for figures.
    assert not [page for page in pages if 'data-md-component="source"' in page.read_text()]
    styles = "".join(path.read_text() for path in tmp_path.rglob("*.css"))
    assert not re.findall(r"(?:@import|url\()[\s\"']*(?:https?:)?//", styles)
