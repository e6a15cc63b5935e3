"""Unreadable images: they keep their ids, and nothing is trained or validated on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import datapruning as dp
from datapruning.analysis.advise.request import split_holdout
from datapruning.artifacts.subset import subset_from_ids
from datapruning.data.dataset import Dataset
from datapruning.data.loaders.loader import Batch
from datapruning.errors import InvalidValue
from datapruning.runs.context import Context
from datapruning.scorers import find_scorers
from datapruning.training.distillation.validation import choose_validation_set
from datapruning.training.epoch_stats import EpochStats
from tests.conftest import CommandResult
from tests.helpers.image_files import make_image_folder

LOST = (3, 40, 41, 119)
MakeContext = Callable[..., Context]
SETTINGS = (
    "train.model=tinynet8", "teacher.model=tinynet8", "proxy.model=tinynet8", "ensemble_member.model=tinynet8",
    "ensemble_member.epochs=1", "ensemble.num_members=10", "evidence.early_epoch=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def spoilt(small_dataset: Dataset) -> Dataset:
    """120 generated images, of which four are grey because they were unreadable."""
    images = small_dataset.train.images.copy()
    images[list(LOST)] = 128
    return replace(small_dataset, train=replace(small_dataset.train, images=images), corrupt_ids=LOST)


@pytest.fixture
def trained_on(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Collect every sample id that is trained on."""
    training_ids: set[int] = set()
    record = EpochStats.record

    def watched(self: EpochStats, batch: Batch, *rest: Any) -> Any:
        training_ids.update(batch.ids.tolist())
        return record(self, batch, *rest)

    monkeypatch.setattr(EpochStats, "record", watched)
    return training_ids


def test_unreadable_images_are_recorded_by_id(small_dataset: Dataset, spoilt: Dataset) -> None:
    assert small_dataset.valid_ids.tolist() == list(range(120))
    assert spoilt.valid_ids.tolist() == [i for i in range(120) if i not in LOST]
    assert spoilt.valid_ids.dtype == np.int64


def test_teachers_and_students_of_all_data_never_see_unreadable_images(
    make_context: MakeContext, spoilt: Dataset, trained_on: set[int]
) -> None:
    context = make_context(spoilt, *SETTINGS)
    assert dp.teach(context).result.kept == 116
    assert trained_on == set(spoilt.valid_ids.tolist())
    trained_on.clear()
    student = dp.train(context, fraction=1, kd_weight=0, seed=1)  # with the teacher's seed it is the teacher
    assert student.result.kept == 116
    assert trained_on == set(spoilt.valid_ids.tolist())


@pytest.mark.parametrize("name", ["el2n", "forgetting", "aum", "memorization", "memorization-plain", "knn", "grand"])
def test_proxies_and_members_never_see_unreadable_images_and_score_them_lowest(
    make_context: MakeContext, spoilt: Dataset, trained_on: set[int], name: str
) -> None:
    assert name in find_scorers()
    scores = dp.score(make_context(spoilt, *SETTINGS), name)
    assert trained_on == set(spoilt.valid_ids.tolist())
    assert list(scores.meta.unreadable or ()) == list(LOST)
    assert np.isfinite(scores.values).all()
    assert scores.values.dtype == np.float32
    assert scores.values[list(LOST)].max() < scores.values[spoilt.valid_ids].min()
    if scores.stderr is not None:
        assert (scores.stderr[list(LOST)] == 0).all()
    kept = dp.select(scores, fraction=0.5).indices
    assert len(kept) == 60
    assert not np.isin(kept, LOST).any()


def test_unreadable_images_are_not_in_the_validation_set(spoilt: Dataset) -> None:
    kept = np.arange(0, 120, 2)
    validation = choose_validation_set(kept, 120, 100, 0, subset_is_random=True, unreadable=LOST)
    assert not np.isin(validation.ids, LOST).any()
    assert np.isin(choose_validation_set(kept, 120, 100, 0, subset_is_random=True).ids, LOST).any()
    split = split_holdout(2000, 0, range(1000))
    assert len(split.holdout) == 100
    assert min(split.holdout.min(), split.rest.min()) == 1000


def test_influence_and_label_issues_leave_out_unreadable_images(make_context: MakeContext, spoilt: Dataset) -> None:
    context = make_context(spoilt, *SETTINGS)
    listed = dp.find_label_issues(context, "ensemble", count=120)
    assert {row.id for row in listed.rows} == set(spoilt.valid_ids.tolist())
    influence = dp.influence(context, top=3, pairs="all")
    assert not np.isin(influence.top_train_id, LOST).any()


def test_a_subset_that_has_one_is_refused(make_context: MakeContext, spoilt: Dataset) -> None:
    subset = subset_from_ids(np.arange(10), spoilt, "custom")
    with pytest.raises(InvalidValue, match="id 3 is an image that cannot be read"):
        dp.train(make_context(spoilt, *SETTINGS), subset, kd_weight=0)


def test_unreadable_images_change_the_identity_of_runs(make_context: MakeContext, small_dataset: Dataset) -> None:
    """The fingerprint is that of files; broken files and skipped files have different paths."""
    full_context, reduced_context = make_context(small_dataset), make_context(replace(small_dataset, corrupt_ids=LOST))
    assert full_context.data.fingerprint == reduced_context.data.fingerprint
    assert full_context.artifact_path("teachers", "x", {}) != reduced_context.artifact_path("teachers", "x", {})


def test_the_reason_is_said_where_images_are_skipped_and_when_they_are_found_again(
    dprune: Callable[..., CommandResult], expect_refusal: Callable[..., str], tmp_path: Path
) -> None:
    make_image_folder(tmp_path / "pets", 3, 2)
    (tmp_path / "pets/train/cats/x.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    command = ("score", "--data", "pets", "--scorer", "random", "--image-size", "8")
    skipped = dprune(*command, "--skip-unreadable", "--out", "r.npz")
    assert skipped.code == 0
    assert "1 image that cannot be read, never selected: train/cats/x.heic (HEIC is read by the package" in skipped.err
    assert "train/cats/x.heic cannot be read as an image (HEIC is read by the package" in expect_refusal(*command)
