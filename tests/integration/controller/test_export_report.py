"""The HTML report: whole, self-contained, safe, the same every time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.controller import test_export_report as unit
from tests.unit.controller.test_export_report import CHROMIUM

# Fixtures of the unit tests.
text = unit.text


def test_matplotlib_needs_no_writable_home(tmp_path: Path) -> None:
    code = (
        "import numpy as np\n"
        "from fleetmark_controller.export.figures import distribution\n"
        "print(distribution(np.arange(1, 99), 'c0a')[:4])\n"
    )
    env = {k: v for k, v in os.environ.items() if k != "MPLCONFIGDIR"}
    env |= {"HOME": "/nonexistent", "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("<svg\n", 0), done.stderr
    assert "Matplotlib" not in done.stderr
    assert [path.stat().st_mode & 0o077 for path in tmp_path.iterdir()] == [0]


def test_heavy_libraries_are_loaded_on_need() -> None:
    code = (
        "import sys\n"
        "import fleetmark_controller.export.write, fleetmark_controller.evaluation.evaluate\n"
        "heavy = {'numpy', 'pyarrow', 'matplotlib', 'jinja2', 'zstandard'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize("width", [400, 1200])
def test_a_browser_shows_it_without_sideways_scrolling(
    tmp_path: Path, text: str, width: int
) -> None:
    """A frame of this width (a window can't be this narrow) measures its own content."""
    (tmp_path / "report.html").write_text(text, "utf-8")
    probe = f"""<!DOCTYPE html><body><iframe id="f" width="{width}" height="900"
        src="report.html"></iframe><script>onload = () => {{
        const d = document.getElementById("f").contentDocument;
        const svg = [...d.querySelectorAll("figure svg")].map(s => s.getBoundingClientRect());
        document.title = [d.documentElement.scrollWidth, svg.length,
          Math.min(...svg.map(r => r.width)), Math.min(...svg.map(r => r.height))].join(" ");
        }}</script></body>"""
    (tmp_path / "probe.html").write_text(probe, "utf-8")
    assert CHROMIUM
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
        "--disable-background-networking --disable-component-update --disable-sync "
        "--allow-file-access-from-files --virtual-time-budget=10000 --dump-dom"
    )
    done = subprocess.run(
        [
            CHROMIUM,
            *flags.split(),
            f"--user-data-dir={tmp_path / 'profile'}",
            (tmp_path / "probe.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found = re.search(r"<title>([\d.]+) (\d+) ([\d.]+) ([\d.]+)</title>", done.stdout)
    assert found, done.stdout[:500] + done.stderr[-500:]
    assert float(found[1]) <= width
    assert int(found[2]) == 8
    assert float(found[3]) >= 300
    assert float(found[4]) >= 120
