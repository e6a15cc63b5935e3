"""Figures: drawn by matplotlib once, as an SVG inside the page that follows light and dark, as an SVG file and as a PNG.

Every colour in a figure is one of `COLOURS`, so that the SVG in the page can name them (`var(--ink)`) and the page's style
sheet defines them for light and for dark. Text stays text.
"""

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

from markupsafe import Markup, escape
from matplotlib import rc_context, rcParams
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure as Canvas
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, FixedLocator, Formatter, FuncFormatter, LogLocator, NullFormatter, NullLocator

from datapruning.report.fonts import choose_fonts, without_font_messages
from datapruning.report.format import percent
from datapruning.report.groups import Group

WIDTH = 3.75
"""Width of a figure in inches. On a phone it is stretched to about 350 pixels, and text of 9 points is 12 pixels tall."""
LINE_CHARS = 40
"""Characters that fit in a line of a title."""
LOG_RANGE = 6
"""The ratio of the largest tick to the smallest one from which on an axis is logarithmic."""
DASHED = (0, (4, 2))
"""The line style of what was trained on labels alone."""
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
class Figure:
    r"""A figure: its file name without suffix, what it shows in words, the SVG element for the page, and its two files.

    `escaped` are the characters that no installed font draws: the PNG has their code points, such as \u65e5; in SVG text
    stays text, and the reader's fonts draw it.
    """

    name: str
    alt: str
    inline: Markup
    svg: bytes
    png: bytes
    escaped: str = ""


def draw(name: str, alt: str, paint: Callable[[Canvas], None], height: float = 2.9, width: float = WIDTH) -> Figure:
    """Draw a figure, whose size is in inches: `paint` draws on an empty matplotlib figure; for names see `Figure`."""
    style: Any = {**STYLE, "svg.hashsalt": name}
    with rc_context(style), warnings.catch_warnings(), without_font_messages():
        canvas = _painted(paint, width, height)
        families, escaped = choose_fonts(FONTS[0], _characters(canvas))
        if len(families) > 1:
            rcParams["font.family"] = list(families)
            canvas = _painted(paint, width, height)
        svg, png = io.BytesIO(), io.BytesIO()
        png_canvas = _escape(_painted(paint, width, height), escaped) if escaped else canvas
        _lay_out(png_canvas)
        png_canvas.savefig(png, format="png", dpi=160, metadata={"Software": None, "Title": alt})
        if escaped:
            warnings.filterwarnings("ignore", message="Glyph .* missing")  # measured for the layout; the browser draws it
            _lay_out(canvas)
        canvas.savefig(svg, format="svg", metadata={"Date": None, "Creator": None, "Title": alt})
    text = svg.getvalue().decode().replace("'DejaVu Sans'", ", ".join(f"'{f}'" if " " in f else f for f in FONTS))
    return Figure(name, alt, Markup(_inline(text, alt)), text.encode(), png.getvalue(), escaped)


def _painted(paint: Callable[[Canvas], None], width: float, height: float) -> Canvas:
    canvas = Canvas(figsize=(width, height), layout="constrained")
    paint(canvas)
    return canvas


def _lay_out(canvas: Canvas) -> None:
    """Lay out a figure, once for all its files."""
    canvas.draw_without_rendering()
    canvas.set_layout_engine("none")


def _labelled(canvas: Canvas) -> list[tuple[Axis, Formatter]]:
    """The axes whose tick labels are texts of ours, not numbers, with what gives them."""
    every = [(axis, axis.get_major_formatter()) for axes in canvas.axes for axis in (axes.xaxis, axes.yaxis)]
    return [(axis, formatter) for axis, formatter in every if isinstance(formatter, FixedFormatter | FuncFormatter)]


def _characters(canvas: Canvas) -> str:
    texts = [text.get_text() for text in canvas.findobj(Text)]
    for axis, formatter in _labelled(canvas):
        texts += [formatter(value, position) for position, value in enumerate(axis.get_major_locator()())]
    return "".join(sorted(set("".join(texts)) - {"\n"}))


def _escape(canvas: Canvas, characters: str) -> Canvas:
    """The figure with the code points of these characters in their place."""
    table = str.maketrans({c: c.encode("ascii", "backslashreplace").decode() for c in characters})
    for axis, formatter in _labelled(canvas):
        axis.set_major_formatter(FuncFormatter(lambda value, position, of=formatter: of(value, position).translate(table)))
    for text in canvas.findobj(Text):
        text.set_text(text.get_text().translate(table))
    return canvas


