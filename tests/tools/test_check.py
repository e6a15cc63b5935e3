"""`dprune check`: a recipe is read as every command reads it, and nothing runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from datapruning import recipes
from tests.conftest import CommandResult, fast_options
from tests.helpers.image_files import write_image

Dprune = Callable[..., CommandResult]
ExpectRefusal = Callable[..., str]


@pytest.mark.parametrize("name", recipes.names())
def test_our_recipes_are_right(dprune: Dprune, tmp_path: Path, name: str) -> None:
    command = dprune("check", name)
    assert (command.code, command.err) == (0, "")
    assert "a valid recipe; nothing was run" in command.out
    assert not list(tmp_path.iterdir())


def test_check_summarises_a_recipe(dprune: Dprune, tmp_path: Path) -> None:
    (tmp_path / "custom.toml").write_text(
        "[train]\nmodel = 'resnet20'\nepochs = 7\nlr = 1\n[proxy]\nepochs = 3\n[evidence]\nearly_epoch = 3\n"
        "[kd]\ntemperature = 3\n"
    )
    lines = dprune("check", "custom.toml").out.splitlines()
    assert lines[0] == "custom.toml: a valid recipe; nothing was run"
    assert lines[1].startswith("  train: resnet20, 7 epochs, batches of 128, lr 1, ")
    assert lines[3].startswith("  proxy: resnet20, 3 epochs, ")
    assert lines[-2:] == [
        "  other tables with values of their own: kd",
        "  networks were not tried; name the dataset",
    ]


def test_a_run_s_config_is_a_recipe(dprune: Dprune) -> None:
    assert dprune("train", "--fraction", "0.1", "--kd-weight", "0", *fast_options(), "--out", "run").code == 0
    command = dprune("check", "run/config.toml")
    assert command.code == 0
    assert "every network takes images of 8x8 with 1 channel, as digits has them" in command.out


def test_networks_are_checked_on_images_of_the_dataset(dprune: Dprune, tmp_path: Path) -> None:
    for folder in ("train/a", "train/b", "test/a", "test/b"):
        write_image(tmp_path / "pets" / folder / "x.png", (9, 9, 9))
    (tmp_path / "custom.toml").write_text("[train]\nmodel = 'torchvision:squeezenet1_1'\n")
    before = sorted(tmp_path.rglob("*"))
    command = dprune("check", "custom.toml", "--data", "pets", "--image-size", 40)
    assert (command.code, command.err) == (0, "")
    assert "every network takes images of 40x40 with 3 channels, as pets has them" in command.out
    assert dprune("check", "custom.toml", "--data", "food101").code == 0, "it need not be there"
    command = dprune("check", "svhn")
    assert command.code == 0
    assert "networks were not tried: svhn is not under data" in command.out
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\nmodel = 'torchvision:alexnet'\n", "line 2: train.model: model 'torchvision:alexnet' does not take"),
        (
            "[kd]\n\nteacher_candidates = ['convnet', 'torchvision:alexnet']\n",
            "line 3: kd.teacher_candidates: model 'torchvision:alexnet' does not take images of 8x8 with 1 channel",
        ),
        ("[train]\nmodel = 'nets:wide'\n", "line 2: train.model: model 'nets:wide' gives [2, 11] for 2 images"),
        ("[train]\nmodel = 'nets:fails'\n", "line 2: train.model: model 'nets:fails' cannot be made: OSError: no"),
        ("[train]\nmodel = 'nets:odd'\n[sparsity]\nsparsity = 0.5\n", "line 3: Odd has no convolution and no linear layer"),
        ("[views]\nsize = 32\n", "line 2: views.size is 32, but the images are 8x8"),
    ],
)
def test_a_network_that_does_not_fit_the_dataset_is_named_with_its_line(
    expect_refusal: ExpectRefusal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, "nets", raising=False)
    (tmp_path / "nets.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def wide(channels, classes):\n    return nn.Sequential(nn.Flatten(), nn.Linear(64 * channels, classes + 1))\n"
        "def fails(channels, classes):\n    raise OSError('no')\n"
        "class Odd(nn.Module):\n"
        "    def __init__(self, classes):\n"
        "        super().__init__()\n        self.custom = nn.Parameter(torch.zeros(64, classes))\n"
        "    def forward(self, images):\n        return images.flatten(1) @ self.custom\n"
        "def odd(channels, classes):\n    return Odd(classes)\n"
    )
    (tmp_path / "custom.toml").write_text(text)
    assert message in expect_refusal("check", "custom.toml", "--data", "digits")


def test_a_missing_dataset_is_refused(expect_refusal: ExpectRefusal) -> None:
    assert "did you mean 'digits'" in expect_refusal("check", "digits", "--data", "digit")
    assert "folder ./pets is not there" in expect_refusal("check", "folder", "--data", "./pets").replace(
        "folder pets", "folder ./pets"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\n\nepoch = 3\n", "custom.toml, line 3: train.epoch: unknown key 'epoch': did you mean 'epochs'?"),
        ("[train]\nlr = 'high'\n", "custom.toml, line 2: train.lr is a number, got 'high'"),
        ("[trian]\n", "custom.toml, line 1: unknown table 'trian': did you mean 'train'?"),
        ("[train]\nmodel = 'resnet-18'\n", "custom.toml, line 2: train.model: unknown model 'resnet-18': did you"),
        ("[train]\nlr = 1\n[teacher]\nmodel = 'convnt'\n", "custom.toml, line 4: teacher.model: unknown model 'convnt'"),
        ("[kd]\nteacher_candidates = ['convnet', 'x']\n", "custom.toml, line 2: kd.teacher_candidates: unknown model 'x'"),
        ("[proxy]\nepochs = 3\n[evidence]\nearly_epoch = 4\n", "custom.toml, line 4: evidence.early_epoch is 4"),
        ("[train]\nepochs = 1\n", "custom.toml, line 2: evidence.early_epoch is 2, but the proxy trains 1 epochs"),
        ("[train]\ninfobatch = 0.5\n[self_distill]\nmethod = 'dlb'\n", "custom.toml, line 3: self-distillation (dlb)"),
        ("[train]\nlr = \n", "line 2"),
        ("[run]\nseed = 'x'\n", "custom.toml: in [run]: 'seed' is 'x'"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(
    expect_refusal: ExpectRefusal, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "custom.toml").write_text(text)
    assert message in expect_refusal("check", "custom.toml")


def test_a_missing_recipe_is_refused(expect_refusal: ExpectRefusal, tmp_path: Path) -> None:
    assert "did you mean 'digits'" in expect_refusal("check", "digit")
    assert "absent.toml is not there" in expect_refusal("check", "absent.toml")
    (tmp_path / "folder.toml").mkdir()
    assert "folder.toml" in expect_refusal("check", "folder.toml")
    assert "recipe" in expect_refusal("check")
