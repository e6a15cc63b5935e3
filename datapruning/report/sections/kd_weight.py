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
from datapruning.runs.training_records import CurvePoint, KDSearch

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
        "kd_weight.html", choices=_choices(inputs), panels=[panel for panel in panels if panel[1]],
        has_searches=bool(searches), has_fixed=any(run.kd not in (NO_KD, AUTO) for run in inputs.collection.runs),
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
        curve = supported_curve(search)
        if curve:
            weights = [point.weight for point in curve]
            axes.plot(weights, [point.accuracy for point in curve], color=VALIDATION, linewidth=1.4, zorder=2)
            bounds = [point.low for point in curve], [point.high for point in curve]
            axes.fill_between(weights, *bounds, color=VALIDATION, alpha=0.16)
        axes.axvline(run.result.kd_weight, color=CHOSEN, linestyle="--", linewidth=1, zorder=1)
    axes.set_ylabel("validation, %")
    axes.margins(y=0.15)


def supported_curve(search: KDSearch) -> list[CurvePoint]:
    """The fitted response between the smallest and the largest weight above 0 that was probed.

    Below them it is the prior's guess: a probe of labels alone says little about a small weight.
    """
    probed = [probe.weight for probe in search.probes if probe.weight > 0]
    return [point for point in search.curve if probed and min(probed) <= point.weight <= max(probed)]


def _paint_trials(axes: Axes, run: RunRecord, search: KDSearch) -> None:
    """The accuracies of a search's probes with one standard error: a marker for each of their kinds.

    Probes of labels alone, which have neither temperature nor teacher, go with the first ones.
    """
    taught = [probe for probe in search.probes if probe.weight > 0]
    first = taught[0] if taught else search
    members = pivot(search.probes, lambda probe: (probe if probe.weight > 0 else first).setting)
    for i, (kind, probes) in enumerate(members.items()):
        offset = 0.014 * (i - (len(members) - 1) / 2)
        axes.errorbar(
            [probe.weight + offset for probe in probes], [probe.accuracy for probe in probes],
            [probe.stderr for probe in probes], color=MUTED if search.curve else VALIDATION,
            marker=TRIAL_MARKERS[i % len(TRIAL_MARKERS)], label=f"probe, {kind}", markersize=4.5, markeredgecolor=INK,
            markeredgewidth=0.5, linestyle="none", elinewidth=0.8, alpha=0.9,
        )  # fmt: skip


def _choices(inputs: ReportInputs) -> list[tuple[str, ...]]:
    """The rows of the table of what each search chose, and instead of what, by scorer and fraction."""
    runs = [run for run in inputs.collection.runs if run.result.kd_weight_search is not None]
    choices = list[tuple[str, ...]]()
    for run in sorted(runs, key=lambda run: (scorer_order(run.scorer), run.fraction, run.result.seed)):
        search = run.result.kd_weight_search
        assert search is not None
        teacher = " + ".join(teacher.name for teacher in run.teachers) if search.weight else ""
        if search.early_teacher_gain is not None:
            teacher += f" ({search.early_teacher_gain:+.1f} points expected over the finished one)"
        proposed = "" if search.proposed == search.candidate else str(search.proposed)
        cells = (
            run.scorer, percent(run.fraction), str(run.result.seed), str(search.candidate),
            str(search.num_views), teacher, proposed, str(len(search.probes)), f"{search.cost:.2f}",
        )  # fmt: skip
        choices.append(cells)
    return choices