def plot(name: str, alt: str, title: str, paint: Callable[[Axes], None], height: float = 2.9) -> Figure:
    """Draw a figure of one panel with a title, and a legend where `paint` labels anything."""

    def paint_canvas(canvas: Canvas) -> None:
        axes = canvas.add_subplot()
        paint(axes)
        set_title(axes, title)
        add_legend(canvas, axes)

    return draw(name, alt, paint_canvas, height)


def _inline(svg: str, alt: str) -> str:
    """The `<svg>` element alone, without sizes, ids that nothing points to, or colours of its own."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<title>.*?</title>", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r"<style[^>]*>.*?</style>", "", body, flags=re.DOTALL)  # it would reach the whole page; see style.css
    body = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", body, count=1)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", body))
    body = re.sub(r' id="([^"]*)"', lambda m: m.group(0) if m.group(1) in used else "", body)
    body = re.sub("|".join(COLOURS), lambda m: f"var({COLOURS[m.group(0)]})", body)
    return body.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"', 1).strip()


def add_legend(canvas: Canvas, *panels: Axes) -> None:
    """Add a legend below the panels, each label once, in as many columns as fit."""
    pairs = [pair for axes in panels for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
    handles = {fill(str(label), LINE_CHARS - 4): handle for handle, label in pairs}
    if handles:
        num_chars = max(len(line) for label in handles for line in label.splitlines())
        column_width = 40 + 5.2 * num_chars  # points: the line, the gap, and the longest label
        columns = max(1, min(4, int(72 * canvas.get_figwidth() / column_width)))
        canvas.legend(handles.values(), handles.keys(), loc="outside lower left", ncols=columns, columnspacing=1.4)


def set_title(axes: Axes, text: str) -> None:
    """Set the title of a panel, in as many lines as it needs."""
    axes.set_title(fill(text, LINE_CHARS))


def errorbar(
    axes: Axes, x: Sequence[float], groups: Sequence[Group], label: str, colour: str, marker: str, line: Any
) -> None:
    """Draw the mean accuracies of groups with their standard deviations; with hollow markers where `line` is `DASHED`."""
    axes.errorbar(
        x, [group.mean for group in groups], [group.sd for group in groups], label=label, color=colour, marker=marker,
        linestyle=line, markerfacecolor=PANEL if line == DASHED else colour, markeredgecolor=colour, elinewidth=1, zorder=3,
    )  # fmt: skip


def fraction_axis(axes: Axes, fractions: Sequence[float]) -> None:
    """Make x a fraction of the training set, with ticks where there are points."""
    ticks = sorted(set(fractions))
    set_ticks(axes, ticks, [percent(tick) for tick in ticks], "share of the training set that is kept")


def set_ticks(axes: Axes, ticks: Sequence[float], labels: Sequence[str], axis_label: str) -> None:
    """Set the ticks of x, from left to right, rising or falling; logarithmic if they span more than `LOG_RANGE`."""
    first, last = ticks[0], ticks[-1]
    direction = 1 if last >= first else -1
    if max(first, last) > LOG_RANGE * min(first, last):
        axes.set_xscale("log")
        axes.set_xlim(first / 1.25**direction, last * 1.25**direction)
    else:
        margin = 0.06 * (last - first) or 0.05
        axes.set_xlim(first - margin, last + margin)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FixedFormatter(thin_tick_labels(axes, ticks, labels)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(axis_label)


def thin_tick_labels(axes: Axes, ticks: Sequence[float], labels: Sequence[str]) -> list[str]:
    """Labels of the ticks, from left to right, blank where they would run into the next one to the right."""
    shown_labels: list[str] = []
    next_position = 2.0  # in widths of the axes: nothing is to the right of the last one
    for tick, label in zip(reversed(ticks), reversed(labels), strict=True):
        position = float(axes.transAxes.inverted().transform(axes.transData.transform((tick, 0)))[0])
        fits = next_position - position > 0.1
        shown_labels.append(label if fits else "")
        next_position = position if fits else next_position
    return shown_labels[::-1]


def log_axis(axis: Axis, steps: Sequence[float], num_ticks: int, format_tick: Callable[[float], str]) -> None:
    """Label the ticks of a logarithmic axis: `steps` in each power of ten, at most `num_ticks`."""
    axis.set_major_locator(LogLocator(subs=tuple(steps), numticks=num_ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: format_tick(value)))
    axis.set_minor_formatter(NullFormatter())
