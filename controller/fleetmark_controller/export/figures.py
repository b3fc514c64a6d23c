"""Latency plots as inline SVG, drawn with matplotlib.

A figure is one panel about as wide as a phone, so that its text stays readable there; wide pages
put several side by side. Colors are CSS variables of the page (light and dark), text stays text,
ids are unique by the figure's prefix, and equal samples give equal bytes.
"""

from __future__ import annotations

import io
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from fleetmark_controller.evaluation.samples import Samples

    Reals = NDArray[np.float64]

# Colors that matplotlib writes, and the page's variables that replace them.
_INK, _MUTED, _GRID = "#010101", "#020202", "#030303"
_DATA, _SOFT, _P50, _P90, _P99 = "#040404", "#050505", "#060606", "#070707", "#080808"
_VARIABLES: Mapping[str, str] = {
    _INK: "var(--ink)",
    _MUTED: "var(--muted)",
    _GRID: "var(--grid)",
    _DATA: "var(--data)",
    _SOFT: "var(--soft)",
    _P50: "var(--p50)",
    _P90: "var(--p90)",
    _P99: "var(--p99)",
}
_FONTS = "system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans','DejaVu Sans',sans-serif"
_MARKS = ((0.5, "p50", _P50), (0.9, "p90", _P90), (0.99, "p99", _P99))
_SIZE_INCHES = (5.2, 2.8)
_BINS = 90
_POINTS = 160
_LONG_TAIL = 4.0
"""Ratio of the slow latencies to the fastest above which the latency axis is logarithmic."""

_RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.5,
    "axes.linewidth": 0.8,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _MUTED,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": _GRID,
    "grid.linewidth": 0.7,
    "xtick.color": _GRID,
    "xtick.labelcolor": _MUTED,
    "ytick.color": _GRID,
    "ytick.labelcolor": _MUTED,
    "ytick.left": False,
    "text.color": _INK,
    "path.simplify": False,
}


def distribution(samples: Samples, prefix: str) -> str:
    """Draw a histogram of latencies with marks at p50, p90 and p99, as an SVG element.

    Args:
        samples: Latencies in ns, at least one.
        prefix: Makes the SVG's ids unique on the page.
    """
    import numpy as np

    ordered = np.sort(samples) / 1e6
    low, high = float(ordered[0]), float(ordered[-1])
    top = _at(ordered, 0.99)
    logarithmic = low > 0 and top > _LONG_TAIL * low
    if logarithmic:
        edges = np.geomspace(low / 1.02, high * 1.02, _BINS + 1)
    else:
        # The slowest percent of samples would squeeze all others into one bin.
        right = max(top, low * 1.001, low + 1e-6)
        margin = 0.05 * (right - low)
        edges = np.linspace(max(low - margin, 0.0), right + margin, _BINS + 1)
    counts, _ = np.histogram(ordered, edges)
    with _Style():
        figure, axes = _panel()
        axes.stairs(100 * counts / ordered.size, edges, fill=True, color=_DATA, linewidth=0)
        if logarithmic:
            axes.set_xscale("log")
            _plain_log_ticks(axes, float(edges[0]), float(edges[-1]))
        axes.set_xlim(float(edges[0]), float(edges[-1]))
        axes.set_ylim(0, 1.5 * 100 * float(counts.max()) / ordered.size)
        axes.set_xlabel("latency (ms)" + (", logarithmic" if logarithmic else ""))
        axes.set_ylabel("% of samples")
        _mark(axes, ordered, logarithmic)
        beyond = int(np.count_nonzero(ordered > edges[-1]))
        if beyond:
            text = f"{beyond:,} slower, up to {_short(high)} ms ▸"
            _note(axes, text)
        return _svg(figure, prefix)


