"""Scores of a dataset whose labels have changed since: those of the changed samples are set aside, the others are used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import datapruning as dp
from datapruning.data.dataset import Dataset, Split
from datapruning.errors import IncompatibleInputs
from datapruning.runs.context import Context
from tests.conftest import CommandResult, fast_options, make_dataset

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
    assert scores.use_for(small_dataset) is scores
    used = scores.use_for(new)
    assert "labels of 3 of 120 samples have changed since they were scored: those are set aside" in capsys.readouterr().err
    others = np.delete(np.arange(120), CHANGED)
    np.testing.assert_array_equal(used.values[others], made.values[others])
    assert used.values[CHANGED].max() < made.values[others].min()
    assert (used.meta.fingerprint, used.meta.relabelled) == (new.fingerprint, 3)
    subset = dp.select(tmp_path / "aum.npz", 0.9, data=new, balance="class")
    assert len(subset) == sum(int(np.floor(0.9 * count + 0.5)) for count in np.bincount(new.train.labels))
    top = dp.select(tmp_path / "aum.npz", 0.5, data=new)
    assert not np.intersect1d(top.indices, CHANGED).size
    expected = others[np.argsort(-made.values[others], kind="stable")[:60]]
    np.testing.assert_array_equal(top.indices, np.sort(expected))
    other_context = make_context(new, "train.epochs=1")
    run = dp.train(other_context, scores=tmp_path / "aum.npz", fraction=0.5, kd_weight=0)
    np.testing.assert_array_equal(dp.load_subset(run.folder / "subset.npz").indices, top.indices)
    used.save(tmp_path / "used.npz")
    again = dp.load_scores(tmp_path / "used.npz").use_for(relabelled(new, np.array([7])))
    assert again.meta.relabelled == 4, "those that were set aside stay so"


def test_d2_and_random_on_relabelled_data(
    make_context: MakeContext, small_dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    context, new = make_context(small_dataset), relabelled(small_dataset)
    assert len(dp.select(dp.score(context, "knn"), 0.3, strategy="d2", data=new)) == 36
    random = dp.score(context, "random")
    np.testing.assert_array_equal(random.use_for(new).values, random.values)
    assert "'random' reads none, all are used" in capsys.readouterr().err


def test_other_images_and_other_classes_are_another_dataset(make_context: MakeContext, small_dataset: Dataset) -> None:
    scores = dp.score(make_context(small_dataset), "random")
    images = small_dataset.train.images.copy()
    images[0, 0, 0, 0] ^= 1
    for other in (
        replace(small_dataset, train=Split(images, small_dataset.train.labels)),
        replace(relabelled(small_dataset), class_names=("a", "b", "c", "d")),
        make_dataset(seed=1),
    ):
        with pytest.raises(IncompatibleInputs, match="made from another dataset"):
            scores.use_for(other)
    with pytest.raises(IncompatibleInputs, match="made from another dataset"):
        replace(scores, labels=None).use_for(relabelled(small_dataset))


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
        assert command.err.count("the labels of 3 of 1,438 samples have changed since they were scored") == 1
