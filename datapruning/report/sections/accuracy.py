"""Accuracy against fraction: a curve for each scorer, with and without KD."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from datapruning.report.budgets import by_budget, full_training, has_equal_compute
from datapruning.report.comparison import Comparison
from datapruning.report.figures import DASHED, MARKERS, MUTED, SERIES, Figure, errorbar, fraction_axis, plot
from datapruning.report.format import slug
from datapruning.report.groups import Group, curve_kds, pivot, pruning_scorers
from datapruning.report.inputs import ReportInputs
from datapruning.report.random_baseline import random_sentences
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
    """All scorers together, then each scorer by itself; None where there are only pruned students at one fraction.

    Set-ups that differ only in the budget have their figures side by side, with one y axis.
    """
    panels = [(members, budget_figures(members)) for members in by_budget([c for c in inputs.comparisons if not c.sparsity])]
    # a single point of pruned students is no curve, and is shown among others under "Pruned weights"
    pruned = [c for c in inputs.comparisons if c.sparsity and len({group.fraction for group in c.groups}) > 1]
    pruned_figures = [figure for comparison in pruned for figure in accuracy_figures(comparison)]
    if not panels and not pruned_figures:
        return None
    html = render(
        "accuracy.html", panels=panels, pruned_figures=pruned_figures, pruned_groups=[g for c in pruned for g in c.groups],
        scorers=pruning_scorers, curve_kds=curve_kds, has_equal_compute=has_equal_compute, sentences_of=_random_sentences,
        compute_ranges=lambda comparison: _compute_ranges(comparison, inputs.comparisons),
    )  # fmt: skip
    figures = [*(figure for _, rows in panels for row in rows for figure in row), *pruned_figures]
    return Section("accuracy", "Accuracy against fraction", html, figures)


def _random_sentences(comparisons: Sequence[Comparison]) -> list[str]:
    """The sentences of several comparisons, each with the budget where there are several."""
    several = len(comparisons) > 1
    return [
        f"At {_budget_label(c)}: {sentence}" if several else sentence
        for c in comparisons
        for sentence in random_sentences(c.groups)
    ]


def _budget_label(comparison: Comparison) -> str:
    """As in "equal compute (B)"."""
    label = "equal compute" if has_equal_compute(comparison) else "equal epochs"
    return f"{label} ({comparison.name})" if comparison.name else label


def _compute_ranges(comparison: Comparison, comparisons: Sequence[Comparison]) -> list[str]:
    """What a student on part of the data takes in all, for each kind of KD, as in "1.20 to 1.31 with KD auto"."""
    unit = full_training(comparison, comparisons).flops
    known = [(group.kd, group.cost.per_student.flops) for group in comparison.groups if not group.is_full]
    by_kd = pivot(((kd, flops / unit) for kd, flops in known if unit and flops is not None), lambda pair: pair[0])
    ranges = {kd: [f"{limit(cost for _, cost in costs):.2f}" for limit in (min, max)] for kd, costs in by_kd.items()}
    return [f"{' to '.join(dict.fromkeys(limits))} with {kd}" for kd, limits in ranges.items()]


def budget_figures(comparisons: Sequence[Comparison]) -> list[list[Figure]]:
    """The figures of comparisons that differ only in the budget: of several, those of the same curves in a row."""
    with_curves = [c for c in comparisons if pruning_scorers(c.groups)]
    if not with_curves:
        return []
    limits = _limits([group for c in with_curves for group in c.groups if group.kd in curve_kds(c.groups)])
    is_plain = len(comparisons) == 1 and not has_equal_compute(comparisons[0])  # nothing to tell it from
    panels = [accuracy_figures(c, limits, "" if is_plain else _budget_label(c)) for c in with_curves]
    if len(panels) == 1:
        return panels
    names = [(c.suffix, figure) for c, figures in zip(with_curves, panels, strict=True) for figure in figures]
    by_name = pivot(names, lambda pair: pair[1].name.removeprefix(f"accuracy{pair[0]}"))
    return [[figure for _, figure in row] for row in by_name.values()]


def accuracy_figures(comparison: Comparison, limits: tuple[float, float] | None = None, budget: str = "") -> list[Figure]:
    """A figure of all scorers without KD and one with the main kind of KD; then a figure for each scorer.

    `limits`: of the y axis; default: as the comparison needs them. `budget` is named in the titles.
    """
    groups = comparison.groups
    scorers, kds = pruning_scorers(groups), curve_kds(groups)
    label = ", ".join(["", *filter(None, [comparison.short_label if comparison.sparsity else "", budget])])
    present = {(group.scorer, group.kd) for group in groups}
    panels: list[tuple[str, str, list[Curve]]] = []
    if len(scorers) > 1:
        for kd, name in ((NO_KD, "no-kd"), (comparison.main_kd, "kd")):
            curves = [Curve(s, s, kd, i) for i, s in enumerate(scorers) if (s, kd) in present and kd is not None]
            panels += [(name, f"All scorers, {kd}", curves)] if curves else []
    for scorer in scorers:
        curves = [Curve(kd, scorer, kd, i) for i, kd in enumerate(kds) if (scorer, kd) in present]
        panels.append((slug(scorer), scorer, curves))
    limits = limits or _limits([group for group in groups if group.kd in kds])
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

    where = f" (set-up {comparison.name}, {comparison.budget})" if comparison.name else ""
    alt = f"Test accuracy against the fraction that is kept: {alt}{where}"
    return plot(f"accuracy{comparison.suffix}-{name}", alt, title, paint)
