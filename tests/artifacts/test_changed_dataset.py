"""Scores of a dataset that has changed since: those of the changed samples are set aside, the others are used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import datapruning as dp
from datapruning.artifacts.changed_dataset import adapt_scores
from datapruning.data.dataset import Dataset, Split
from datapruning.errors import IncompatibleInputs
from datapruning.runs.context import Context
from tests.conftest import CommandResult, fast_options, make_dataset
from tests.helpers.image_files import make_image_folder

MakeContext = Callable[..., Context]
CHANGED = np.array([3, 50, 51])


def relabelled(data: Dataset, ids: np.ndarray = CHANGED) -> Dataset:
    """Return the dataset with the next class as the label of some samples."""
    labels = data.train.labels.copy()
    labels[ids] = (labels[ids] + 1) % data.classes
    return replace(data, train=Split(data.train.images, labels))


def test_only_the_scores_of_changed_samples_are_set_aside(
    make_context: MakeContext, small_dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    context, new = make_context(small_dataset), relabelled(small_dataset)
    made = dp.score(context, "aum", out=tmp_path / "aum.npz")
    scores = dp.load_scores(tmp_path / "aum.npz")
    assert adapt_scores(scores, small_dataset) is scores
    used = adapt_scores(scores, new)
    line = "3 of 120 samples have another label, 0 are new; these come last, the scores of 117 are used"
    assert line in capsys.readouterr().err
    others = np.delete(np.arange(120), CHANGED)
    np.testing.assert_array_equal(used.values[others], made.values[others])
    assert used.values[CHANGED].max() < made.values[others].min()
    assert (used.meta.fingerprint, used.meta.set_aside) == (new.fingerprint, 3)
    subset = dp.select(tmp_path / "aum.npz", 0.9, data=new, balance="class")
    assert len(subset) == sum(int(np.floor(0.9 * count + 0.5)) for count in np.bincount(new.train.labels))
    top = dp.select(tmp_path / "aum.npz", 0.5, data=new)
    assert not np.intersect1d(top.indices, CHANGED).size
    expected = others[np.argsort(-made.values[others], kind="stable")[:60]]
    np.testing.assert_array_equal(top.indices, np.sort(expected))
    run = dp.train(make_context(new, "train.epochs=1"), scores=tmp_path / "aum.npz", fraction=0.5, kd_weight=0)
    np.testing.assert_array_equal(dp.load_subset(run.folder / "subset.npz").indices, top.indices)
    used.save(tmp_path / "used.npz")
    again = adapt_scores(dp.load_scores(tmp_path / "used.npz"), relabelled(new, np.array([7])))
    assert again.meta.set_aside == 4, "those that were set aside stay so"


def test_samples_are_recognised_where_others_were_added_removed_and_moved(
    make_context: MakeContext, small_dataset: Dataset
) -> None:
    scores = dp.score(make_context(small_dataset), "aum")
    added = make_dataset(count=8, seed=9).train
    order = np.random.default_rng(0).permutation(120)[:100]
    images = np.concatenate([added.images, small_dataset.train.images[order]])
    labels = np.concatenate([added.labels, small_dataset.train.labels[order]])
    names = (*small_dataset.class_names[::-1], "another class")
    new = replace(small_dataset, train=Split(images, 3 - labels), class_names=names)
    used = adapt_scores(scores, new)
    np.testing.assert_array_equal(used.values[8:], scores.values[order])
    assert used.values[:8].max() < scores.values.min()
    assert (used.meta.total, used.meta.set_aside, used.meta.recording) == (108, 8, None)
    assert len(dp.select(scores, 0.2, data=new)) == 22
    with pytest.raises(dp.UserError, match="name no recording"):
        dp.select(scores, 0.2, strategy="d2", data=new)


def test_an_image_file_that_moves_to_another_class_is_one_changed_sample(
    make_context: MakeContext, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_image_folder(tmp_path / "photos")

    def photos() -> Dataset:
        return dp.open_dataset(str(folder), image_size=16, workspace=tmp_path / "runs")

    before = photos()
    scores = dp.score(make_context(before), "aum")
    (folder / "train/cats/0.jpg").rename(folder / "train/dogs/z.jpg")
    after = photos()
    assert after.train_paths is not None
    used = adapt_scores(scores, after)
    assert "1 of 24 samples have another label, 0 are new" in capsys.readouterr().err
    np.testing.assert_array_equal(used.values[:-1], scores.values[1:])
    assert after.train_paths[int(used.values.argmin())] == "train/dogs/z.jpg"


def test_d2_and_random_on_relabelled_data(make_context: MakeContext, small_dataset: Dataset) -> None:
    context, new = make_context(small_dataset), relabelled(small_dataset)
    assert len(dp.select(dp.score(context, "knn"), 0.3, strategy="d2", data=new)) == 36
    random = dp.score(context, "random")
    np.testing.assert_array_equal(adapt_scores(random, new).values, random.values)


def test_another_dataset_is_refused(make_context: MakeContext, small_dataset: Dataset) -> None:
    scores = dp.score(make_context(small_dataset), "random")
    with pytest.raises(IncompatibleInputs, match="made from another dataset"):
        adapt_scores(scores, make_dataset(seed=1))
    part = replace(small_dataset, train=Split(small_dataset.train.images[:50], small_dataset.train.labels[:50]))
    with pytest.raises(IncompatibleInputs, match="made from another dataset"):
        adapt_scores(scores, part)
    with pytest.raises(IncompatibleInputs, match="made from another dataset"):
        adapt_scores(replace(scores, images=None), relabelled(small_dataset))


def test_equal_images_are_told_apart_by_their_labels(make_context: MakeContext) -> None:
    data = make_dataset()
    images, labels = data.train.images.copy(), data.train.labels.copy()
    images[1:4], labels[:4] = images[0], [0, 1, 2, 2]
    before = replace(data, train=Split(images, labels))
    scores = replace(dp.score(make_context(before), "aum"), values=np.arange(120, dtype=np.float32))
    labels = labels.copy()
    labels[:4] = [2, 2, 2, 0]
    used = adapt_scores(scores, replace(before, train=Split(images, labels)))
    assert used.values[:4].tolist() == [2, 3, used.values.min(), 0]


def test_the_commands_use_the_scores_of_relabelled_data(dprune: Callable[..., CommandResult], tmp_path: Path) -> None:
    data = relabelled(dp.open_dataset("digits"))
    arrays = {
        f"{role}_{name}": getattr(data.split(role), name) for role in ("train", "test") for name in ("images", "labels")
    }
    np.savez(tmp_path / "digits-2.npz", **arrays, class_names=np.array(data.class_names))
    assert dprune("score", "--scorer", "aum", "--out", "aum.npz", *fast_options()).code == 0
    for arguments in (
        ("select", "--scores", "aum.npz", "--fraction", 0.3, "--out", "subset.npz"),
        ("train", "--scores", "aum.npz", "--fraction", 0.3, "--kd-weight", 0, "--out", "student", *fast_options()),
    ):
        command = dprune(*arguments, "--data", "digits-2.npz")
        assert command.code == 0, command
        assert command.err.count("3 of 1,438 samples have another label, 0 are new") == 1
