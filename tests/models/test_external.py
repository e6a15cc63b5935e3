"""External networks: torchvision, timm, custom factories; unsuitable ones are refused before training."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

import datapruning as dp
from datapruning import models
from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidValue, MissingPackage, UnknownName
from datapruning.models import check_model, create_model, meta_model, parameter_count
from datapruning.models.external import adapt_to_grayscale
from datapruning.runs.context import Context
from tests.conftest import CommandResult, fast_options

MINE = '''
"""Factories of a user."""
import torch
from torch import nn

def net(channels, classes):
    return nn.Sequential(nn.Conv2d(channels, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes))

def large_only(channels, classes):
    return nn.Sequential(nn.Conv2d(channels, 8, 11), nn.Flatten(), nn.LazyLinear(classes))

def needs_big(channels, classes):
    return nn.Sequential(nn.Conv2d(channels, 8, 11), nn.Flatten(), nn.Linear(8, classes))

def ten(channels, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * 64, classes + 1))

def raises(channels, classes):
    raise KeyError("no such thing\\nsecond line")

def no_module(channels, classes):
    return 3

def none_to_train(channels, classes):
    return nn.Flatten()

class Two(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.head = nn.Linear(channels * 64, classes)

    def forward(self, images):
        logits = self.head(images.flatten(1))
        return (logits, logits) if self.training else logits
'''


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the current folder, different in each test."""
    name = f"mine_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return name


def test_a_custom_factory_is_found_in_the_current_folder_and_seeded(user_module: str) -> None:
    before, state = list(sys.path), torch.random.get_rng_state()
    first, repeated, other = (create_model(f"{user_module}:net", (8, 8, 3), 5, seed) for seed in (1, 1, 2))
    assert torch.equal(next(first.parameters()), next(repeated.parameters()))
    assert not torch.equal(next(first.parameters()), next(other.parameters()))
    assert first.training
    assert first(torch.zeros(2, 3, 8, 8)).shape == (2, 5)
    check_model(f"{user_module}:net", (8, 8, 3), 5)
    assert sys.path == before
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("net2", "unknown function in 'MINE' 'net2': did you mean 'net'"),
        ("raises", "'MINE:raises' cannot be made: KeyError: 'no such thing"),
        ("no_module", "'MINE:no_module': it returned int, not a torch.nn.Module"),
        ("none_to_train", "has no weights to train"),
        ("large_only", "has lazy layers"),
        ("needs_big", "does not take images of 8x8 with 3 channels: RuntimeError"),
        ("ten", r"gives \[2, 5\] for 2 images; \[2, 4\] is needed"),
        ("Two", "gives tuple; a tensor"),
    ],
)
def test_an_unsuitable_factory_is_refused_and_no_file_is_written(
    user_module: str, function: str, message: str, small_dataset: Dataset, expect_refusal: Callable[..., str], tmp_path: Path
) -> None:
    with pytest.raises((InvalidValue, UnknownName), match=message.replace("MINE", user_module)) as raised:
        check_model(f"{user_module}:{function}", small_dataset.train.shape, small_dataset.classes)
    assert "\n" not in str(raised.value)
    line = expect_refusal(
        "train", "--data", "digits", "--fraction", 0.5, "--model", f"{user_module}:{function}", *fast_options()
    )
    assert user_module in line


def test_missing_or_broken_modules_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidValue, match="importing 'no_such_module' failed: ModuleNotFoundError"):
        check_model("no_such_module:net")
    (tmp_path / "broken_module.py").write_text("1 / 0")
    with pytest.raises(InvalidValue, match="importing 'broken_module' failed: ZeroDivisionError"):
        check_model("broken_module:net")
    with pytest.raises(InvalidValue, match="Empty module name"):
        check_model(":")


def test_a_student_with_a_custom_network(
    user_module: str, make_context: Callable[..., Context], small_dataset: Dataset
) -> None:
    context = make_context(small_dataset).with_train(model=f"{user_module}:net")
    student = dp.train(context, fraction=0.5, kd_weight=0.5)
    assert student.result.model == f"{user_module}:net"
    assert ":" not in dp.teach(make_context(small_dataset, f"teacher.model={user_module}:net")).folder.name
    assert student.folder == dp.train(context, fraction=0.5, kd_weight=0.5).folder


def test_built_in_networks_refuse_images_that_are_too_small() -> None:
    with pytest.raises(InvalidValue, match="'convnet' does not take images of 4x4 with 1 channel:"):
        check_model("convnet", (4, 4, 1), 10)
    check_model("convnet", (8, 8, 1), 10)


SMALL_ONE = "squeezenet1_1"


def test_torchvision_s_networks_and_their_refusals() -> None:
    name = f"torchvision:{SMALL_ONE}"
    check_model(name, (32, 32, 3), 7)
    with pytest.raises(InvalidValue, match=r"torchvision has no classifier 'resnet19': did you mean resnet18 or"):
        check_model("torchvision:resnet19")
    with pytest.raises(InvalidValue, match="these have 4"):
        check_model(name, (32, 32, 4), 7)
    with pytest.raises(InvalidValue, match="Input shape indivisible by patch size"):
        check_model("torchvision:vit_b_16", (30, 30, 3), 7)


