"""Students are seeds of one another only if their samples were chosen alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datapruning.artifacts.metadata import ScoresMetadata, common_fields
from datapruning.artifacts.subset import Subset, load_subset, subset_from_ids
from datapruning.config.evidence import EvidenceConfig
from datapruning.data.dataset import Dataset
from datapruning.report.comparison import compare
from datapruning.report.find_runs import find_runs
from datapruning.utils.cost import ComputeCost
from tests.report.test_find_runs import write_run


def groups_of(students: Path) -> dict[str, list[int]]:
    """Return the seeds of the groups by the names of their scorers."""
    (comparison,) = compare(find_runs([students]).runs)
    return {group.scorer: [run.result.seed for run in group.runs] for group in comparison.groups}


def write_list(folder: Path, data: Dataset, seed: int, first_id: int, source: str) -> None:
    name = f"{source.replace('/', '-')}-{first_id}-{seed}"
    run = write_run(folder / name, data, scorer="ids", seed=seed, subset_hash=str(first_id))
    ids = first_id + np.arange(len(load_subset(run / "subset.npz")))
    subset_from_ids(ids, data, source).save(run / "subset.npz")


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        ([(0, "a.txt"), (0, "b.txt")], {"ids": [0, 1]}),
        ([(0, "a.txt"), (5, "b.txt")], {"ids, a.txt": [0, 1], "ids, b.txt": [0, 1]}),
    ],
)
def test_students_of_two_lists_are_two_groups_and_of_the_same_ids_one(
    tmp_path: Path, digits: Dataset, lists: list[tuple[int, str]], expected: dict[str, list[int]]
) -> None:
    for seed in (0, 1):
        for first_id, source in lists:
            write_list(tmp_path, digits, seed, first_id, source)
    assert groups_of(tmp_path) == expected


def test_two_lists_in_files_of_one_name_are_told_apart(tmp_path: Path, digits: Dataset) -> None:
    for first_id, source in ((0, "here/a.txt"), (5, "there/a.txt")):
        write_list(tmp_path, digits, 0, first_id, source)
    names = list(groups_of(tmp_path))
    assert len(set(names)) == 2
    assert all(name.startswith("ids, a.txt ") for name in names)


def test_seeds_are_alike_and_other_settings_of_the_scorer_are_not(tmp_path: Path, digits: Dataset) -> None:
    for epochs in (2, 4):
        for seed in (0, 1):
            evidence = EvidenceConfig(early_epoch=epochs)
            scores = ScoresMetadata(
                **common_fields(digits),
                scorer="el2n",
                seed=seed,
                evidence=evidence,
                recording=f"r{seed}",
                costs=ComputeCost(flops=0, seconds=1.0 + seed),
            )
            name = f"{epochs}-{seed}"
            run = write_run(tmp_path / name, digits, scorer="el2n", seed=seed, scores=scores, subset_hash=name)
            subset = load_subset(run / "subset.npz")
            Subset(subset.indices + seed, subset.meta.model_copy(update={"seed": seed})).save(run / "subset.npz")
    write_run(tmp_path / "random", digits)
    assert groups_of(tmp_path) == {
        "random": [0], "el2n, evidence.early_epoch = 2": [0, 1], "el2n, evidence.early_epoch = 4": [0, 1],
    }  # fmt: skip


def test_a_run_whose_subset_is_gone_keeps_the_plain_name(tmp_path: Path, digits: Dataset) -> None:
    for first_id in (0, 5):
        write_list(tmp_path, digits, 0, first_id, f"{first_id}.txt")
    run = write_run(tmp_path / "gone", digits, scorer="ids", seed=3)
    (run / "subset.npz").unlink()
    assert groups_of(tmp_path) == {"ids": [3], "ids, 0.txt": [0], "ids, 5.txt": [0]}
