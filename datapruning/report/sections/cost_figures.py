"""Figures of the cost section: accuracy against cost, and the cost of each student against how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from datapruning.report.comparison import Compared
from datapruning.report.costs import GroupCost, pays_off_after
from datapruning.report.figures import INK, MARKERS, MUTED, PANEL, SERIES, Drawing, draw, headline, legend, percent
from datapruning.report.groups import Group, full_data, main_kd, scorer_order
from datapruning.report.recorded_cost import MEASURES, Price
from datapruning.report.sections.accuracy import slug
from datapruning.report.student import NO_KD

Pair = tuple[Group, GroupCost]
UNITS = {"samples": "samples trained on", "seconds": "seconds"}
MOST_STUDENTS = 1000


def cost_drawings(compared: Compared) -> list[Drawing]:
    """For each scorer, accuracy against samples and against seconds."""
    pairs = list(zip(compared.groups, compared.costs, strict=True))
    drawn = []
    for scorer in sorted({g.scorer for g in compared.groups if not g.is_full}, key=scorer_order):
        for measure in MEASURES:
            mine = [(g, c) for g, c in pairs if (g.scorer == scorer or g.is_full) and c.own.measure(measure)]
            if not mine:
                continue
            paint = partial(_paint_cost, pairs=mine, measure=measure, scorer=scorer, kd=main_kd(compared.groups))
            name = f"cost{compared.setup.tag}-{slug(scorer)}-{measure}"
            drawn.append(draw(name, f"Test accuracy against {UNITS[measure]}: {scorer}", paint, height=3.5))
    return drawn


def _paint_cost(figure: Figure, pairs: Sequence[Pair], measure: str, scorer: str, kd: str | None) -> None:
    axes = figure.add_subplot()
    looks = ((NO_KD, SERIES[0], "o"), (kd, SERIES[1], "s"))
    for kind, colour, marker in looks:
        mine = [(g, c) for g, c in pairs if g.kd == kind and not (g.is_full and kind == NO_KD)]
        if kind is None or not mine:
            continue
        own = [c.own.measure(measure) or 0.0 for _, c in mine]
        heights = [g.mean for g, _ in mine]
        has_shared = any(c.once.measure(measure) for _, c in mine)
        label = f"{kind}, one student" if has_shared else str(kind)
        axes.plot(own, heights, color=colour, marker=marker, label=label, zorder=3)
        if has_shared:
            first = [(own_cost + (c.once.measure(measure) or 0.0)) for own_cost, (_, c) in zip(own, mine, strict=True)]
            axes.plot(first, heights, color=colour, marker=marker, markerfacecolor=PANEL, linestyle=(0, (1.5, 1.5)),
                      label=f"{kind}, the first student", zorder=3)  # fmt: skip
        for x, y, (g, _) in zip(own, heights, mine, strict=True):
            axes.annotate(
                percent(g.fraction), (x, y), (-5, 4), textcoords="offset points", ha="right", fontsize=7.5, color=INK
            )
    full = next(((g, c) for g, c in pairs if g.is_full and not g.has_kd), None)
    if full:
        axes.plot([full[1].own.measure(measure) or 0.0], [full[0].mean], marker="*", markersize=11, linestyle="none",
                  color=INK, label="all the data, no KD", zorder=4)  # fmt: skip
        axes.axhline(full[0].mean, color=MUTED, linestyle=":", linewidth=1)
    _log_axis(axes, UNITS[measure])
    axes.set_ylabel("test accuracy, %")
    headline(axes, f"{scorer}: {measure}")
    axes.margins(x=0.14, y=0.12)
    legend(figure, axes)


def _log_axis(axes: Axes, label: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=9))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(label)


def short(value: float) -> str:
    """1200000 -> "1.2M"."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"


def break_even_drawings(compared: Compared) -> list[Drawing]:
    """For each scorer, the cost of a student, its share of what is paid once included, against how many there are."""
    groups = compared.groups
    full, kd = full_data(groups), main_kd(groups)
    price = compared.costs[groups.index(full)].own.samples if full else None
    if not price or kd is None:
        return []
    drawn = []
    for scorer in sorted({g.scorer for g in groups if not g.is_full}, key=scorer_order):
        mine = [
            (g, c)
            for g, c in zip(groups, compared.costs, strict=True)
            if g.scorer == scorer and g.kd == kd and c.own.samples is not None and c.once.samples is not None
        ]
        if mine:
            paint = partial(_paint_break_even, pairs=mine[: len(SERIES)], price=price, title=f"{scorer}, {kd}")
            name = f"break-even{compared.setup.tag}-{slug(scorer)}"
            alt = f"Cost of a student against the number of students: {scorer}, {kd}"
            drawn.append(draw(name, alt, paint))
    return drawn


def _paint_break_even(figure: Figure, pairs: Sequence[Pair], price: float, title: str) -> None:
    axes = figure.add_subplot()
    after = [pays_off_after(c.own.samples, c.once.samples, price) for _, c in pairs]
    last = min(MOST_STUDENTS, max(30, 4 * max([k for k in after if k] or [1])))
    students = np.geomspace(1, last, 120)
    for i, ((group, cost), k) in enumerate(zip(pairs, after, strict=True)):
        each = _each(cost.own, cost.once, students) / price
        axes.plot(students, each, color=SERIES[i], label=f"keeping {percent(group.fraction)}")
        if k and k <= last:
            axes.plot([k], [_each(cost.own, cost.once, np.array([float(k)]))[0] / price], marker=MARKERS[i],
                      color=SERIES[i], zorder=4)  # fmt: skip
    axes.axhline(1, color=MUTED, linestyle=":", linewidth=1.4, label="all the data, no KD")
    axes.set_yscale("log")
    _log_axis(axes, "number of students")
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("cost of each,\nin full trainings")
    headline(axes, title)
    legend(figure, axes)


def _each(
    own: Price, once: Price, students: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return (own.samples or 0.0) + (once.samples or 0.0) / students
