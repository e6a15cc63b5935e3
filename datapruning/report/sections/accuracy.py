"""Accuracy against fraction: a curve for each scorer, with and without KD."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from datapruning.report.comparison import Compared, Inputs
from datapruning.report.figures import MARKERS, MUTED, PANEL, SERIES, Drawing, draw, fraction_axis, headline, legend
from datapruning.report.format import listed, plural
from datapruning.report.groups import Group, curve_kinds, full_data, main_kd, scorer_order
from datapruning.report.html import Markup, Section, figures, join, paragraph, tag
from datapruning.report.student import NO_KD


def section(inputs: Inputs) -> Section | None:
    """Scorers beside each other, then each scorer by itself; None where there are only pruned students at one fraction."""
    parts, drawings = list[Markup](), list[Drawing]()
    for compared in inputs.compared:
        setup = compared.setup
        if setup.removed:
            continue
        if setup.name:
            parts.append(tag("h3", f"Set-up {setup.name}: {setup.what_differs}"))
        drawn = _drawings(compared)
        if drawn:
            parts += [_caption(compared.groups), figures(drawn)]
            drawings += drawn
        else:
            parts.append(paragraph("Only runs on all the data: there is no curve to draw.", class_="note"))
    # of the pruned, one point is no curve, and stands among its like under "Pruned weights"
    pruned = [c for c in inputs.compared if c.setup.removed and len({g.fraction for g in c.groups}) > 1]
    drawn = [drawing for compared in pruned for drawing in _drawings(compared)]
    if drawn:
        groups = [group for compared in pruned for group in compared.groups]
        parts += [tag("h3", "Pruned students"), _caption(groups), figures(drawn)]
        drawings += drawn
    return Section("accuracy", "Accuracy against fraction", join(parts), drawings) if parts else None


def _caption(groups: Sequence[Group]) -> Markup:
    numbers = sorted({g.n for g in groups})
    n = plural(numbers[0], "run") if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]} runs"
    words = [f"Scorers: {listed(_scorers(groups))}. Each point is the mean of {n}."]
    spread = "± one standard deviation" if numbers[-1] > 1 else "none: a single run has no spread"
    words.append(f"Bars: {spread}.")
    if full_data(groups):
        words.append("Dotted line: all the data without KD.")
    if any(g.is_full for g in groups):
        words.append("At 100% every scorer keeps the same samples.")
    if {g.kd for g in groups} - {*curve_kinds(groups)}:
        words.append("Of the fixed KD weights three have curves here; all are under “KD weight” below.")
    return paragraph(" ".join(words), class_="note")


def _scorers(groups: Sequence[Group]) -> list[str]:
    names = {g.scorer for g in groups if not g.is_full}
    return sorted(names, key=scorer_order)


def _drawings(compared: Compared) -> list[Drawing]:
    groups, tag_ = compared.groups, compared.setup.tag
    scorers, kinds, kd = _scorers(groups), curve_kinds(groups), main_kd(groups)
    suffix = f" (set-up {compared.setup.name})" if compared.setup.name else ""
    pruned = f", {compared.setup.short_words}" if compared.setup.removed else ""
    limits = _limits(groups, kinds)
    drawn = []
    if len(scorers) > 1:
        for kind in [k for k in (NO_KD, kd) if k is not None and any(g.kd == k and not g.is_full for g in groups)]:
            title = f"All scorers, {kind}{pruned}"
            curves = [(s, s, kind, i) for i, s in enumerate(scorers) if _has(groups, s, kind)]
            paint = partial(_paint, groups=groups, curves=curves, title=title, limits=limits)
            name = f"accuracy{tag_}-{'no-kd' if kind == NO_KD else 'kd'}"
            drawn.append(draw(name, f"Test accuracy against the fraction that is kept: {title}{suffix}", paint))
    for scorer in scorers:
        curves = [(kind, scorer, kind, k) for k, kind in enumerate(kinds) if _has(groups, scorer, kind)]
        paint = partial(_paint, groups=groups, curves=curves, title=scorer + pruned, limits=limits)
        name = f"accuracy{tag_}-{slug(scorer)}"
        drawn.append(draw(name, f"Test accuracy against the fraction that is kept: {scorer}{suffix}", paint))
    return drawn


def _has(groups: Sequence[Group], scorer: str, kind: str) -> bool:
    """Whether there is a curve to draw, and not just the point at 100% that all scorers share."""
    return any((g.scorer, g.kd) == (scorer, kind) for g in groups)


def _limits(groups: Sequence[Group], kinds: Sequence[str]) -> tuple[float, float]:
    """One y axis for all panels of a set-up, so that they compare by eye."""
    drawn = [g for g in groups if g.kd in kinds]
    low = min(g.mean - (g.sd or 0) for g in drawn)
    high = max(g.mean + (g.sd or 0) for g in drawn)
    room = 0.06 * (high - low) or 1.0
    return low - room, min(high + room, 100 + room / 2)


def _paint(
    figure: Figure,
    groups: Sequence[Group],
    curves: Sequence[tuple[str, str, str, int]],
    title: str,
    limits: tuple[float, float],
) -> None:
    """`curves`: (label, scorer, way of KD, number of its look)."""
    axes = figure.add_subplot()
    fractions: list[float] = []
    for label, scorer, kind, look in curves:
        points = [g for g in groups if g.kd == kind and (g.scorer == scorer or g.is_full)]
        fractions += [g.fraction for g in points]
        curve(axes, points, label, SERIES[look % len(SERIES)], MARKERS[look % len(MARKERS)], dashed=kind == NO_KD)
    full = full_data(groups)
    if full:
        axes.axhline(full.mean, color=MUTED, linestyle=":", linewidth=1.2)
        fractions.append(1.0)
    fraction_axis(axes, fractions)
    axes.set_ylim(*limits)
    axes.set_ylabel("test accuracy, %")
    headline(axes, title)
    legend(figure, axes)


def curve(axes: Axes, points: Sequence[Group], label: str, colour: str, marker: str, dashed: bool) -> None:
    """Means with their spread; hollow and dashed without KD."""
    axes.errorbar(
        [g.fraction for g in points], [g.mean for g in points], [g.sd or 0 for g in points], label=label, color=colour,
        marker=marker, linestyle=(0, (4, 2)) if dashed else "-", markerfacecolor=PANEL if dashed else colour,
        markeredgecolor=colour, elinewidth=1, zorder=3,
    )  # fmt: skip


def slug(text: str) -> str:
    """A part of a file name."""
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split()) or "x"
