"""`dprune diff`: what two scores files, two subset files or two runs of one dataset do not share, in words."""

from __future__ import annotations

from pathlib import Path

from datapruning.artifacts.metadata import check_made_from
from datapruning.artifacts.scores import load_scores
from datapruning.artifacts.subset import load_subset
from datapruning.data.dataset import Dataset
from datapruning.tools.diff.inputs import RUN, check_same_dataset, check_same_kind
from datapruning.tools.diff.runs import run_lines
from datapruning.tools.diff.scores import score_lines
from datapruning.tools.diff.subsets import subset_lines


def diff(a: str | Path, b: str | Path, *, data: Dataset | None = None) -> list[str]:
    """Lines about how A and B differ.

    Args:
        a: a scores file, a subset file or a run folder.
        b: another of the same kind.
        data: their dataset, for differences by class.

    Raises:
        InvalidFile: something else, two kinds, or broken.
        IncompatibleInputs: made from different datasets, or not from `data`.
    """
    a, b = Path(a), Path(b)
    kind = check_same_kind(a, b)
    if kind == RUN:
        return run_lines(a, b, data)
    if kind == "a scores file":
        left, right = load_scores(a), load_scores(b)
        check_same_dataset(a, left.meta, b, right.meta)
        if data is not None:
            check_made_from("these scores", left.meta, data)
        return score_lines(left, right, data)
    first, second = load_subset(a), load_subset(b)
    check_same_dataset(a, first.meta, b, second.meta)
    if data is not None:
        check_made_from("this subset", first.meta, data)
    return subset_lines(first, second, data)
