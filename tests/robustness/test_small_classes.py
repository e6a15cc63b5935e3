"""A class with fewer samples than a setting requires is refused by name, or used completely where possible."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

import datapruning as dp
from datapruning.artifacts.metadata import ScoresMetadata, common_fields
from datapruning.artifacts.scores import Scores
from datapruning.artifacts.subset import subset_from_ids
from datapruning.data.dataset import Dataset
from tests.conftest import fast_options
from tests.helpers.image_files import make_image_folder, write_image

ExpectRefusal = Callable[..., str]


def test_pairs_within_a_class_of_one_kept_sample_are_refused(
    expect_refusal: ExpectRefusal, tmp_path: Path, digits: Dataset
) -> None:
    threes = np.flatnonzero(digits.train.labels == 3)
    kept = np.concatenate([np.flatnonzero(digits.train.labels != 3)[:200], threes[:1]])
    subset_from_ids(kept, digits, "by hand").save(tmp_path / "subset.npz")
    line = expect_refusal("train", "--subset", "subset.npz", "--kd-weight", 0, "--self-distill", "cs-kd", *fast_options())
    assert "two kept samples or more, but 1 of the classes has a single one (class 3)" in line


def test_a_cut_off_that_leaves_too_few_samples_of_a_class_is_refused(
    expect_refusal: ExpectRefusal, tmp_path: Path, digits: Dataset
) -> None:
    dp.score(digits, "random", out=tmp_path / "scores.npz")
    arguments = ["--strategy", "ccs", "--strategy-set", "cutoff=0.8", "--balance", "class", "--data", "digits"]
    line = expect_refusal("select", "--scores", "scores.npz", "--fraction", 0.5, *arguments)
    assert "leaves" in line
    assert "of a class of" in line


def test_a_class_of_one_image_is_not_held_out(expect_refusal: ExpectRefusal, tmp_path: Path) -> None:
    root = make_image_folder(tmp_path / "pets") / "train"
    write_image(root / "owls" / "1.png", (1, 2, 3))
    data = dp.open_dataset(str(root), image_size=8, holdout=0.5, workspace=tmp_path / "runs")
    owls = data.class_names.index("owls")
    assert ((data.train.labels == owls).sum(), (data.test.labels == owls).sum()) == (1, 0)
    for name in ("cats", "dogs"):
        for path in list((root / name).iterdir())[1:]:
            path.unlink()
    assert "is not one image" in expect_refusal("score", "--data", root, "--holdout", 0.5)


def test_balance_keeps_at_least_one_of_every_class(small_dataset: Dataset) -> None:
    scores = Scores(
        np.arange(small_dataset.total, dtype=np.float32), ScoresMetadata(**common_fields(small_dataset), scorer="by hand")
    )
    kept = dp.select(scores, 0.02, balance="class", data=small_dataset).indices
    counts = np.bincount(small_dataset.train.labels[kept], minlength=small_dataset.classes)
    assert counts.min() == 1
    assert (counts <= np.bincount(small_dataset.train.labels)).all()