@pytest.mark.parametrize(
    "name", ["squeezenet1_1", "mobilenet_v3_small", "shufflenet_v2_x0_5", "regnet_y_400mf", "vit_b_16", "alexnet"]
)
@pytest.mark.parametrize("side", [16, 64])
def test_a_check_on_shapes_agrees_with_a_check_on_numbers(name: str, side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts = []
    for outlined in (models.META_DEVICE_OK, ()):
        monkeypatch.setattr(models, "META_DEVICE_OK", outlined)
        models._try_model.cache_clear()
        try:
            check_model(f"torchvision:{name}", (side, side, 3), 7)
        except InvalidValue as error:
            verdicts.append(str(error))
        else:
            verdicts.append("it fits")
    assert verdicts[0] == verdicts[1]


def test_an_outline_has_the_shapes_of_the_network_and_no_numbers(user_module: str) -> None:
    for name in (f"torchvision:{SMALL_ONE}", "resnet20", f"{user_module}:net"):
        outline, network = meta_model(name, (32, 32, 3), 7), create_model(name, (32, 32, 3), 7, 0)
        assert parameter_count(outline) == parameter_count(network)
        assert [(n, p.shape) for n, p in outline.named_parameters()] == [(n, p.shape) for n, p in network.named_parameters()]
        assert all(p.is_meta for p in outline.parameters()) == (not name.startswith(user_module))


def test_a_network_without_meta_device_support_is_built() -> None:
    outline = meta_model("torchvision:regnet_y_400mf", (32, 32, 3), 7)  # its widths are worked out with tensors
    assert not any(p.is_meta for p in outline.parameters())


def test_a_large_network_is_checked_once_on_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    tried, really = [], models._try_on_cpu

    def watched(name: str, shape: tuple[int, int, int], classes: int) -> None:
        tried.append((name, torch.zeros(1).is_meta))
        really(name, shape, classes)

    monkeypatch.setattr(models, "_try_on_cpu", watched)
    models._try_model.cache_clear()
    for _ in range(2):
        check_model("torchvision:vit_b_16", (32, 32, 3), 7)
    assert tried == [("torchvision:vit_b_16", True)]


def test_grey_images_equal_rgb_images_of_equal_channels() -> None:
    name = f"torchvision:{SMALL_ONE}"
    grey, colour = (create_model(name, (32, 32, channels), 7, seed=0).eval() for channels in (1, 3))
    grey_images = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(grey(grey_images), colour(grey_images.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)
    with pytest.raises(InvalidValue, match="images of 3 channels"):
        adapt_to_grayscale(nn.Linear(3, 2), 1)


def test_timm_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingPackage, match="pip install timm"):
        check_model("timm:convnext_tiny")


def test_timm_s_networks_get_channels_and_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stub with the two functions of timm that are used."""
    timm = ModuleType("timm")

    def make(name: str, *, pretrained: bool, num_classes: int, in_chans: int) -> nn.Module:
        assert (name, pretrained) == ("nano", False)
        return nn.Sequential(nn.Flatten(), nn.Linear(64 * in_chans, num_classes))

    monkeypatch.setattr(timm, "create_model", make, raising=False)
    monkeypatch.setattr(timm, "list_models", lambda: ["nano"], raising=False)
    monkeypatch.setitem(sys.modules, "timm", timm)
    assert create_model("timm:nano", (8, 8, 1), 6, 0)(torch.zeros(2, 1, 8, 8)).shape == (2, 6)
    with pytest.raises(InvalidValue, match="timm has no classifier 'nan': did you mean nano"):
        check_model("timm:nan")


def test_every_network_that_is_used_is_looked_for_before_anything_is_trained(expect_refusal: Callable[..., str]) -> None:
    scorers = {"train": "random", "teacher": "random", "proxy": "el2n", "ensemble_member": "memorization"}
    for table, scorer in scorers.items():
        model = f"{table}.model=torchvision:resnet"
        line = expect_refusal("train", "--fraction", 0.5, "--scorer", scorer, "--set", model, *fast_options())
        assert "torchvision has no classifier 'resnet'" in line


def test_a_misspelt_network_of_ours_is_refused_wherever_it_stands(expect_refusal: Callable[..., str]) -> None:
    for table in ("train", "teacher", "proxy", "ensemble_member"):
        assert "unknown model 'convnext'" in expect_refusal("teach", "--set", f"{table}.model=convnext", *fast_options())


def test_missing_timm_is_one_line(dprune: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    command = dprune("teach", "--model", "timm:resnet18", *fast_options())
    assert command.code == 2
    assert "needs timm" in command.err
    assert len(command.err.strip().splitlines()) == 1