def over_time(samples: Samples, prefix: str) -> str:
    """Draw the latency over the run: median, middle 80 % and slowest query of each interval.

    This is for sequential queries (SingleStream), so that their sum is the elapsed time.
    """
    import numpy as np

    latency = samples / 1e6
    elapsed = np.cumsum(latency) / 1e3
    parts = np.array_split(np.arange(latency.size), min(_POINTS, latency.size))
    at = np.array([elapsed[part[-1]] for part in parts])
    table = np.array(
        [(*np.percentile(latency[part], (10, 50, 90)), latency[part].max()) for part in parts]
    )
    with _Style():
        figure, axes = _panel()
        axes.fill_between(at, table[:, 0], table[:, 2], color=_SOFT, linewidth=0)
        axes.plot(at, table[:, 1], color=_DATA, linewidth=1.2)
        _dots(axes, at, table[:, 3], _P99)
        low, high = float(table[:, 0].min()), float(table[:, 3].max())
        if low > 0 and high > _LONG_TAIL * low:
            axes.set_yscale("log")
            _plain_log_ticks(axes, low / 1.1, high * 1.15, vertical=True)
            axes.set_ylim(low / 1.1, high * 1.15)
        else:
            axes.set_ylim(max(0.0, low - 0.15 * (high - low)), high + 0.1 * (high - low) + 1e-6)
        axes.set_xlim(0, float(at[-1]) or 1e-9)
        axes.set_xlabel("time into the run (s)")
        axes.set_ylabel("latency (ms)")
        return _svg(figure, prefix)


def completion(samples: Samples, prefix: str) -> str:
    """Draw the completed fraction of samples over time (Offline), with p50, p90 and p99."""
    import numpy as np

    ordered = np.sort(samples) / 1e9
    share = np.linspace(0, 1, _POINTS)
    index = np.minimum((share * ordered.size).astype(np.int64), ordered.size - 1)
    with _Style():
        figure, axes = _panel()
        axes.fill_between(ordered[index], 100 * share, color=_SOFT, linewidth=0)
        axes.plot(ordered[index], 100 * share, color=_DATA, linewidth=1.4)
        axes.set_xlim(0, float(ordered[-1]) * 1.02 or 1)
        axes.set_ylim(0, 150)
        axes.set_yticks([0, 25, 50, 75, 100])
        axes.set_xlabel("time since the samples were issued (s)")
        axes.set_ylabel("% completed")
        _mark(axes, ordered, logarithmic=False, unit="s")
        return _svg(figure, prefix)


