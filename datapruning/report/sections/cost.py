"""Accuracy against cost, with everything that is paid for, and after how many students the shared costs pay off."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from datapruning.report.budgets import full_training
from datapruning.report.comparison import NO_METHOD, Comparison, family_name
from datapruning.report.costs import MEASURES, UNKNOWN_COST, ZERO_COST, Measure, RecordedCost, break_even
from datapruning.report.figures import INK, MARKERS, MUTED, PANEL, SERIES, Figure, log_axis, plot
from datapruning.report.format import format_flops, format_seconds, percent, si_number, slug
from datapruning.report.groups import Group, pivot, pruning_scorers
from datapruning.report.inputs import ReportInputs
from datapruning.report.point_labels import label_points
from datapruning.report.render import Section, render
from datapruning.report.run_records import NO_KD

UNITS = {"compute": "floating-point operations", "seconds": "seconds"}
SINGLE_COST = 1.001
"""Costs whose ratio is below this are drawn as one number."""
MAX_STUDENTS = 1000


@dataclass(frozen=True)
class CostPoint:
    """A group with the cost of one student and of the first one, in operations or seconds.

    The first one takes a teacher and scores, too, as far as their cost is known.
    """

    group: Group
    per_student: float
    first: float


def section(inputs: ReportInputs) -> Section:
    """Figures, the break-even in sentences, and the table of costs; the costs of pruned students in tables of their own."""
    panels, figures = [], []
    for comparison in (c for c in inputs.comparisons if not c.sparsity):  # zeros save no time: they have a table
        by_cost, by_number = cost_figures(comparison), break_even_figures(comparison)
        panels.append((comparison, by_cost, by_number))
        figures += [*by_cost, *by_number]
    pruned = []
    for family in (family for family in inputs.families if any(c.sparsity for c in family)):
        # the dense runs on all the data without KD: without self-distillation, if there are any
        dense = [(c, c.full_data) for c in family if not c.sparsity and c.full_data is not None]
        pruned.append((family, min(dense, key=lambda pair: pair[0].method != NO_METHOD, default=None)))
    html = render(
        "cost.html", panels=panels, pruned=pruned, several=len(inputs.families) > 1, family_name=family_name,
        break_even=break_even, cost_text=_cost_text, unknown_cost=UNKNOWN_COST, zero_cost=ZERO_COST,
        full_training=lambda comparison: full_training(comparison, inputs.comparisons),
        devices=sorted({run.result.device for run in inputs.collection.runs}),
    )  # fmt: skip
    return Section("cost", "Accuracy against cost", html, figures)


def _cost_text(cost: RecordedCost, unit: RecordedCost) -> str:
    """Compute, as a multiple of that of `unit` where it is known, and seconds, as in "1.25 / 6.2 s"."""
    is_multiple = cost.flops is not None and unit.flops
    compute = f"{(cost.flops or 0) / (unit.flops or 1):.2f}" if is_multiple else format_flops(cost.flops)
    return f"{compute} / {'?' if cost.seconds is None else f'{format_seconds(cost.seconds)} s'}"


def cost_figures(comparison: Comparison) -> list[Figure]:
    """For each scorer, accuracy against compute and against seconds."""
    panels = [(scorer, measure) for scorer in pruning_scorers(comparison.groups) for measure in MEASURES]
    return [figure for scorer, measure in panels if (figure := _cost_figure(comparison, scorer, measure)) is not None]


def _cost_figure(comparison: Comparison, scorer: str, measure: Measure) -> Figure | None:
    points = [
        CostPoint(group, per_student, (group.cost.repeated + group.cost.one_time).measure(measure) or per_student)
        for group in comparison.groups
        if (group.scorer == scorer or group.is_full) and (per_student := group.cost.per_student.measure(measure))
    ]
    if not points:
        return None
    by_kd = pivot((point for point in points if point.group is not comparison.full_data), lambda point: point.group.kd)

    def paint(axes: Axes) -> None:
        for kd, colour, marker in ((NO_KD, SERIES[0], "o"), (comparison.main_kd, SERIES[1], "s")):
            curve = by_kd.get(kd or "", [])
            if not curve:
                continue
            per_student, means = [point.per_student for point in curve], [point.group.mean for point in curve]
            shares_costs = any(point.first > point.per_student for point in curve)
            label = f"{kd}, one student" if shares_costs else str(kd)
            axes.plot(per_student, means, color=colour, marker=marker, label=label, zorder=3)
            if shares_costs:
                axes.plot([point.first for point in curve], means, color=colour, marker=marker,
                          markerfacecolor=PANEL, linestyle=(0, (1.5, 1.5)), label=f"{kd}, the first student",
                          zorder=3)  # fmt: skip
        for point in points:
            if point.group is comparison.full_data:
                axes.plot([point.per_student], [point.group.mean], marker="*", markersize=11, linestyle="none", color=INK,
                          label="all the data, no KD", zorder=4)  # fmt: skip
                axes.axhline(point.group.mean, color=MUTED, linestyle=":", linewidth=1)
        axes.set_xscale("log")
        log_axis(axes.xaxis, (1.0, 3.0), 9, si_number)
        axes.set_xlabel(UNITS[measure])
        axes.set_ylabel("test accuracy, %")
        axes.margins(x=0.14, y=0.12)
        costs = [cost for point in points for cost in (point.per_student, point.first)]
        if max(costs) < SINGLE_COST * min(costs):  # matplotlib cannot choose limits around a single number
            axes.set_xlim(min(costs) / 2, max(costs) * 2)
        labelled = [point for curve in by_kd.values() for point in curve if point.group.kd in (NO_KD, comparison.main_kd)]
        label_points(axes, [(p.per_student, p.group.mean, percent(p.group.fraction)) for p in labelled], INK)

    name = f"cost{comparison.suffix}-{slug(scorer)}-{measure}"
    return plot(name, f"Test accuracy against {UNITS[measure]}: {scorer}", f"{scorer}: {measure}", paint, height=3.5)


def break_even_figures(comparison: Comparison) -> list[Figure]:
    """For each scorer, the cost of a student with its share of what is paid once, against the number of students."""
    full_cost = comparison.full_data.cost.per_student.flops if comparison.full_data else None
    if not full_cost or comparison.main_kd is None:
        return []
    known = [
        (group, group.cost.repeated.flops, group.cost.one_time.flops)
        for group in comparison.groups
        if group.kd == comparison.main_kd and group.cost.repeated.flops is not None and group.cost.one_time.flops is not None
    ]
    by_scorer = pivot(known, lambda row: row[0].scorer)
    return [
        _break_even_figure(comparison, scorer, by_scorer[scorer][: len(SERIES)], full_cost)
        for scorer in pruning_scorers(comparison.groups) if scorer in by_scorer
    ]  # fmt: skip


def _break_even_figure(
    comparison: Comparison, scorer: str, rows: Sequence[tuple[Group, float, float]], full_cost: float
) -> Figure:
    """`rows`: groups, what each of their students costs, and what is paid once."""

    def paint(axes: Axes) -> None:
        numbers = [break_even(repeated, one_time, full_cost) or math.inf for _, repeated, one_time in rows]
        last = min(MAX_STUDENTS, max(30, 4 * max([k for k in numbers if k < math.inf], default=1)))
        students = np.geomspace(1, last, 120)
        for i, ((group, repeated, one_time), k) in enumerate(zip(rows, numbers, strict=True)):
            costs = (repeated + one_time / students) / full_cost
            axes.plot(students, costs, color=SERIES[i], label=f"keeping {percent(group.fraction)}")
            if k <= last:
                axes.plot([k], [(repeated + one_time / k) / full_cost], marker=MARKERS[i], color=SERIES[i], zorder=4)
        axes.axhline(1, color=MUTED, linestyle=":", linewidth=1.4, label="all the data, no KD")
        axes.set_xscale("log")
        axes.set_yscale("log")
        log_axis(axes.xaxis, (1.0, 3.0), 9, si_number)
        log_axis(axes.yaxis, (1.0, 2.0, 5.0), 12, "{:g}".format)
        axes.set_xlabel("number of students")
        axes.set_ylabel("cost of each,\nin full trainings")

    title = f"{scorer}, {comparison.main_kd}"
    alt = f"Cost of a student against the number of students: {title}"
    return plot(f"break-even{comparison.suffix}-{slug(scorer)}", alt, title, paint)
