"""`dprune check`: a recipe is read as every command reads it, and nothing runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import recipes
from tests.conftest import Answer, fast_arguments

Dprune = Callable[..., Answer]
Refused = Callable[..., str]


@pytest.mark.parametrize("name", [*recipes.names(), *recipes.ALIASES])
def test_our_recipes_are_right(dprune: Dprune, tmp_path: Path, name: str) -> None:
    answer = dprune("check", name)
    assert (answer.code, answer.err) == (0, "")
    assert "a recipe, whole; nothing was run" in answer.out
    assert not list(tmp_path.iterdir())


def test_it_says_what_a_recipe_amounts_to(dprune: Dprune, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        "[train]\nmodel = 'resnet20'\nepochs = 7\nlr = 1\n[score]\nepochs = 3\n[evidence]\nearly_epoch = 3\n"
        "[kd]\ntemperature = 3\n"
    )
    lines = dprune("check", "mine.toml").out.splitlines()
    assert lines[0] == "mine.toml: a recipe, whole; nothing was run"
    assert lines[1].startswith("  train: resnet20, 7 epochs, batches of 128, lr 1, ")
    assert lines[3].startswith("  score: resnet20, 3 epochs, ")
    assert lines[-1] == "  other tables with values of their own: kd"


def test_a_run_s_config_is_a_recipe(dprune: Dprune) -> None:
    assert dprune("train", "--fraction", "0.1", "--kd-weight", "0", *fast_arguments(), "--out", "run").code == 0
    assert dprune("check", "run/config.toml").code == 0


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[train]\n\nepoch = 3\n", "mine.toml, line 3: unknown key in [train] 'epoch': did you mean 'epochs'?"),
        ("[train]\nlr = 'high'\n", "mine.toml, line 2: train.lr is a number, got 'high'"),
        ("[trian]\n", "mine.toml, line 1: unknown table 'trian': did you mean 'train'?"),
        ("[train]\nmodel = 'resnet-18'\n", "mine.toml, line 2: train.model: unknown model 'resnet-18': did you"),
        ("[train]\nlr = 1\n[teacher]\nmodel = 'convnt'\n", "mine.toml, line 4: teacher.model: unknown model 'convnt'"),
        ("[kd]\nladder = ['convnet', 'x']\n", "mine.toml, line 2: kd.ladder: unknown model 'x'"),
        ("[score]\nepochs = 3\n[evidence]\nearly_epoch = 4\n", "mine.toml, line 4: evidence.early_epoch is 4"),
        ("[train]\nepochs = 1\n", "mine.toml, line 2: evidence.early_epoch is 2, but the proxy trains 1 epochs"),
        ("[train]\ninfobatch = 0.5\n[self_distill]\nmethod = 'dlb'\n", "mine.toml, line 3: self-distillation (dlb)"),
        ("[train]\nlr = \n", "line 2"),
        ("[run]\nseed = 'x'\n", "seed in [run]"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(refused: Refused, tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    assert named in refused("check", "mine.toml")


def test_a_recipe_that_is_not_there_is_refused(refused: Refused, tmp_path: Path) -> None:
    assert "did you mean 'digits'" in refused("check", "digit")
    assert "absent.toml is not there" in refused("check", "absent.toml")
    (tmp_path / "folder.toml").mkdir()
    assert "folder.toml" in refused("check", "folder.toml")
    assert "recipe" in refused("check")