def rate(samples: Samples, prefix: str) -> str:
    """Draw the completed samples per second over the run (Offline), and their mean."""
    import numpy as np

    ordered = np.sort(samples) / 1e9
    end = float(ordered[-1]) or 1e-9
    # Samples complete in batches, and bins narrower than a few batches would show only these.
    batches = int(np.unique(ordered).size)
    bins = int(min(60, max(4, batches // 8)))
    counts, edges = np.histogram(ordered, np.linspace(0, end, bins + 1))
    rates = counts / (end / bins)
    mean = ordered.size / end
    with _Style():
        figure, axes = _panel()
        axes.stairs(rates, edges, fill=True, color=_SOFT, linewidth=0)
        axes.stairs(rates, edges, color=_DATA, linewidth=1.2)
        axes.axhline(mean, color=_P90, linewidth=1.1, dashes=(4, 2))
        axes.set_xlim(0, end)
        axes.set_ylim(0, 1.3 * max(float(rates.max()), mean))
        axes.set_xlabel("time since the samples were issued (s)")
        axes.set_ylabel("samples per second")
        axes.yaxis.set_major_formatter("{x:,.0f}")
        _note(axes, f"mean {mean:,.0f} samples/s")
        return _svg(figure, prefix)


class _Style:
    """Context with the report's matplotlib settings; imports matplotlib lazily (0.3 s)."""

    def __enter__(self) -> None:
        _writable_cache()
        import matplotlib as mpl

        self._context = mpl.rc_context(_RC)
        self._context.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._context.__exit__(*error)


def _writable_cache() -> None:
    """Keep matplotlib's font list in the temporary folder, unless MPLCONFIGDIR is set.

    The home directory may be read-only or missing. Other users can predict the folder's name, so it
    is used only if this user owns it and no other user can write to it.
    """
    if "MPLCONFIGDIR" in os.environ:
        return
    folder = Path(tempfile.gettempdir()) / f"fleetmark-matplotlib-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        facts = folder.lstat()
        ours = facts.st_uid == os.getuid() and not facts.st_mode & 0o022 and folder.is_dir()
        safe = ours and not folder.is_symlink()
    except OSError:
        safe = False
    os.environ["MPLCONFIGDIR"] = str(folder) if safe else tempfile.mkdtemp(prefix="fleetmark-")


def _panel() -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE_INCHES)
    figure.patch.set_visible(False)
    # Margins are fixed, because fitting them takes as long as the rest, and panels should align.
    axes = figure.add_axes((0.135, 0.185, 0.85, 0.725))
    axes.patch.set_visible(False)
    axes.grid(axis="y")
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="y", nbins=4)
    return figure, axes


def _at(ordered: Reals, share: float) -> float:
    """Return LoadGen's percentile; see `evaluation.samples.percentile`."""
    return float(ordered[min(int(ordered.size * share), ordered.size - 1)])


def _mark(axes: Axes, ordered: Reals, logarithmic: bool, unit: str = "ms") -> None:
    """Draw lines at the percentiles, with labels at three heights so that none hides another."""
    left, right = axes.get_xlim()
    for level, (share, name, colour) in enumerate(_MARKS):
        value = _at(ordered, share)
        height = 0.97 - 0.105 * level
        axes.axvline(value, ymax=height, color=colour, linewidth=1.3)
        if logarithmic and left > 0 and value > 0:
            import math

            place = math.log(value / left) / math.log(right / left)
        else:
            place = (value - left) / (right - left)
        before = place > 0.68
        axes.annotate(
            f"{name} {_short(value)} {unit}",
            (value, height),
            xycoords=("data", "axes fraction"),
            xytext=(-4 if before else 4, 0),
            textcoords="offset points",
            ha="right" if before else "left",
            va="top",
            color=colour,
            fontweight="bold",
            gid=f"mark{level}",  # the page gives these a halo, for lines behind them
        )


def _dots(axes: Axes, x: Reals, y: Reals, colour: str) -> None:
    """Draw round dots as one path: lines of zero length with round caps."""
    import numpy as np

    gap = np.full_like(x, np.nan)
    xs, ys = (np.column_stack((values, values, gap)).ravel() for values in (x, y))
    axes.plot(xs, ys, color=colour, linewidth=2.2, solid_capstyle="round")


def _note(axes: Axes, text: str) -> None:
    axes.text(1, 1.0, text, transform=axes.transAxes, ha="right", va="bottom", color=_MUTED)


def _plain_log_ticks(axes: Axes, low: float, high: float, *, vertical: bool = False) -> None:
    """Set ticks at round values, with fewer per decade if there are more decades."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    ratio = high / low
    steps = (1, 1.5, 2, 3, 5, 7) if ratio < 12 else (1, 2, 5) if ratio < 300 else (1,)
    decades = range(-9, 10)
    places = [s * 10.0**d for d in decades for s in steps if low <= s * 10.0**d <= high]
    if len(places) < 2:
        places = [low * (high / low) ** (n / 4) for n in range(1, 4)]
    axis = axes.yaxis if vertical else axes.xaxis
    axis.set_major_locator(FixedLocator(places))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))


def _short(value: float) -> str:
    """Return three significant digits, without an exponent if possible."""
    if value >= 100:
        return f"{value:,.0f}"
    text = f"{value:.3g}"
    return f"{value:f}".rstrip("0").rstrip(".") if "e" in text and value >= 1e-6 else text


def _svg(figure: Figure, prefix: str) -> str:
    """Return the figure as an SVG element for the page; the module describes its properties."""
    import matplotlib as mpl

    drawn = io.StringIO()
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with mpl.rc_context({"svg.hashsalt": prefix}):
        figure.savefig(drawn, format="svg", metadata=metadata)
    text = drawn.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'\s(xmlns(:xlink)?|version|width|height)="[^"]*"', "", text, count=5)
    text = text.replace("xlink:href", "href")
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'\bhref="#', f'href="#{prefix}-', text)
    text = re.sub(r"url\(#", f"url(#{prefix}-", text)
    for sentinel, variable in _VARIABLES.items():
        text = text.replace(sentinel, variable)
    text = text.replace("'DejaVu Sans'", _FONTS)
    # A hundredth of a pixel is precise enough in attributes.
    text = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), text)
    text = re.sub(r"\n\s*", "\n", text)
    return text.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)
