"""Networks are tried on the images before anything is trained: those that a command uses, and no others."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import datapruning as dp
from datapruning.errors import InvalidValue
from tests.conftest import CommandResult, fast_options

MODULE = """
from torch import nn

def small(channels, classes):
    return nn.Sequential(nn.Conv2d(channels, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes))

def large(channels, classes):
    return nn.Sequential(nn.Conv2d(channels, 8, 5), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes))
"""
"""Of these, and of the recipe's `convnet`, the first alone takes images of 4x64."""
TRAIN = ("train", "--data", "flat.npz", "--fraction", "0.5", *fast_options())


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the current folder, where there is a dataset of images of 4x64."""
    name = f"user_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    arrays = {
        f"{role}_{what}": rng.integers(0, 256, (60, 4, 64)).astype(np.uint8) if what == "images" else np.arange(60) % 3
        for role in ("train", "test")
        for what in ("images", "labels")
    }
    np.savez(tmp_path / "flat.npz", **arrays)
    return name


def test_only_the_networks_that_a_command_uses_need_to_take_the_images(
    user_module: str, dprune: Callable[..., CommandResult]
) -> None:
    student = dprune(*TRAIN, "--model", f"{user_module}:small", "--kd-weight", "0", "--out", "s")
    assert student.code == 0, student.err
    teacher = dprune("teach", "--data", "flat.npz", "--model", f"{user_module}:small", *fast_options(), "--out", "t")
    assert teacher.code == 0, teacher.err
    scores = dprune("score", "--data", "flat.npz", "--scorer", "random", "--out", "random.npz", *fast_options())
    assert scores.code == 0, scores.err


REFUSED = {
    "the student": ((*TRAIN, "--kd-weight", "0", "--model", "M:large"), "train.model 'M:large'"),
    "the student of the recipe": ((*TRAIN, "--kd-weight", "0"), "train.model 'convnet'"),
    "the recipe's teacher": ((*TRAIN, "--model", "M:small"), "teacher.model 'convnet'"),
    "a candidate teacher": (
        (*TRAIN, "--model", "M:small", "--teacher", "auto", "--set", 'kd.teacher_candidates=["M:small", "M:large"]'),
        "kd.teacher_candidates: model 'M:large'",
    ),
    "proxies of a student's scores": (
        (*TRAIN, "--kd-weight", "0", "--model", "M:small", "--scorer", "el2n"), "proxy.model 'convnet'",
    ),
    "members of a student's scores": (
        (*TRAIN, "--kd-weight", "0", "--model", "M:small", "--scorer", "memorization"), "ensemble_member.model 'convnet'",
    ),
    "a teacher": (("teach", "--data", "flat.npz", "--model", "M:large"), "teacher.model 'M:large'"),
    "proxies": (("score", "--data", "flat.npz", "--scorer", "el2n", "--model", "M:large"), "proxy.model 'M:large'"),
    "members": (("score", "--data", "flat.npz", "--scorer", "memorization"), "ensemble_member.model 'convnet'"),
    "members of influence": (("influence", "--data", "flat.npz"), "ensemble_member.model 'convnet'"),
    "proxies of label issues": (("label-issues", "--data", "flat.npz"), "proxy.model 'convnet'"),
    "students of a sweep": (("sweep", "--data", "flat.npz", "--kd-weights", "0"), "train.model 'convnet'"),
    "the teacher of a sweep": (("sweep", "--data", "flat.npz", "--model", "M:small"), "teacher.model 'convnet'"),
    "proxies of a sweep": (
        ("sweep", "--data", "flat.npz", "--model", "M:small", "--kd-weights", "0", "--scorers", "el2n"),
        "proxy.model 'convnet'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_network_that_does_not_take_the_images_is_refused_with_its_setting(
    case: str, user_module: str, expect_refusal: Callable[..., str]
) -> None:
    command, named = REFUSED[case]
    line = expect_refusal(*(word.replace("M:", f"{user_module}:") for word in command))
    assert named.replace("M:", f"{user_module}:") in line
    assert "does not take images of 4x64 with 1 channel" in line


def test_out_of_fold_probabilities_refuse_a_network_in_python(user_module: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=r"ensemble_member.model 'convnet' does not take images of 4x64"):
        dp.pred_probs(str(tmp_path / "flat.npz"), workspace=tmp_path / "runs")
