"""`diff`: what two scores files, two subset files or two run folders of one dataset do not share."""

from pathlib import Path

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
    elif isinstance(left, ComparedRun) and data is not None and left.fingerprint != data.fingerprint:
        raise IncompatibleInputs(f"{a} was made from another dataset, {_dataset_of(left)}, not from {_dataset_of(data)}")
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
    if _fingerprint(left) != _fingerprint(right):
        raise IncompatibleInputs(f"{a} was made from {_dataset_of(left)}, {b} from another dataset, {_dataset_of(right)}")
    return left, right


def _fingerprint(compared: Comparable) -> str:
    return compared.fingerprint if isinstance(compared, ComparedRun) else compared.meta.fingerprint


def _dataset_of(compared: Comparable | Dataset) -> str:
    """The dataset in words."""
    if isinstance(compared, ComparedRun):
        return f"{compared.dataset} (fingerprint {compared.fingerprint[:12]})"
    data = compared if isinstance(compared, Dataset) else compared.meta
    return f"{data.name} ({data.total:,} samples, fingerprint {data.fingerprint[:12]})"
