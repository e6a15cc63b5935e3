"""`diff`: what two scores files, two subset files or two run folders of one dataset do not share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datapruning.artifacts.metadata import check_same_dataset
from datapruning.artifacts.scores import Scores
from datapruning.artifacts.subset import Subset
from datapruning.data.dataset import Dataset
from datapruning.errors import IncompatibleInputs, InvalidFile
from datapruning.tools.diff.runs import ComparedRun, compare_runs, load_run
from datapruning.tools.diff.scores import compare_scores
from datapruning.tools.diff.subsets import compare_subsets
from datapruning.tools.load import load_scores_or_subset

Comparable = Scores | Subset | ComparedRun
KINDS = {Scores: "a scores file", Subset: "a subset file", ComparedRun: "a run folder"}


def diff(a: str | Path, b: str | Path, *, data: Dataset | None = None) -> list[str]:
    """Describe how A and B differ, in lines of text.

    Args:
        a: A scores file, a subset file or a run folder.
        b: Another of the same kind.
        data: Their dataset; with it, differences are listed by class too.

    Raises:
        InvalidFile: One is missing, broken or nothing that can be compared, or the two are of different kinds.
        IncompatibleInputs: The two were made from different datasets, or not from `data`.
    """
    left, right = load_pair(Path(a), Path(b))
    if data is not None and not isinstance(left, ComparedRun):
        check_same_dataset("these scores" if isinstance(left, Scores) else "this subset", left.meta, data)
    elif data is not None:
        _check_same_dataset(a, left.meta, data.source or data.name, {"dataset": data.name, "fingerprint": data.fingerprint})
    if isinstance(left, Scores) and isinstance(right, Scores):
        return compare_scores(left, right, data)
    if isinstance(left, Subset) and isinstance(right, Subset):
        return compare_subsets(left, right, data)
    assert isinstance(left, ComparedRun)
    assert isinstance(right, ComparedRun)
    return compare_runs(left, right, data)


def load_pair(a: Path, b: Path) -> tuple[Comparable, Comparable]:
    """Read two scores files, two subset files or two run folders of one dataset.

    Raises:
        InvalidFile: One is missing, broken or nothing that can be compared, or the two are of different kinds.
        IncompatibleInputs: The two were made from different datasets.
    """
    left, right = (load_run(path) if path.is_dir() else load_scores_or_subset(path) for path in (a, b))
    if type(left) is not type(right):
        raise InvalidFile(f"{a} is {KINDS[type(left)]}, {b} is {KINDS[type(right)]}: diff compares two of the same kind")
    _check_same_dataset(a, left.meta, b, right.meta)
    return left, right


def _check_same_dataset(a: Path | str, meta_a: Mapping[str, Any], b: Path | str, meta_b: Mapping[str, Any]) -> None:
    if meta_a.get("fingerprint") != meta_b.get("fingerprint"):
        raise IncompatibleInputs(
            f"{a} was made from {_dataset_name(meta_a)}, {b} from another dataset, {_dataset_name(meta_b)}"
        )


def _dataset_name(meta: Mapping[str, Any]) -> str:
    count = f"{meta['total']:,} samples, " if isinstance(meta.get("total"), int) else ""
    return f"{meta.get('dataset')} ({count}fingerprint {str(meta.get('fingerprint'))[:12]})"
