"""Pruned weights: accuracy against the share that was removed, what it saves and costs, and what each layer keeps."""

import statistics
from collections.abc import Iterable, Sequence

from datapruning.report.comparison import Comparison, dense_comparison, family_name
from datapruning.report.groups import Group, paired_differences
from datapruning.report.inputs import ReportInputs
from datapruning.report.render import Section, render
from datapruning.report.run_records import RunRecord
from datapruning.report.sections.sparsity_figures import layer_figure, mean_layers, sparsity_figures
from datapruning.runs.training_records import SparsityRecord

MAX_OPEN_FIGURES = 6
"""Figures of layers that are not folded away."""


def section(inputs: ReportInputs) -> Section | None:
    """Each family with a pruned student; None where nothing was pruned."""
    families = [family for family in inputs.families if any(comparison.sparsity for comparison in family)]
    if not families:
        return None
    panels, figures = [], []
    for family in families:
        curves = sparsity_figures(family)
        layers = [figure for c in family if (figure := layer_figure(c, _records(c.runs))) is not None]
        panels.append((family, curves, layers))
        figures += [*curves, *layers]
    summaries = _records(run for family in families for comparison in family for run in comparison.runs)
    html = render(
        "sparsity.html", panels=panels, protected=sorted({name for s in summaries for name in s.protected}),
        several=len(inputs.families) > 1, family_name=family_name, dense_gains=dense_gains, summaries=_records,
        mean_layers=mean_layers, mean=statistics.mean, max_open=MAX_OPEN_FIGURES,
    )  # fmt: skip
    return Section("pruned", "Pruned weights", html, figures)


def dense_gains(group: Group, comparison: Comparison, family: Sequence[Comparison]) -> list[float]:
    """The paired differences to the dense runs with the same data, KD and self-distillation, in points."""
    dense = dense_comparison(comparison, family)
    same = (other for other in (dense.groups if dense else []) if other.key == group.key)
    return paired_differences(group, next(same, None))


def _records(runs: Iterable[RunRecord]) -> list[SparsityRecord]:
    """How the weights of those of the runs were pruned that were pruned."""
    return [run.result.sparsity for run in runs if run.result.sparsity is not None]
