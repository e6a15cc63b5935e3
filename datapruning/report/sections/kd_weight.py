"""The KD weight: accuracy against the weight at each fraction, on the test set and on the searches' validation samples."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from datapruning.report.comparison import Comparison
from datapruning.report.figures import INK, MUTED, PANEL, SERIES, Figure, add_legend, draw, set_title
from datapruning.report.format import percent, slug
from datapruning.report.groups import Group, pivot, scorer_order
from datapruning.report.inputs import ReportInputs
from datapruning.report.render import Section, render
from datapruning.report.run_records import ALL, AUTO, NO_KD, RunRecord
from datapruning.runs.training_records import KDSearch

MAX_SEARCHES = 8
"""Searches that are drawn in one panel."""
TRIAL_MARKERS = ("s", "^", "D", "v")
TEST, VALIDATION, CHOSEN = SERIES[0], SERIES[2], SERIES[1]


def section(inputs: ReportInputs) -> Section | None:
    """Panels by scorer and fraction; None where no run had a teacher."""
    panels = [(comparison, _figures(comparison)) for comparison in inputs.comparisons]
    figures = [figure for _, by_scorer in panels for scorer_figures in by_scorer.values() for figure in scorer_figures]
    if not figures:
        return None
    searches = [s for run in inputs.collection.runs if (s := run.result.kd_weight_search) is not None]
    html = render(
        "kd_weight.html", panels=[panel for panel in panels if panel[1]], has_searches=bool(searches),
        has_fixed=any(run.kd not in (NO_KD, AUTO) for run in inputs.collection.runs),
        has_curves=any(search.curve for search in searches),
    )  # fmt: skip
    return Section("weight", "KD weight: how accuracy responds to it", html, figures)


def _figures(comparison: Comparison) -> dict[str, list[Figure]]:
    """By scorer, a figure for each fraction, where there is one to draw."""
    by_panel = pivot(comparison.groups, lambda group: (group.scorer, group.fraction))
    order = sorted(by_panel, key=lambda key: (key[0] == ALL, scorer_order(key[0]), key[1]))
    drawn = [(key[0], figure) for key in order if (figure := _figure(comparison, by_panel[key])) is not None]
    return {scorer: [figure for _, figure in pairs] for scorer, pairs in pivot(drawn, lambda pair: pair[0]).items()}


def _figure(comparison: Comparison, groups: Sequence[Group]) -> Figure | None:
    runs = [run for group in groups for run in group.runs]
    given = sorted((run for run in runs if run.kd != AUTO), key=lambda run: run.result.kd_weight)
    by_weight = pivot(given, lambda run: run.result.kd_weight)
    fixed = {weight: Group(groups[0].fraction, groups[0].scorer, "", members) for weight, members in by_weight.items()}
    if set(fixed) <= {0.0}:  # labels alone are no response to the weight
        fixed = {}
    searches = [run for run in runs if run.kd == AUTO and run.result.kd_weight_search][:MAX_SEARCHES]
    if not fixed and not searches:
        return None
    scorer, kept = groups[0].scorer, percent(groups[0].fraction)
    title = ALL if groups[0].is_full else f"{scorer}, keeping {kept}"

    def paint(canvas: Canvas) -> None:
        panels = list(canvas.subplots(bool(fixed) + bool(searches), 1, sharex=True, squeeze=False)[:, 0])
        set_title(panels[0], title)
        if fixed:
            _paint_test(panels[0], fixed, searches)
        if searches:
            _paint_validation(panels[-1], searches)
        panels[-1].set_xlabel("KD weight")
        panels[-1].set_xlim(-0.04, 1.04)
        canvas.align_ylabels(panels)
        if searches:
            add_legend(canvas, *panels)

    name = f"weight{comparison.suffix}-{slug(scorer)}-{slug(kept.replace('.', 'p'))}"
    return draw(name, f"Accuracy against the KD weight: {title}", paint, height=4.0 if fixed and searches else 2.9)


def _paint_test(axes: Axes, fixed: Mapping[float, Group], searches: Sequence[RunRecord]) -> None:
    means, deviations = [group.mean for group in fixed.values()], [group.sd for group in fixed.values()]
    axes.errorbar(list(fixed), means, deviations, color=TEST, marker="o", label="weight given", elinewidth=1)
    if searches:
        weights, accuracies = [run.result.kd_weight for run in searches], [run.result.test_accuracy for run in searches]
        axes.plot(weights, accuracies, linestyle="none", marker="D", markerfacecolor=PANEL, markeredgecolor=CHOSEN,
                  markeredgewidth=1.4, label="auto, each run", zorder=4)  # fmt: skip
    axes.set_ylabel("test, %")
    axes.margins(y=0.15)


def _paint_validation(axes: Axes, searches: Sequence[RunRecord]) -> None:
    for run in searches:
        search = run.result.kd_weight_search
        assert search is not None
        _paint_trials(axes, run, search)
        if search.curve:
            weights = [point.weight for point in search.curve]
            axes.plot(weights, [point.accuracy for point in search.curve], color=VALIDATION, linewidth=1.4, zorder=2)
            bounds = [point.low for point in search.curve], [point.high for point in search.curve]
            axes.fill_between(weights, *bounds, color=VALIDATION, alpha=0.16)
        axes.axvline(run.result.kd_weight, color=CHOSEN, linestyle="--", linewidth=1, zorder=1)
    axes.set_ylabel("validation, %")
    axes.margins(y=0.15)


def _paint_trials(axes: Axes, run: RunRecord, search: KDSearch) -> None:
    """The accuracies of a search's trials with one standard error: a marker for each temperature and candidate teacher.

    Trials on labels alone, which have neither, go with the first ones. A thin line joins trials without a fitted curve.
    """
    trials = sorted(search.probes, key=lambda trial: trial.weight)
    first = next((trial for trial in trials if trial.weight > 0), trials[0])
    kinds = [trial if trial.weight > 0 else first for trial in trials]
    order = list(dict.fromkeys((kind.temperature, kind.teacher) for kind in kinds if kind.weight > 0))
    members = pivot(zip(trials, kinds, strict=True), lambda pair: (pair[1].temperature, pair[1].teacher))
    for i, (temperature, teacher) in enumerate(order or members):
        label = ["trial"]
        label += [f"T = {temperature:g}"] if len({t for t, _ in members}) > 1 else []
        label += [run.candidates[teacher].name] if len({t for _, t in members}) > 1 else []
        offset = 0.014 * (i - (len(members) - 1) / 2)
        drawn = [trial for trial, _ in members[temperature, teacher]]
        axes.errorbar(
            [trial.weight + offset for trial in drawn], [trial.accuracy for trial in drawn],
            [trial.stderr for trial in drawn], color=MUTED if search.curve else VALIDATION,
            marker=TRIAL_MARKERS[i % len(TRIAL_MARKERS)], label=", ".join(label), markersize=4.5, markeredgecolor=INK,
            markeredgewidth=0.5, linestyle="none" if search.curve else "-", linewidth=1, elinewidth=0.8, alpha=0.9,
        )  # fmt: skip
