"""Accuracy against cost, with everything that is paid for, and after how many students the shared costs pay off."""

from collections.abc import Sequence

from datapruning.report.comparison import NO_METHOD, Comparison, family_name
from datapruning.report.costs import UNKNOWN_COST, RecordedCost, break_even
from datapruning.report.format import format_count, format_seconds
from datapruning.report.groups import Group
from datapruning.report.inputs import ReportInputs
from datapruning.report.render import Section, render
from datapruning.report.sections.cost_figures import break_even_figures, cost_figures


def section(inputs: ReportInputs) -> Section:
    """Figures, the break-even in sentences, and the table of costs; the costs of pruned students in tables of their own."""
    panels, figures = [], []
    for comparison in (c for c in inputs.comparisons if not c.sparsity):  # zeros save no time: they have a table
        by_cost, by_number = cost_figures(comparison), break_even_figures(comparison)
        panels.append((comparison, by_cost, by_number))
        figures += [*by_cost, *by_number]
    pruned = [(family, _dense_reference(family)) for family in inputs.families if any(c.sparsity for c in family)]
    html = render(
        "cost.html", panels=panels, pruned=pruned, several=len(inputs.families) > 1, family_name=family_name,
        break_even=break_even, cost_text=_cost_text, unknown_cost=UNKNOWN_COST,
        devices=sorted({run.result.device for run in inputs.all_runs}),
    )  # fmt: skip
    return Section("cost", "Accuracy against cost", html, figures)


def _dense_reference(family: Sequence[Comparison]) -> tuple[Comparison, Group] | None:
    """The dense runs on all the data without KD that pruned ones are compared with: without self-distillation, if any."""
    dense = [(c, c.full_data) for c in family if not c.sparsity and c.full_data is not None]
    return min(dense, key=lambda pair: pair[0].method != NO_METHOD, default=None)


def _cost_text(cost: RecordedCost, unit: RecordedCost) -> str:
    """Samples, as a multiple of those of `unit` where it is known, and seconds, as in "1.25 / 6.2 s"."""
    is_multiple = cost.samples is not None and unit.samples
    samples = f"{(cost.samples or 0) / (unit.samples or 1):.2f}" if is_multiple else format_count(cost.samples)
    return f"{samples} / {'?' if cost.seconds is None else f'{format_seconds(cost.seconds)} s'}"
