"""`diff`: what two scores files, two subset files or two run folders of one dataset do not share."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datapruning.artifacts.metadata import check_same_dataset
from datapruning.artifacts.scores import Scores
from datapruning.artifacts.subset import Subset, load_subset
from datapruning.config.recipe import ENVIRONMENT_TABLE, RUN_TABLE
from datapruning.data.dataset import Dataset
from datapruning.errors import IncompatibleInputs, InvalidFile
from datapruning.runs.result import RunResult, StudentResult, TrainedResult
from datapruning.runs.run import CONFIG, Run
from datapruning.tools.diff.samples import compare_scores, compare_subsets
from datapruning.tools.load import load_scores_or_subset
from datapruning.utils.records import flatten

MAX_SETTINGS = 12
"""Settings that are listed, at most."""


@dataclass(frozen=True)
class ComparedRun:
    """A run folder: config.toml as "table.key" -> value without the [environment], and result and subset if it has them."""

    settings: Mapping[str, Any]
    result: RunResult | None
    subset: Subset | None


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
    elif data is not None and _dataset(left)[1] != data.fingerprint:
        raise IncompatibleInputs(f"{a} was made from another dataset, {_describe_dataset(left)}, not from {data.name}")
    match left, right:
        case Scores(), Scores():
            return compare_scores(left, right, data)
        case Subset(), Subset():
            return compare_subsets(left, right, data)
        case ComparedRun(), ComparedRun():
            return compare_runs(left, right, data)
    raise AssertionError("load_pair returns two of one kind")


def load_pair(a: Path, b: Path) -> tuple[Comparable, Comparable]:
    """Read two scores files, two subset files or two run folders of one dataset.

    Raises:
        InvalidFile: One is missing, broken or nothing that can be compared, or the two are of different kinds.
        IncompatibleInputs: The two were made from different datasets.
    """
    left, right = (_load_run(path) if path.is_dir() else load_scores_or_subset(path) for path in (a, b))
    if type(left) is not type(right):
        raise InvalidFile(f"{a} is {KINDS[type(left)]}, {b} is {KINDS[type(right)]}: diff compares two of the same kind")
    if _dataset(left)[1] != _dataset(right)[1]:
        raise IncompatibleInputs(
            f"{a} was made from {_describe_dataset(left)}, {b} from another dataset, {_describe_dataset(right)}"
        )
    return left, right


def _dataset(compared: Comparable) -> tuple[str, str]:
    """Name and fingerprint of the dataset; "None" where a run's config.toml has none."""
    if isinstance(compared, ComparedRun):
        return str(compared.settings.get(f"{RUN_TABLE}.data")), str(compared.settings.get(f"{RUN_TABLE}.fingerprint"))
    return compared.meta.dataset, compared.meta.fingerprint


def _describe_dataset(compared: Comparable) -> str:
    name, fingerprint = _dataset(compared)
    size = "" if isinstance(compared, ComparedRun) else f"{compared.meta.total:,} samples, "
    return f"{name} ({size}fingerprint {fingerprint[:12]})"


def _load_run(folder: Path) -> ComparedRun:
    config, subset = folder / CONFIG, folder / "subset.npz"
    if not config.is_file():
        raise InvalidFile(f"{folder} is no run folder: it has no {CONFIG}")
    try:
        tables = tomllib.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidFile(f"{config} cannot be read: {error}") from None
    tables.pop(ENVIRONMENT_TABLE, None)
    return ComparedRun(flatten(tables), Run(folder).result(RunResult), load_subset(subset) if subset.exists() else None)


def compare_runs(a: ComparedRun, b: ComparedRun, data: Dataset | None = None) -> list[str]:
    """Describe the results of two runs, the settings that differ and, where both have one, how their subsets differ."""
    lines = [f"A: {_describe_result(a.result)}", f"B: {_describe_result(b.result)}"]
    if a.result is not None and b.result is not None:
        lines.append(f"test accuracy, B - A: {b.result.test_accuracy - a.result.test_accuracy:+.2f} points")
    keys = [key for key in {**a.settings, **b.settings} if a.settings.get(key) != b.settings.get(key)]
    lines.append(f"settings that differ: {len(keys)}" if keys else "settings: the same")
    for key in keys[:MAX_SETTINGS]:
        left, right = (repr(run.settings[key]) if key in run.settings else "missing" for run in (a, b))
        lines.append(f"  {key}: {left} in A, {right} in B")
    if len(keys) > MAX_SETTINGS:
        lines.append(f"  and {len(keys) - MAX_SETTINGS} more")
    if a.subset is not None and b.subset is not None:
        lines += ["subsets", *(f"  {line}" for line in compare_subsets(a.subset, b.subset, data))]
    return lines


def _describe_result(result: RunResult | None) -> str:
    if result is None:
        return "not finished"
    parts = [f"test accuracy {result.test_accuracy:.2f}%", result.role, result.model]
    parts += [f"keeping {result.kept:,} of {result.total:,}"] if isinstance(result, TrainedResult) else []
    parts += [f"KD weight {result.kd_weight:g}"] if isinstance(result, StudentResult) else []
    return ", ".join(parts)
