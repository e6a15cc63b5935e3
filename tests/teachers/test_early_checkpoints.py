"""Early checkpoints of a teacher: averages over an epoch, with the same bits after a kill, and teachers of their own."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import datapruning as dp
from datapruning.config.recipe import read_recipe
from datapruning.config.training import TeacherConfig
from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidFile, InvalidValue
from datapruning.io.tensors import load_tensors
from datapruning.report import write_report
from datapruning.report.run_records import RunRecord, read_config
from datapruning.report.teacher_predictions import TeacherPredictions, predict_samples
from datapruning.runs.context import Context
from datapruning.runs.result import StudentResult, TeacherResult
from datapruning.runs.run import FinishedRun, Run
from datapruning.teachers.load import load_early_teachers, load_teacher
from datapruning.teachers.paths import parse_teacher_path
from datapruning.teachers.prepare import load_teachers
from datapruning.training.callbacks import Callback
from datapruning.training.early_checkpoints import KeepCheckpoints
from datapruning.training.losses import CrossEntropy
from tests.conftest import CommandResult, fast_options
from tests.helpers.trainers import fit

MakeContext = Callable[..., Context]
KillAndResume = Callable[..., Any]
EIGHT_EPOCHS = ("teacher.epochs=8", "teacher.model=tinynet8", "teacher.batch_size=32")


class RecordWeights(Callback):
    """Copies the weights after every training step."""

    def __init__(self) -> None:
        self.weights: dict[int, list[dict[str, Tensor]]] = {}

    def on_step_end(self, epoch: int, model: nn.Module) -> None:
        """Copy the weights."""
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        self.weights.setdefault(epoch, []).append(weights)


@pytest.mark.parametrize("changes", [{}, {"ema": 0.5}, {"batch_size": 8, "grad_accum_steps": 2}])
def test_the_mean_of_the_weights_of_the_second_half_of_an_epoch_is_kept(
    make_context: MakeContext, small_dataset: Dataset, tmp_path: Path, changes: dict[str, Any]
) -> None:
    context = make_context(small_dataset)
    training = context.recipe.train.replace(**{"model": "tinynet8", "epochs": 4, "batch_size": 16, **changes})
    recorded = RecordWeights()
    ids = context.data.valid_ids
    keep = KeepCheckpoints((1, 3), 8, lambda epoch: tmp_path / f"{epoch}")
    networks = []
    for callbacks in ([], [recorded, keep]):
        networks.append(context.new_model("tinynet8", 0))
        fit(
            networks[-1], context.loader("train"), ids, context.views, training, CrossEntropy(), seed=0, num_steps=4 * 8,
            description="test", callbacks=callbacks,
        )  # fmt: skip
    plain, observed = (network.state_dict() for network in networks)
    assert all(torch.equal(value, observed[name]) for name, value in plain.items()), "training is the same"
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["1", "3"]
    for epoch in (1, 3):
        kept, steps = load_tensors(tmp_path / f"{epoch}")[0], recorded.weights[epoch - 1]
        assert len(steps) == 8
        for name, value in kept.items():
            values = torch.stack([weights[name] for weights in steps[4:]])
            if value.is_floating_point():
                torch.testing.assert_close(value, values.double().mean(0).float(), atol=1e-5, rtol=1e-4)
            else:
                assert torch.equal(value, values[-1]), "batch norm counts its batches"


@given(st.lists(st.floats(0.001, 0.999), max_size=5), st.integers(1, 400))
def test_whole_epochs_from_the_first_on_and_never_the_last(shares: list[float], num_epochs: int) -> None:
    epochs = TeacherConfig(keep_checkpoints=tuple(shares)).early_epochs(num_epochs)
    assert list(epochs) == sorted({*epochs})
    assert all(1 <= epoch < num_epochs for epoch in epochs)
    for target in (max(1.0, share * num_epochs) for share in shares):
        assert target >= num_epochs - 0.5 or any(abs(epoch - target) <= 0.5 for epoch in epochs), "the nearest one"


def test_three_are_kept_by_default() -> None:
    assert TeacherConfig().early_epochs(40) == (5, 10, 20)
    assert TeacherConfig().early_epochs(2) == (1,)
    assert TeacherConfig().early_epochs(1) == ()


@pytest.mark.parametrize("table", ["train", "proxy", "ensemble_member"])
def test_only_teachers_keep_them(tmp_path: Path, table: str) -> None:
    (tmp_path / "r.toml").write_text("[teacher]\nkeep_checkpoints = [0.5]\n")
    recipe, _ = read_recipe(tmp_path / "r.toml")
    assert recipe.teacher.keep_checkpoints == (0.5,)
    with pytest.raises(InvalidValue, match=rf"{table}\.keep_checkpoints: unknown key"):
        read_recipe(tmp_path / "r.toml", [f"{table}.keep_checkpoints=[0.5]"])


@pytest.mark.parametrize("value", ["[0]", "[1]", "[-0.5]", "[nan]", "[4, 8]", "0.5", "['a']"])
def test_what_is_no_fraction_is_refused(tmp_path: Path, value: str) -> None:
    (tmp_path / "r.toml").write_text("")
    with pytest.raises(InvalidValue, match=r"teacher\.keep_checkpoints (are fractions|is a)"):
        read_recipe(tmp_path / "r.toml", [f"teacher.keep_checkpoints={value}"])


def files_of(run: FinishedRun) -> dict[str, bytes]:
    """Return the weights of a run, early and last."""
    return {path.name: path.read_bytes() for path in sorted(run.folder.rglob("*.safetensors"))}


def test_a_killed_teacher_keeps_the_same_bits(
    make_context: MakeContext, small_dataset: Dataset, tmp_path: Path, kill_and_resume: KillAndResume
) -> None:
    """Killed within kept epochs (1, 2 and 4 of 8, of 4 steps each), between them and after them; saves at some steps."""
    context = make_context(small_dataset, *EIGHT_EPOCHS)
    uninterrupted = dp.teach(context, out=tmp_path / "uninterrupted")
    assert [*files_of(uninterrupted)] == [f"epoch-000{epoch}.safetensors" for epoch in (1, 2, 4)] + ["model.safetensors"]
    for number, (kill_steps, every) in enumerate([((2, 4, 1), 1), ((7, 9), 3), ((14, 4), 2)]):
        resumed = kill_and_resume(lambda n=number: dp.teach(context, out=tmp_path / f"{n}"), *kill_steps, every=every)
        assert files_of(resumed) == files_of(uninterrupted)
        assert resumed.result.early == uninterrupted.result.early
    without = dp.teach(replace(context, recipe=context.recipe.with_settings("teacher", keep_checkpoints=())))
    assert without.result.early == ()
    assert files_of(without) == {"model.safetensors": files_of(uninterrupted)["model.safetensors"]}


@pytest.fixture
def teacher(make_context: MakeContext, small_dataset: Dataset, tmp_path: Path) -> tuple[Context, Path]:
    """Make a teacher of eight epochs, and the context of its students."""
    context = make_context(small_dataset, *EIGHT_EPOCHS)
    return context, dp.teach(context, out=tmp_path / "t@8").folder


def test_early_checkpoints_are_teachers_of_their_own(teacher: tuple[Context, Path]) -> None:
    context, folder = teacher
    [finished] = load_teachers(context, [folder])
    early = load_early_teachers(finished, context.data, context.device, context.shape)
    assert [network.epoch for network in early] == [1, 2, 4]
    assert isinstance(finished.result, TeacherResult)
    assert [network.weights_hash for network in early] == [kept.weights for kept in finished.result.early]
    assert len({network.weights_hash for network in (finished, *early)}) == 4
    named = load_teachers(context, [Path(network.record.path) for network in (finished, *early)])
    assert [network.record for network in named] == [finished.record, *(network.record for network in early)]
    assert (early[2].record.epoch, early[2].record.name) == (4, "tinynet8 @ epoch 4")
    assert (early[2].record.test_accuracy, finished.record.epoch) == (None, None)
    assert load_early_teachers(early[0], context.data, context.device) == []


def test_a_student_of_an_early_checkpoint(teacher: tuple[Context, Path]) -> None:
    context, folder = teacher
    student = dp.train(context, fraction=0.5, kd_weight=0.9, teacher=f"{folder}@2")
    [record] = student.result.teacher
    assert (record.epoch, record.folder) == (2, str(folder))
    late = dp.train(context, fraction=0.5, kd_weight=0.9, teacher=folder)
    assert late.result.teacher[0].epoch is None
    assert len(list((folder / "soft-labels").iterdir())) == 2, "each has its own soft labels"
    assert files_of(student) != files_of(late)
    again = dp.rerun(student.folder, context.data, out=folder.parent / "again", loader="memory", device="cpu")
    assert files_of(again) == files_of(student)
    assert again.result.teacher == student.result.teacher


def test_an_epoch_that_was_not_kept_is_refused(teacher: tuple[Context, Path], tmp_path: Path) -> None:
    context, folder = teacher
    with pytest.raises(InvalidValue, match=r"kept no weights of epoch 3, only those of epochs 1, 2, 4$"):
        load_teachers(context, [Path(f"{folder}@3")])
    student = dp.train(context, fraction=0.5, kd_weight=0)
    for path in (student.folder, dp.teach(context.with_settings("teacher", keep_checkpoints=())).folder):
        with pytest.raises(InvalidValue, match=r"kept no weights of epoch 1, none but those of its last epoch"):
            load_teachers(context, [Path(f"{path}@1")])
    with pytest.raises(InvalidFile, match=r"gone@2 is not there|gone is not there"):
        load_teachers(context, [tmp_path / "gone@2"])


def test_a_folder_whose_name_looks_like_an_epoch(teacher: tuple[Context, Path], tmp_path: Path) -> None:
    context, folder = teacher
    assert folder.name == "t@8"
    assert [(t.folder, t.epoch) for t in load_teachers(context, [folder, Path(f"{folder}@4")])] == [
        (folder, None),
        (folder, 4),
    ]
    assert parse_teacher_path(tmp_path / "run@x") == (tmp_path / "run@x", None)


def test_checkpoints_that_are_gone_or_changed(teacher: tuple[Context, Path]) -> None:
    context, folder = teacher
    path, other = (Run(folder).early_checkpoint_path(epoch) for epoch in (2, 4))
    kept = path.read_bytes()
    path.write_bytes(other.read_bytes())
    with pytest.raises(InvalidFile, match=r"holds other weights than result\.json says"):
        load_teacher(folder, context.data, context.device, epoch=2)
    path.write_bytes(kept[:-1] + b"x")
    with pytest.raises(InvalidFile, match=re.escape(str(path))):
        load_teacher(folder, context.data, context.device, epoch=2)
    path.unlink()
    with pytest.raises(InvalidFile, match=rf"{re.escape(str(path))} is gone.* delete {re.escape(str(folder))} to train it"):
        load_early_teachers(load_teacher(folder, context.data, context.device), context.data, context.device)
    assert load_teacher(folder, context.data, context.device, epoch=4).epoch == 4


def test_the_command_line_takes_run_at_epoch(tmp_path: Path, dprune: Callable[..., CommandResult]) -> None:
    run, options = tmp_path / "teacher", [*fast_options(), "--data", "digits", "--workspace", str(tmp_path / "w")]
    assert dprune("teach", "--out", str(run), *options).code == 0
    kept = dprune("train", "--fraction", "0.1", "--kd-weight", "0.9", "--teacher", f"{run}@1", *options)
    assert kept.code == 0
    inspected = dprune("inspect", str(run))
    assert f"early checkpoints, intact: {run}@1\n" in inspected.out
    refused = dprune("train", "--fraction", "0.1", "--teacher", f"{run}@7", *options)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "epoch 7, only those of epochs 1" in refused.err


def candidates_of(run: FinishedRun[StudentResult]) -> list[tuple[str, int | None]]:
    """Return network and epoch of the teachers that one was chosen from."""
    return [(record.model, record.epoch) for record in run.result.teacher_candidates or ()]


def test_a_teacher_is_chosen_over_its_epochs(make_context: MakeContext, small_dataset: Dataset) -> None:
    context = make_context(small_dataset, *EIGHT_EPOCHS, "kd.teacher_candidates=[]")
    chosen = dp.train(context, fraction=0.5, teacher="auto")
    result, search = chosen.result, chosen.result.kd_weight_search
    assert candidates_of(chosen) == [("tinynet8", epoch) for epoch in (None, 1, 2, 4)]
    assert search is not None
    assert result.teacher_candidates is not None
    assert result.teacher == (result.teacher_candidates[search.teacher],)
    assert result.costs.teacher is not None
    assert result.costs.teacher.samples_seen == 8 * 120, "early checkpoints come with the training of their teacher"


def test_early_checkpoints_come_after_all_networks(make_context: MakeContext, small_dataset: Dataset) -> None:
    context = make_context(small_dataset, *EIGHT_EPOCHS[:1], "teacher.keep_checkpoints=[0.5, 0.25]")
    context = context.with_settings("kd", teacher_candidates=("tinynet8", "tinynet16"))
    chosen = dp.train(context, fraction=0.5, teacher="auto", kd_weight=0.9)
    networks: list[tuple[str, int | None]] = [("tinynet8", None), ("tinynet16", None)]
    assert candidates_of(chosen) == [*networks, ("tinynet8", 2), ("tinynet8", 4), ("tinynet16", 2), ("tinynet16", 4)]


def test_a_choice_among_named_teachers(teacher: tuple[Context, Path]) -> None:
    context, folder = teacher
    runs: list[tuple[list[str], list[int | None]]] = [
        (["auto", str(folder)], [None, 1, 2, 4]),
        (["auto", f"{folder}@4", str(folder)], [4, None, 1, 2]),
        (["auto", f"{folder}@1", f"{folder}@2"], [1, 2]),
    ]
    for names, epochs in runs:
        chosen = dp.train(context, fraction=0.5, teacher=names, kd_weight=0.9)
        assert [epoch for _, epoch in candidates_of(chosen)] == epochs
    with pytest.raises(InvalidValue, match="chooses among several"):
        dp.train(context, fraction=0.5, teacher=["auto", f"{folder}@4"])


def test_a_choice_needs_all_checkpoints_before_anything_is_made(teacher: tuple[Context, Path]) -> None:
    context, folder = teacher
    Run(folder).early_checkpoint_path(2).unlink()
    with pytest.raises(InvalidFile, match="is gone"):
        dp.train(context, fraction=0.5, teacher=["auto", str(folder)])
    assert not (context.workspace / "students").exists()


def test_the_report_names_the_epoch(teacher: tuple[Context, Path], tmp_path: Path) -> None:
    context, folder = teacher
    chosen = dp.train(context, fraction=0.5, teacher=["auto", f"{folder}@1", f"{folder}@2"], kd_weight=0.9)
    write_report([chosen.folder], tmp_path / "report.html")
    page, epoch = (tmp_path / "report.html").read_text(encoding="utf-8"), chosen.result.teacher[0].epoch
    assert f"teacher tinynet8 @ epoch {epoch}" in page
    record = RunRecord(chosen.folder, chosen.result, read_config(chosen.folder))
    predictions = predict_samples([record], context.data, np.arange(5))
    assert isinstance(predictions, TeacherPredictions)
    assert (predictions.path, predictions.accuracy) == (Path(f"{folder}@{epoch}"), None)
