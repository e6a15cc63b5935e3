"""Figures: painted by matplotlib, once, and turned into an SVG that follows the page's light or dark, an SVG file and a PNG.

Every colour that is painted with is one of `COLOURS`, so that the page's SVG can name them (`var(--ink)`) and the page's
style sheet says what they are in the light and in the dark. Text stays text.
"""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH = 3.75
"""Inches. On a phone the figure is stretched to about 350 pixels, and text of 9 points is 12 pixels tall."""
LETTERS = 40
"""That fit beside each other in a title."""
INK, MUTED, GRID, PANEL = "#1c1c1f", "#66666d", "#dcdce1", "#fffffe"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's colours, which those who confuse red and green tell apart."""
MARKERS = ("o", "s", "^", "D", "v", "P")
COLOURS = {INK: "--ink", MUTED: "--muted", GRID: "--grid", PANEL: "--panel"} | {
    c: f"--s{i}" for i, c in enumerate(SERIES, 1)
}
FONTS = ("DejaVu Sans", "Liberation Sans", "Arial", "Helvetica", "sans-serif")
STYLE: dict[str, Any] = {
    "svg.fonttype": "none", "text.parse_math": False, "font.family": FONTS[0], "font.size": 9, "text.color": INK,
    "axes.titlesize": 10, "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.edgecolor": MUTED,
    "axes.labelcolor": INK, "axes.facecolor": "none", "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": GRID, "grid.linewidth": 0.7, "axes.linewidth": 0.8,
    "xtick.color": MUTED, "ytick.color": MUTED, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "figure.facecolor": PANEL, "savefig.facecolor": PANEL, "lines.linewidth": 1.6, "lines.markersize": 5.5,
    "legend.frameon": False, "legend.fontsize": 8.5, "legend.handlelength": 2.6, "errorbar.capsize": 2.5,
    "hatch.color": MUTED, "xtick.minor.visible": False, "patch.linewidth": 0,
}  # fmt: skip


@dataclass(frozen=True)
class Drawing:
    """A figure: its file name, what it shows in words, the SVG for the page, and the bytes of its files."""

    name: str
    alt: str
    inline: str
    svg: bytes
    png: bytes


def draw(name: str, alt: str, paint: Callable[[Figure], None], height: float = 2.9, width: float = WIDTH) -> Drawing:
    """Let `paint` fill a figure of so many inches."""
    style: Any = {**STYLE, "svg.hashsalt": name}
    with rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # of the PNG only: the SVG's text is the browser's
        figure = Figure(figsize=(width, height), layout="constrained")
        paint(figure)
        figure.draw_without_rendering()  # lays it out, once for both files
        figure.set_layout_engine("none")
        svg, png = io.BytesIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None, "Title": alt})
        figure.savefig(png, format="png", dpi=160, metadata={"Software": None, "Title": alt})
    text = _with_fonts(svg.getvalue().decode())
    return Drawing(name, alt, _inline(text, alt), text.encode(), png.getvalue())


def _with_fonts(svg: str) -> str:
    quoted = ", ".join(f"'{f}'" if " " in f else f for f in FONTS)
    return re.sub(r"'DejaVu Sans'", quoted, svg)


def _inline(svg: str, alt: str) -> str:
    """The `<svg>` element alone, without sizes, ids that nothing points to, or colours of its own."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<title>.*?</title>", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r"<style[^>]*>.*?</style>", "", body, flags=re.DOTALL)  # it would reach the whole page; see css.py
    body = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", body, count=1)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", body))
    body = re.sub(r' id="([^"]*)"', lambda m: m.group(0) if m.group(1) in used else "", body)
    body = re.sub("|".join(COLOURS), lambda m: f"var({COLOURS[m.group(0)]})", body)
    return body.replace("<svg", f'<svg role="img" aria-label="{html.escape(alt)}"', 1).strip()


def legend(figure: Figure, *panels: Axes) -> None:
    """A legend below the panels, each label once, in as many columns as fit."""
    pairs = [pair for axes in panels for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
    once = {fill(str(label), LETTERS - 4): handle for handle, label in pairs}
    if once:
        letters = max(len(line) for label in once for line in label.splitlines())
        wide = 40 + 5.2 * letters  # points: the line, the gap, and the longest label
        columns = max(1, min(4, int(72 * figure.get_figwidth() / wide)))
        figure.legend(once.values(), once.keys(), loc="outside lower left", ncols=columns, columnspacing=1.4)


def headline(axes: Axes, text: str) -> None:
    """A title, in as many lines as it needs."""
    axes.set_title(fill(text, LETTERS))


def percent(fraction: float) -> str:
    """As in "30%" for 0.3."""
    return f"{100 * fraction:.3g}%"


def fraction_axis(axes: Axes, fractions: Sequence[float]) -> None:
    """Make x a fraction: logarithmic if they span more than a factor of six, and ticks where there are points."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    ticks = sorted(set(fractions))
    if ticks[-1] > 6 * ticks[0]:
        axes.set_xscale("log")
        axes.set_xlim(ticks[0] / 1.25, ticks[-1] * 1.25)
    else:
        room = 0.06 * (ticks[-1] - ticks[0]) or 0.05
        axes.set_xlim(ticks[0] - room, ticks[-1] + room)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FixedFormatter(readable(axes, ticks, [percent(tick) for tick in ticks])))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("share of the training set that is kept")


def readable(axes: Axes, ticks: Sequence[float], words: Sequence[str]) -> list[str]:
    """Labels of the ticks, from the left to the right, blank where they would run into the one to the right."""
    labels: list[str] = []
    nearest = 2.0  # in widths of the axes: nothing is to the right of the last one
    for tick, word in zip(reversed(ticks), reversed(words), strict=True):
        place = float(axes.transAxes.inverted().transform(axes.transData.transform((tick, 0)))[0])
        shown = nearest - place > 0.1
        labels.append(word if shown else "")
        nearest = place if shown else nearest
    return labels[::-1]
