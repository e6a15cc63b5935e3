"""The recipe that a context has where none is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from datapruning.runs import opening
from datapruning.runs.context import Context
from datapruning.runs.opening import open_context
from tests.conftest import make_dataset


def opened(name: str, side: int, tmp_path: Path, recipe: str | None = None, channels: int = 3) -> Context:
    data = replace(make_dataset(16, side=side, channels=channels), name=name)
    return open_context(data, recipe=recipe, device="cpu", loader="memory", workspace=tmp_path)


def test_cifar_on_a_cpu_is_trained_by_the_fast_recipe_which_is_announced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    context = opened("cifar100", 32, tmp_path)
    assert context.recipe.name == "cifar100-fast"
    line = capsys.readouterr().err.strip()
    assert line == (
        "recipe: cifar100-fast, whose fastnet32 suits 32x32 images on a CPU; for the recipe of a GPU, name 'cifar100'"
    )
    networks = {training.model for training in (context.recipe.train, context.recipe.teacher, context.recipe.proxy)}
    assert networks == {"fastnet32"}


@pytest.mark.parametrize(
    ("name", "side", "channels", "recipe", "expected"),
    [
        ("cifar10", 32, 3, "cifar10", "cifar10"),
        ("custom", 16, 3, None, "default"),
        ("custom", 32, 1, None, "default"),
        ("fashion-mnist", 28, 1, None, "fashion-mnist"),
    ],
)
def test_a_named_recipe_and_those_of_other_images_stay(
    name: str, side: int, channels: int, recipe: str | None, expected: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert opened(name, side, tmp_path, recipe, channels).recipe.name == expected
    assert "recipe:" not in capsys.readouterr().err


def test_a_gpu_keeps_the_recipe_of_the_dataset(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    data = replace(make_dataset(16, side=32), name="cifar10")
    monkeypatch.setattr(opening, "resolve_device", torch.device)
    assert opening._default_recipe(data, "cuda") == "cifar10"
    assert opening._default_recipe(data, "cpu") == "cifar10-fast"
    assert capsys.readouterr().err.count("recipe:") == 1
