"""Accuracy against fraction: a curve for each scorer, with and without KD."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from datapruning.report.comparison import Comparison
from datapruning.report.figures import DASHED, MARKERS, MUTED, SERIES, Figure, errorbar, fraction_axis, plot
from datapruning.report.format import slug
from datapruning.report.groups import Group, curve_kds, pruning_scorers
from datapruning.report.inputs import ReportInputs
from datapruning.report.render import Section, render
from datapruning.report.run_records import NO_KD


@dataclass(frozen=True)
class Curve:
    """A curve of a figure: its label, whose points it has, and the index of its colour and marker."""

    label: str
    scorer: str
    kd: str
    index: int


def section(inputs: ReportInputs) -> Section | None:
    """All scorers together, then each scorer by itself; None where there are only pruned students at one fraction."""
    panels = [(c, accuracy_figures(c)) for c in inputs.comparisons if not c.sparsity]
    # a single point of pruned students is no curve, and is shown among others under "Pruned weights"
    pruned = [c for c in inputs.comparisons if c.sparsity and len({group.fraction for group in c.groups}) > 1]
    pruned_figures = [figure for comparison in pruned for figure in accuracy_figures(comparison)]
    if not panels and not pruned_figures:
        return None
    html = render(
        "accuracy.html", panels=panels, pruned_figures=pruned_figures, pruned_groups=[g for c in pruned for g in c.groups],
        scorers=pruning_scorers, curve_kds=curve_kds,
    )  # fmt: skip
    figures = [*(figure for _, figures in panels for figure in figures), *pruned_figures]
    return Section("accuracy", "Accuracy against fraction", html, figures)


def accuracy_figures(comparison: Comparison) -> list[Figure]:
    """A figure of all scorers without KD and one with the main kind of KD; then a figure for each scorer."""
    groups = comparison.groups
    scorers, kds = pruning_scorers(groups), curve_kds(groups)
    label = f", {comparison.short_label}" if comparison.sparsity else ""
    present = {(group.scorer, group.kd) for group in groups}
    panels: list[tuple[str, str, list[Curve]]] = []
    if len(scorers) > 1:
        for kd, name in ((NO_KD, "no-kd"), (comparison.main_kd, "kd")):
            curves = [Curve(s, s, kd, i) for i, s in enumerate(scorers) if (s, kd) in present and kd is not None]
            panels += [(name, f"All scorers, {kd}", curves)] if curves else []
    for scorer in scorers:
        curves = [Curve(kd, scorer, kd, i) for i, kd in enumerate(kds) if (scorer, kd) in present]
        panels.append((slug(scorer), scorer, curves))
    limits = _limits([group for group in groups if group.kd in kds])
    return [_figure(comparison, name, title, title + label, curves, limits) for name, title, curves in panels]


def _limits(groups: Sequence[Group]) -> tuple[float, float]:
    """One y axis for all panels of a comparison, so that they can be compared by eye."""
    low = min(group.mean - group.sd for group in groups)
    high = max(group.mean + group.sd for group in groups)
    margin = 0.06 * (high - low) or 1.0
    return low - margin, min(high + margin, 100 + margin / 2)


def _figure(
    comparison: Comparison, name: str, alt: str, title: str, curves: Sequence[Curve], limits: tuple[float, float]
) -> Figure:
    def paint(axes: Axes) -> None:
        fractions: list[float] = []
        for curve in curves:
            points = [g for g in comparison.groups if g.kd == curve.kd and (g.scorer == curve.scorer or g.is_full)]
            x = [group.fraction for group in points]
            fractions += x
            colour, marker = SERIES[curve.index % len(SERIES)], MARKERS[curve.index % len(MARKERS)]
            errorbar(axes, x, points, curve.label, colour, marker, DASHED if curve.kd == NO_KD else "-")
        if comparison.full_data:
            axes.axhline(comparison.full_data.mean, color=MUTED, linestyle=":", linewidth=1.2)
            fractions.append(1.0)
        fraction_axis(axes, fractions)
        axes.set_ylim(*limits)
        axes.set_ylabel("test accuracy, %")

    where = f" (set-up {comparison.name})" if comparison.name else ""
    alt = f"Test accuracy against the fraction that is kept: {alt}{where}"
    return plot(f"accuracy{comparison.suffix}-{name}", alt, title, paint)
