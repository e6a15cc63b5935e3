"""Networks that start from weights: what is taken, what is refused, and that nothing is reused for other weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import datapruning as dp
from datapruning.data.dataset import Dataset
from datapruning.errors import IncompatibleInputs, InvalidFile, InvalidValue
from datapruning.io.tensors import load_tensors, save_tensors
from datapruning.models import create_model
from datapruning.runs.context import Context
from datapruning.runs.result import StudentResult
from datapruning.runs.run import FinishedRun
from tests.conftest import CommandResult, fast_options

MakeContext = Callable[..., Context]
STILL = ("train.lr=0", "teacher.lr=0", "proxy.lr=0")
"""Trainings that change no weight that is trained."""
MODELS = ("train.model=tinynet8", "teacher.model=tinynet8", "proxy.model=tinynet8", "ensemble_member.model=tinynet8")


def weights_of(model: str = "tinynet8", classes: int = 4, seed: int = 5) -> dict[str, Tensor]:
    """Return the weights of a network of 8x8 colour images."""
    return dict(create_model(model, (8, 8, 3), classes, seed).state_dict())


def head_of(weights: dict[str, Tensor]) -> list[str]:
    """Return the names of the weights of the last layer."""
    last = list(weights)[-1].rpartition(".")[0]
    return [name for name in weights if name.rpartition(".")[0] == last]


@pytest.fixture
def context(make_context: MakeContext, small_dataset: Dataset) -> Context:
    """Make a context whose trainings leave their networks as they were."""
    return make_context(small_dataset, *STILL, *MODELS)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write weights of the network."""
    save_tensors(tmp_path / "w.safetensors", weights_of())
    return tmp_path / "w.safetensors"


def student(context: Context, init: Path | str | None, **options: object) -> FinishedRun[StudentResult]:
    """Train a student on labels alone."""
    return dp.train(context, fraction=0.5, kd_weight=0, init=init, **options)  # type: ignore[arg-type]


def trained(folder: Path) -> dict[str, Tensor]:
    """Return the weights of a run without the statistics of batch norms, which forward passes change."""
    weights, _ = load_tensors(folder / "model.safetensors")
    return {name: value for name, value in weights.items() if "running" not in name and "num_batches" not in name}


def test_student_teacher_and_proxy_start_from_the_file(context: Context, file: Path) -> None:
    expected = weights_of()
    for run in (student(context, file), dp.teach(context, init=file)):
        assert all(torch.equal(value, expected[name]) for name, value in trained(run.folder).items())
        assert run.result.init is not None
        assert run.result.init.left_out == ()
    scores = dp.score(context, "grand", init=file)
    (early,) = context.workspace.glob("evidence/*/run-000/early.safetensors")
    assert torch.equal(load_tensors(early)[0]["0.weight"], expected["0.weight"])
    assert scores.meta.init is not None
    assert scores.meta.init.weights == run.result.init.weights


def test_other_weights_are_another_run_teacher_and_recording(context: Context, tmp_path: Path, file: Path) -> None:
    save_tensors(tmp_path / "other.safetensors", weights_of(seed=6))
    torch.save(weights_of(), tmp_path / "same.pth")
    files = (None, file, tmp_path / "other.safetensors", tmp_path / "same.pth")
    students = [student(context, path).folder for path in files]
    teachers = [dp.teach(context, init=path).folder for path in files]
    scores = [dp.score_all(context, "aum", init=path)["aum"] for path in files]
    for folders in (students, teachers, scores):
        assert len(set(folders)) == 3
        assert folders[3] == folders[1], "the content counts, not the name"
    assert len(list((context.workspace / "evidence").iterdir())) == 3
    with pytest.raises(dp.UserError, match="holds another run"):
        student(context, tmp_path / "other.safetensors", out=students[1])


