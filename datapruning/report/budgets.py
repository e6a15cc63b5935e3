"""Budgets: set-ups that differ in nothing else, and the cost that everything is a multiple of."""

from collections.abc import Sequence

from datapruning.report.comparison import BUDGET_KEYS, Comparison
from datapruning.report.costs import UNKNOWN_COST, RecordedCost
from datapruning.report.groups import pivot

COMPUTE_BUDGETS = ("steps", "samples")
"""Budgets under which a student costs as much as others, however few samples it keeps."""


def has_equal_compute(comparison: Comparison) -> bool:
    """Whether students of every fraction train on as many samples, with repeats; otherwise for as many epochs."""
    return comparison.runs[0].result.budget in COMPUTE_BUDGETS


def by_budget(comparisons: Sequence[Comparison]) -> list[list[Comparison]]:
    """Comparisons that differ only in the budget, together: those at equal epochs first."""

    def settings(comparison: Comparison) -> tuple[tuple[str, str], ...]:
        return tuple(sorted((key, repr(v)) for key, v in comparison.settings.items() if key not in BUDGET_KEYS))

    return [sorted(members, key=has_equal_compute) for members in pivot(comparisons, settings).values()]


def full_training(comparison: Comparison, comparisons: Sequence[Comparison]) -> RecordedCost:
    """The cost of one training on all the data without KD, by the same network.

    That of the comparison itself, or else of one that differs only in the budget; unknown where there is none.
    """
    related = next(members for members in by_budget(comparisons) if comparison in members)
    full = [c.full_data for c in (comparison, *related) if c.full_data is not None]
    return full[0].cost.per_student if full else UNKNOWN_COST
