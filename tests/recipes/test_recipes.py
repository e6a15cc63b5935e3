"""The recipes that come with the package."""

from __future__ import annotations

import re
import tomllib

import pytest

from datapruning import recipes
from datapruning.config.recipe import read_recipe
from datapruning.data.registry import SOURCES
from datapruning.errors import InvalidValue, UnknownName
from datapruning.models import check_model


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_is_complete_and_can_be_run(name: str) -> None:
    path = recipes.path_of(name)
    recipe, run = read_recipe(path)
    assert (recipe.name, run) == (name, {})
    for training in (recipe.train, recipe.teacher, recipe.proxy):
        check_model(training.model)
    assert recipe.evidence.early_epoch <= recipe.proxy.epochs
    tables = tomllib.loads(path.read_text())
    assert tables["about"]
    assert {"views", "train", "proxy", "evidence", "kd"} <= set(tables)


def test_each_dataset_has_its_recipe_or_the_default() -> None:
    same_name = ("digits", "cifar10", "cifar100", "fashion-mnist", "imagenet", "mnist", "svhn", "tiny-imagenet")
    expected = {
        **{data: data for data in same_name},
        "kmnist": "mnist",
        "usps": "mnist",
        "stl10": "folder",
        "custom": "default",
    }
    assert {data: recipes.default_for(data) for data in expected} == expected
    assert {*expected.values(), *recipes.ON_CPU.values()} == set(recipes.names())
    assert recipes.default_for("custom", files=True) == "folder"
    assert recipes.default_for("svhn", files=True) == "svhn"


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn", "stl10", "custom"])
def test_cifar_sized_images_have_a_fast_recipe_on_a_cpu(name: str) -> None:
    fast = {"cifar10": "cifar10-fast", "cifar100": "cifar100-fast", "svhn": "svhn-fast"}.get(name, "cifar10-fast")
    usual = recipes.default_for(name)
    for files in (False, True):
        assert recipes.default_for(name, files=files, shape=(32, 32, 3), on_cpu=True) == fast
    for shape, on_cpu in (((32, 32, 3), False), ((64, 64, 3), True), ((32, 32, 1), True), ((32, 64, 3), True)):
        assert recipes.default_for(name, shape=shape, on_cpu=on_cpu) == usual


@pytest.mark.parametrize("name", ["digits", "mnist", "fashion-mnist", "kmnist", "usps", "tiny-imagenet", "imagenet"])
def test_other_datasets_have_their_recipe_on_a_cpu(name: str) -> None:
    for shape in ((28, 28, 1), (32, 32, 3)):
        assert recipes.default_for(name, shape=shape, on_cpu=True) == recipes.default_for(name)


@pytest.mark.parametrize("name", sorted({*recipes.ON_CPU.values()}))
def test_all_networks_of_a_fast_recipe_are_fast(name: str) -> None:
    recipe = read_recipe(recipes.path_of(name))[0]
    tables = (recipe.train, recipe.teacher, recipe.proxy, recipe.ensemble_member)
    assert {training.model for training in tables} == {"fastnet32"}
    assert recipe.kd.teacher_candidates == ("fastnet64", "fastnet32", "fastnet16")


def test_every_dataset_of_another_name_is_one_that_can_be_opened() -> None:
    assert {*recipes.OF_DATASETS} - {"tiny-imagenet-200"} <= {*SOURCES}
    assert {*recipes.OF_DATASETS.values()} <= {*recipes.names()}


def test_imagenet_crops_224_of_256_and_requires_that_size() -> None:
    views = read_recipe(recipes.path_of("imagenet"))[0].views
    assert views.output_shape((256, 256, 3)) == (224, 224, 3)
    with pytest.raises(InvalidValue, match="image_size"):
        views.output_shape((64, 64, 3))


@pytest.mark.parametrize("dataset", ["digits", "mnist", "kmnist", "usps", "svhn", "emnist-letters"])
def test_characters_are_not_mirrored(dataset: str) -> None:
    for on_cpu in (False, True):
        name = recipes.default_for(dataset, shape=recipes.CIFAR_SHAPE, on_cpu=on_cpu)
        assert not read_recipe(recipes.path_of(name))[0].views.flip


@pytest.mark.parametrize("name", recipes.names())
def test_the_description_names_the_source_of_the_settings(name: str) -> None:
    description = tomllib.loads(recipes.path_of(name).read_text())["about"]
    assert re.search(r"not tuned|\(\w+/\w+", description), description


def test_both_cifar_recipes_have_the_same_settings() -> None:
    cifar100, cifar10 = (read_recipe(recipes.path_of(name))[0] for name in ("cifar100", "cifar10"))
    assert cifar100.replace(name="cifar10") == cifar10
    fast, fast_cifar10 = (read_recipe(recipes.path_of(name))[0] for name in ("cifar100-fast", "cifar10-fast"))
    assert fast.replace(name="cifar10-fast") == fast_cifar10


def test_a_name_is_not_a_path() -> None:
    assert recipes.path_of("here/digits.toml").as_posix() == "here/digits.toml"
    with pytest.raises(UnknownName, match="did you mean 'digits'"):
        recipes.path_of("digit")
