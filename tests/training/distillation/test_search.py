"""`--kd-weight auto` in a run: what it may choose, what the user holds, what is recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import datapruning as dp
from datapruning.data.dataset import Dataset, Split
from datapruning.errors import InvalidFile
from datapruning.io.json import write_json
from datapruning.runs.context import Context
from datapruning.runs.training_records import KDSearch
from datapruning.training.distillation.candidates import augmentations, context_for, search_space
from datapruning.training.distillation.prior import PriorModel

MakeContext = Callable[..., Context]
SHORT = ("train.epochs=4", "train.batch_size=16", "teacher.epochs=2", "kd.search_budget=0.6")


@pytest.fixture
def images(small_dataset: Dataset) -> Dataset:
    """The small dataset at 16x16 pixels, which is large enough for resized crops."""

    def enlarge(split: Split) -> Split:
        return replace(split, images=np.asarray(split.images).repeat(2, axis=1).repeat(2, axis=2)[:, :16, :16])

    return replace(small_dataset, train=enlarge(small_dataset.train), test=enlarge(small_dataset.test))


def prior_file(folder: Path, **coefficients: float) -> str:
    """Write a prior with these coefficients; returns the setting that names it."""
    path = folder / "prior.json"
    write_json(path, PriorModel(coefficients=coefficients, ranges={}, fitted_on=("a test",)).to_json())
    return f"kd.prior={path}"


def search_of(context: Context, **options: Any) -> KDSearch:
    """The search of a student on half of the samples."""
    search = dp.train(context, fraction=0.5, **options).result.kd_weight_search
    assert search is not None
    return search


def test_the_run_begins_with_what_the_prior_proposes(make_context: MakeContext, images: Dataset, tmp_path: Path) -> None:
    favoured = prior_file(tmp_path, weight=10.0, temperature=5.0, resized=20.0)
    run = dp.train(make_context(images, *SHORT, favoured, threads=1), fraction=0.5)
    search = run.result.kd_weight_search
    assert search is not None
    proposed = search.proposed
    assert (proposed.weight, proposed.temperature, proposed.augmentation) == (1.0, 50.0, "resized")
    assert [probe.augmentation for probe in search.probes[:2]] == ["resized", "resized"]
    assert search.held == ()
    assert run.result.samples_seen == 4 * run.result.kept


def test_a_student_of_resized_crops_has_soft_labels_of_them(
    make_context: MakeContext, images: Dataset, tmp_path: Path
) -> None:
    """The second half, too: the same run as one whose recipe has the crops, with the same weight and temperature."""
    only = ("kd.search=['augmentation']", "kd.max_probes=1")
    favoured = prior_file(tmp_path, weight=100.0, resized=200.0)
    searched = dp.train(make_context(images, *SHORT, *only, favoured, threads=1), fraction=0.5)
    search = searched.result.kd_weight_search
    assert search is not None
    assert (search.augmentation, search.weight) == ("resized", 1.0)
    assert searched.result.teacher[0].epoch is None
    teacher = searched.result.teacher[0].folder
    crops = ("views.crop=0", "views.scale=[0.25, 1.0]", f"kd.temperature={search.temperature}")
    given = dp.train(make_context(images, *SHORT, *crops, threads=1), fraction=0.5, kd_weight=search.weight, teacher=teacher)
    models = [(run.folder / "model.safetensors").read_bytes() for run in (searched, given)]
    assert models[0] == models[1]


def test_what_the_user_sets_is_held(make_context: MakeContext, images: Dataset) -> None:
    context = make_context(
        images, *SHORT, "kd.temperature=3", "views.crop=2", "views.num_views=5", "kd.search=['temperature', 'views']"
    )
    assert augmentations(context) == ("recipe",)
    assert {c.temperature for c in search_space(context, 1) if c.weight} == {3.0}
    search = search_of(context)
    assert (search.num_views, search.augmentation) == (5, "recipe")
    assert {probe.temperature for probe in search.probes if probe.weight} == {3.0}
    assert set(search.held) == {"temperature", "augmentation", "views", "teacher"}
    free = make_context(images, *SHORT)
    assert augmentations(free) == ("recipe", "resized", "cutmix", "resized and cutmix")
    assert augmentations(free.with_settings("cutmix", prob=0.5)) == ("recipe",)


def test_a_repeated_run_holds_the_same_settings(make_context: MakeContext, images: Dataset, tmp_path: Path) -> None:
    run = dp.train(make_context(images, *SHORT, "kd.temperature=3", threads=1), fraction=0.5, out=tmp_path / "a")
    again = dp.rerun(
        tmp_path / "a", data=images, out=tmp_path / "b", workspace=tmp_path / "w", loader="memory", device="cpu", threads=1
    )
    searches = [finished.result.kd_weight_search for finished in (run, again)]
    assert searches[0].held == searches[1].held == ("temperature",)
    tried = [[(p.weight, p.temperature, p.augmentation, p.teacher, p.accuracy) for p in s.probes] for s in searches]
    assert tried[0] == tried[1]


def test_small_images_are_augmented_as_the_recipe_says(make_context: MakeContext, digits: Dataset, images: Dataset) -> None:
    assert augmentations(make_context(digits)) == ("recipe",)
    crops = make_context(images, "views.crop=0").with_settings("views", scale=(0.5, 1.0))
    added = augmentations(replace(crops, held=frozenset()))
    assert added == ("recipe", "cutmix"), "the recipe's crops are resized already"


def test_an_augmentation_changes_nothing_else(make_context: MakeContext, images: Dataset) -> None:
    context = make_context(images, "views.num_views=7")
    for candidate in search_space(context, 1):
        recipe = context_for(context, candidate).recipe
        assert recipe.views.num_views == 7
        assert bool(recipe.views.scale) == ("resized" in candidate.augmentation)
        assert recipe.cutmix.enabled == ("cutmix" in candidate.augmentation)
    assert len(set(search_space(context, 2))) == len(search_space(context, 2))


def test_a_broken_prior_is_refused_before_anything_is_trained(
    make_context: MakeContext, images: Dataset, tmp_path: Path
) -> None:
    context = make_context(images, *SHORT, f"kd.prior={tmp_path / 'missing.json'}")
    with pytest.raises(InvalidFile, match=r"missing\.json"):
        dp.train(context, fraction=0.5)
    assert not (context.workspace / "teachers").exists()


@pytest.mark.parametrize("moment", [(6, 3, 4, 2)])
def test_a_killed_search_ends_with_the_same_bits(
    make_context: MakeContext, images: Dataset, tmp_path: Path, kill_and_resume: Callable[..., Any], moment: tuple[int, ...]
) -> None:
    favoured = prior_file(tmp_path, weight=10.0, resized=20.0)
    uninterrupted = dp.train(make_context(images, *SHORT, favoured, workspace=tmp_path / "a", threads=1), fraction=0.5)
    context = make_context(images, *SHORT, favoured, workspace=tmp_path / "b", threads=1)
    dp.teach(context)
    resumed = kill_and_resume(lambda: dp.train(context, fraction=0.5), *moment)
    models = [(run.folder / "model.safetensors").read_bytes() for run in (uninterrupted, resumed)]
    assert models[0] == models[1]
    costs = [run.result.costs for run in (uninterrupted, resumed)]
    assert [cost.search.evaluated for cost in costs] == [costs[0].search.evaluated] * 2
    assert [cost.soft_labels.evaluated for cost in costs] == [costs[0].soft_labels.evaluated] * 2