def test_a_head_for_another_number_of_classes_begins_at_random(
    context: Context, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = weights_of(classes=7)
    save_tensors(tmp_path / "seven.safetensors", weights)
    run, random = student(context, tmp_path / "seven.safetensors"), student(context, None)
    head = head_of(weights)
    line = f"from {tmp_path / 'seven.safetensors'}, not {' and '.join(head)}, which begin at random (7 classes there, 4 "
    assert line in capsys.readouterr().err
    assert run.result.init is not None
    assert run.result.init.left_out == tuple(head)
    for name, value in trained(run.folder).items():
        assert torch.equal(value, trained(random.folder)[name] if name in head else weights[name]), name
    save_tensors(tmp_path / "none.safetensors", {name: value for name, value in weights.items() if name not in head})
    assert student(context, tmp_path / "none.safetensors").folder == run.folder


def test_the_head_follows_the_names_of_the_classes(context: Context, tmp_path: Path) -> None:
    weights, names = weights_of(), list(context.data.class_names)
    save_tensors(tmp_path / "w.safetensors", weights)
    (tmp_path / "w.json").write_text(json.dumps(names[::-1]))
    reordered = trained(student(context, tmp_path / "w.safetensors").folder)
    head = head_of(weights)
    assert all(torch.equal(reordered[name], weights[name].flip(0)) for name in head)
    (tmp_path / "w.json").write_text(json.dumps(["a", "b", "c", "d"]))
    other = student(context, tmp_path / "w.safetensors")
    assert other.result.init is not None
    assert other.result.init.left_out == tuple(head)


def test_weights_of_a_run_are_taken_and_those_of_another_network_refused(context: Context, tmp_path: Path) -> None:
    teacher = dp.teach(context)
    assert torch.equal(trained(student(context, teacher.folder).folder)["0.weight"], trained(teacher.folder)["0.weight"])
    with pytest.raises(IncompatibleInputs, match="has the weights of tinynet8, the network is convnet"):
        student(context, teacher.folder, model="convnet")
    save_tensors(tmp_path / "convnet.safetensors", weights_of("convnet"))
    with pytest.raises(InvalidFile, match=r"weights of another network than tinynet8: weight '0\.weight' is \[.*\] there"):
        student(context, tmp_path / "convnet.safetensors")
    with pytest.raises(InvalidFile, match=r"w\.npy is neither a run folder nor a file of weights"):
        np.save(tmp_path / "w.npy", np.zeros(3))
        student(context, tmp_path / "w.npy")
    with pytest.raises(InvalidValue, match="memorization: an ensemble compares networks"):
        dp.score(context, "memorization", init=teacher.folder)


def test_masks_are_made_from_the_weights_of_the_file(context: Context, file: Path) -> None:
    expected = weights_of()
    run = student(context, file, sparsity=0.5, criterion="magnitude")
    pruned = trained(run.folder)
    kept = pruned["0.weight"] != 0
    assert 0 < int(kept.sum()) < kept.numel()
    assert torch.equal(pruned["0.weight"][kept], expected["0.weight"][kept])
    smallest_kept = min(float(value[value != 0].abs().min()) for name, value in pruned.items() if value.ndim > 1)
    for name, value in pruned.items():
        if value.ndim > 1:
            removed = expected[name][value == 0].abs()
            assert not removed.numel() or float(removed.max()) <= smallest_kept, name


def test_a_whitening_layer_of_the_file_stays(context: Context, tmp_path: Path) -> None:
    weights = weights_of("fastnet16")
    save_tensors(tmp_path / "w.safetensors", weights)
    run = student(context, tmp_path / "w.safetensors", model="fastnet16")
    fixed = [name for name, value in trained(run.folder).items() if torch.equal(value, weights[name])]
    assert len(fixed) == len(trained(run.folder))


def test_a_killed_run_with_initial_weights_has_the_bits_of_one_that_was_not(
    make_context: MakeContext, small_dataset: Dataset, file: Path, tmp_path: Path, kill_and_resume: Callable[..., object]
) -> None:
    context = make_context(small_dataset, *MODELS)
    whole = student(context, file, out=tmp_path / "whole")
    kill_and_resume(lambda: student(context, file, out=tmp_path / "killed"), 1)
    weights = trained(whole.folder)
    assert all(torch.equal(value, weights[name]) for name, value in trained(tmp_path / "killed").items())
    assert not torch.equal(weights["0.weight"], weights_of()["0.weight"])
    again = dp.rerun(whole.folder, small_dataset, workspace=context.workspace, loader="memory", out=tmp_path / "again")
    np.testing.assert_array_equal(trained(again.folder)["0.weight"], weights["0.weight"])


def test_the_commands_take_weights_and_refuse_in_one_line(
    dprune: Callable[..., CommandResult], expect_refusal: Callable[..., str]
) -> None:
    options = [*fast_options(), "--set", "teacher.model=tinynet8", "--set", "train.model=tinynet8"]
    line = expect_refusal("train", "--fraction", 0.5, "--kd-weight", 0, "--init", "absent.pth", *options)
    assert "absent.pth is not there" in line
    assert dprune("teach", "--out", "teacher", *options).code == 0
    command = dprune("train", "--fraction", 0.5, "--kd-weight", 0, "--init", "teacher", "--out", "student", *options)
    assert command.code == 0, command
    assert "initial weights: " in command.err
    again = dprune("train", "--recipe", "student/config.toml", "--out", "again", "--loader", "memory")
    assert again.code == 0, again
    assert Path("student/model.safetensors").read_bytes() == Path("again/model.safetensors").read_bytes()
