"""The recipes that come with the package."""

from __future__ import annotations

import tomllib

import pytest

import recipes
from datapruning.config import read_recipe
from datapruning.errors import UnknownName
from datapruning.models import check_model


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_is_complete_and_can_be_run(name: str) -> None:
    path = recipes.path_of(name)
    found, run = read_recipe(path)
    assert (found.name, run) == (name, {})
    for training in (found.train, found.teacher, found.score):
        check_model(training.model)
    assert found.evidence.early_epoch <= found.score.epochs
    tables = tomllib.loads(path.read_text())
    assert tables["about"]
    assert {"views", "train", "score", "evidence", "kd"} <= set(tables)


def test_each_dataset_has_a_recipe_of_its_own_or_the_default() -> None:
    wanted = {
        "digits": "digits",
        "cifar10": "cifar",
        "cifar100": "cifar",
        "fashion-mnist": "fashion-mnist",
        "mine": "default",
    }
    assert {data: recipes.default_for(data) for data in wanted} == wanted
    assert set(wanted.values()) == set(recipes.names())


def test_a_name_is_no_path() -> None:
    assert recipes.path_of("here/digits.toml").as_posix() == "here/digits.toml"
    with pytest.raises(UnknownName, match="did you mean 'digits'"):
        recipes.path_of("digit")
