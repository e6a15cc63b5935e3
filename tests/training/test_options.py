"""Optimisers, EMA, clipping, accumulation, compilation and time limits of the trainer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import datapruning as dp
from datapruning.config.recipe import Recipe, read_recipe
from datapruning.config.toml import to_toml
from datapruning.config.training import TeacherConfig, TrainConfig
from datapruning.data.dataset import Dataset
from datapruning.data.loaders.loader import Batch, MixedLabels
from datapruning.errors import InvalidValue, TimeLimitReached, UserError
from datapruning.io.tensors import load_tensors
from datapruning.models import create_model
from datapruning.models.convnet import GlobalMean
from datapruning.models.flops import layer_flops
from datapruning.runs.context import Context
from datapruning.training.callbacks import Callback, StopAtTimeLimit
from datapruning.training.checkpoint import Checkpoint
from datapruning.training.ema import WeightEMA
from datapruning.training.losses import CrossEntropy
from datapruning.training.optimizers import make_optimizer
from datapruning.training.schedules import learning_rate, planned_epochs, planned_samples, planned_steps
from datapruning.training.sparsity.masks import Masks
from datapruning.training.sparsity.prunable import prunable
from datapruning.training.state import TrainState
from datapruning.training.step import micro_batches
from datapruning.utils.time_limit import TimeLimit
from tests.conftest import CommandResult, fast_options
from tests.helpers.trainers import fit

MakeContext = Callable[..., Context]
SHORT = TrainConfig(model="tinynet8", epochs=3, batch_size=16, lr=0.05)
ADAM = SHORT.replace(optimizer="adamw", lr=0.003)
OPTIONS = {
    "adamw": ADAM,
    "adamw, ema": ADAM.replace(ema=0.9),
    "ema": SHORT.replace(ema=0.9),
    "clip_grad_norm": SHORT.replace(clip_grad_norm=0.5),
    "grad_accum_steps": SHORT.replace(batch_size=8, grad_accum_steps=2),
    "undecayed": SHORT.replace(decay_norms_biases=False, weight_decay=0.1),
    "step": SHORT.replace(schedule="step", milestones=(0.3, 0.6)),
    "muon": SHORT.replace(optimizer="muon", bias_lr_factor=4.0),
    "muon, lookahead": SHORT.replace(optimizer="muon", lookahead=0.5),
    "adamw, lookahead, bias_lr_factor": ADAM.replace(lookahead=0.5, bias_lr_factor=2.0),
    "progressive_size": SHORT.replace(progressive_size=10),
    "infobatch, ema, grad_accum_steps": SHORT.replace(batch_size=8, grad_accum_steps=2, ema=0.9, infobatch=0.5),
}
each_option = pytest.mark.parametrize("training", OPTIONS.values(), ids=OPTIONS.keys())


def train(
    context: Context, training: TrainConfig, model: nn.Module | None = None, **options: Any
) -> tuple[nn.Module, TrainState]:
    """Train on all samples, a new network unless one is given."""
    model = model if model is not None else context.new_model(training.model, 0)
    ids = np.arange(context.data.total)
    steps = planned_steps(training, len(ids), len(ids))
    settings: dict[str, Any] = {"seed": 0, "num_steps": steps, "description": "test", **options}
    return model, fit(model, context.loader("train"), ids, context.views, training, CrossEntropy(), **settings)


def same(a: nn.Module, b: nn.Module) -> bool:
    """Whether the weights are equal bit for bit."""
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@each_option
def test_a_killed_run_resumes_with_the_same_bits(
    make_context: MakeContext,
    small_dataset: Dataset,
    tmp_path: Path,
    training: TrainConfig,
    kill_and_resume: Callable[..., Any],
) -> None:
    context = make_context(small_dataset)
    uninterrupted, train_state = train(context, training)
    plain_run, _ = train(context, SHORT)
    assert not same(uninterrupted, plain_run), "the option does something"
    state = Checkpoint(tmp_path / "state.safetensors")
    resumed, repeated = kill_and_resume(lambda: train(context, training, checkpoint=state), 3, 10)
    assert same(uninterrupted, resumed)
    assert [row.loss for row in repeated.history] == [row.loss for row in train_state.history]
    checkpoint = Checkpoint(tmp_path / "left.safetensors")
    train(context, training, stop_epoch=1, save_final_to=checkpoint)
    assert same(uninterrupted, train(context, training, init_from=checkpoint)[0]), (
        "a branch resumes from the weights, not from their average"
    )


def test_a_checkpoint_holds_the_state_of_adamw(make_context: MakeContext, small_dataset: Dataset, tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "left.safetensors")
    model, train_state = train(make_context(small_dataset), ADAM.replace(ema=0.9), save_final_to=checkpoint)
    tensors, _ = load_tensors(checkpoint.path)
    names = {name for name, _ in model.named_parameters()}
    for key in ("exp_avg", "exp_avg_sq", "step"):
        assert {name.removeprefix(f"optimizer.{key}.") for name in tensors if name.startswith(f"optimizer.{key}.")} == names
    assert {float(value) for name, value in tensors.items() if name.startswith("optimizer.step.")} == {train_state.updates}
    assert {name.removeprefix("extra.ema.") for name in tensors if name.startswith("extra.ema.")} == set(model.state_dict())
    assert int(tensors["extra.ema-updates"]) == train_state.updates


@each_option
def test_masks_stay_exact_with_every_option(
    make_context: MakeContext, small_dataset: Dataset, training: TrainConfig
) -> None:
    context = make_context(small_dataset)
    model = context.new_model(training.model, 0)
    rng = np.random.default_rng(0)
    bits = {name: rng.random(tuple(weight.shape)) < 0.3 for name, weight in prunable(model).items()}
    trained, _ = train(context, training, model, masks=Masks(bits))
    for name, weight in prunable(trained).items():
        assert not weight.detach().numpy()[~bits[name]].any()
        assert weight.detach().numpy()[bits[name]].all()


# The average


def test_the_average_is_that_of_a_plain_loop_in_float64() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    average = WeightEMA(model, 0.95)
    expected = {name: value.double().numpy().copy() for name, value in model.state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    for n in range(100):
        with torch.no_grad():
            for value in model.state_dict().values():
                if value.is_floating_point():
                    value.add_(torch.randn(value.shape, generator=generator), alpha=0.1)
                else:
                    value.add_(1)
        average.update()
        d = min(0.95, (1 + n) / (10 + n))
        for name, value in model.state_dict().items():
            complete = not value.is_floating_point()
            expected[name] = value.numpy().copy() if complete else d * expected[name] + (1 - d) * value.double().numpy()
    own_values = copy.deepcopy(model.state_dict())
    with average.swapped_in():
        for name, value in model.state_dict().items():
            np.testing.assert_allclose(value.numpy(), expected[name], rtol=1e-5, atol=1e-6)
    assert all(torch.equal(own_values[name], value) for name, value in model.state_dict().items())
    average.copy_to_model()
    assert not torch.equal(own_values["0.weight"], model.state_dict()["0.weight"])


def test_tensors_with_two_names_round_trip() -> None:
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    average = WeightEMA(model, 0.5)
    with torch.no_grad():
        model[0].weight.add_(1)
    average.update()
    before = model[0].weight.detach().clone()
    with average.swapped_in():
        assert not torch.equal(model[0].weight, before)
    assert torch.equal(model[0].weight, before)


def test_callbacks_get_the_averaged_weights(make_context: MakeContext, small_dataset: Dataset) -> None:
    averages: list[Tensor] = []

    class Look(Callback):
        def on_epoch_end(self, epoch: int, model: nn.Module) -> None:
            averages.append(next(model.parameters()).detach().clone())

    averaged, train_state = train(make_context(small_dataset), SHORT.replace(ema=0.9), callbacks=[Look()])
    last, plain_done = train(make_context(small_dataset), SHORT)
    assert torch.equal(averages[-1], next(averaged.parameters()))
    assert not same(averaged, last)
    assert [row.loss for row in train_state.history] == [row.loss for row in plain_done.history], "training is the same"


# Updates


def norm_free(channels: int, classes: int) -> nn.Module:
    """Make a network without interaction between samples of a batch."""
    return nn.Sequential(nn.Conv2d(channels, 8, 3), nn.Tanh(), GlobalMean(), nn.Linear(8, classes))


def without_norms() -> nn.Module:
    """Make that network for the small dataset."""
    return create_model(f"{__name__}:norm_free", (8, 8, 3), 4, seed=0)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_two_accumulated_batches_equal_one_of_twice_the_size(
    make_context: MakeContext, small_dataset: Dataset, optimizer: str
) -> None:
    context = make_context(small_dataset)
    training = SHORT.replace(optimizer=optimizer, lr=0.01)
    parts, of_parts = train(context, training.replace(batch_size=8, grad_accum_steps=2), without_norms())
    full_batch, full_batch_state = train(context, training, without_norms())
    assert (
        (of_parts.step, of_parts.samples_seen) == (full_batch_state.step, full_batch_state.samples_seen) == (3 * 8, 3 * 120)
    )
    for a, b in zip(parts.parameters(), full_batch.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_images_grow_after_the_first_half(make_context: Callable[..., Context], small_dataset: Dataset) -> None:
    sides: list[tuple[int, ...]] = []

    class SizeRecorder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = without_norms()

        def forward(self, images: Tensor) -> Tensor:
            sides.append(tuple(images.shape[2:]))
            return torch.as_tensor(self.network(images))

    training = SHORT.replace(epochs=4, progressive_size=6, progressive_until=0.5)
    _, state = train(make_context(small_dataset), training, SizeRecorder())
    full = (8, 8)
    assert sides == [(6, 6)] * (state.step // 2) + [full] * (state.step // 2)
    seen = 2 * small_dataset.total
    small, large = (layer_flops(without_norms(), (*side, 3))[""] for side in ((6, 6), full))
    assert state.flops == 3 * seen * (small + large), "small images count as what they cost"


def test_accumulation_is_planned_in_training_steps() -> None:
    training = SHORT.replace(batch_size=8, grad_accum_steps=3)
    assert training.effective_batch_size == 24
    assert planned_steps(training, 100, 100) == 3 * 5
    assert planned_epochs(training.replace(budget="steps"), 50, 100) == 5
    assert planned_samples(training, 100, 100) == 300


def test_parts_of_a_batch_are_the_batch() -> None:
    n = 25  # the last two share: no batch of a single sample
    labels, mixed = torch.arange(n), MixedLabels(torch.arange(n) + 1, torch.linspace(0, 1, n))
    batch = Batch(torch.arange(n).view(n, 1, 1, 1).to(torch.uint8), labels, np.arange(n), mixed)
    parts = list(micro_batches(batch, torch.randn(n, 1, 1, 1), SHORT.replace(batch_size=8, grad_accum_steps=4)))
    assert [len(part.ids) for part, _, _ in parts] == [8, 8, 5, 4]
    assert sum(share for _, _, share in parts) == pytest.approx(1)
    assert torch.equal(torch.cat([part.labels for part, _, _ in parts]), labels)
    assert torch.equal(torch.cat([part.mixed.lam for part, _, _ in parts if part.mixed]), mixed.lam)
    assert np.array_equal(np.concatenate([part.ids for part, _, _ in parts]), batch.ids)
    micro_batches_list = list(micro_batches(batch, batch.images, SHORT))
    assert len(micro_batches_list) == 1
    assert micro_batches_list[0][0] is batch
    assert micro_batches_list[0][2] == 1


def test_the_gradient_norm_does_not_exceed_the_clip(make_context: MakeContext, small_dataset: Dataset) -> None:
    context = make_context(small_dataset)
    one_step = SHORT.replace(epochs=1, batch_size=120, lr=2.0, momentum=0.0, weight_decay=0.0, warmup=0.0)

    def length(training: TrainConfig) -> float:
        before, after = without_norms(), train(context, training, without_norms())[0]
        changes = [(a - b).flatten() for a, b in zip(after.parameters(), before.parameters(), strict=True)]
        return float(torch.cat(changes).detach().norm())

    free = length(one_step)  # a single update, in the middle of its schedule: at rate 1
    assert length(one_step.replace(clip_grad_norm=free / 4)) == pytest.approx(free / 4, rel=1e-3)
    assert length(one_step.replace(clip_grad_norm=2 * free)) == free


def test_norms_and_biases_can_be_excluded_from_weight_decay() -> None:
    model = create_model("tinynet8", (8, 8, 3), 4, 0)
    matrices, flat = make_optimizer(model, SHORT.replace(decay_norms_biases=False)).param_groups
    assert (matrices["weight_decay"], flat["weight_decay"]) == (5e-4, 0)
    assert all(p.ndim > 1 for p in matrices["params"])
    assert all(p.ndim == 1 for p in flat["params"])
    assert len(matrices["params"]) + len(flat["params"]) == len(list(model.parameters()))
    assert len(make_optimizer(model, SHORT).param_groups) == 1


def test_both_groups_follow_the_schedule(make_context: MakeContext, small_dataset: Dataset) -> None:
    constant, _ = train(make_context(small_dataset), SHORT.replace(decay_norms_biases=False), lr_schedule=lambda step: 0.0)
    fresh = make_context(small_dataset).new_model(SHORT.model, 0)
    assert all(torch.equal(a, b) for a, b in zip(constant.parameters(), fresh.parameters(), strict=True))


def test_the_compiled_network_shares_its_weights(
    make_context: MakeContext, small_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stub replaces the compiler, which takes minutes on a busy machine, and counts the calls."""
    batches: list[int] = []

    def stand_in(model: nn.Module, *, dynamic: bool) -> Callable[[Tensor], Tensor]:
        assert dynamic is False

        def call(images: Tensor) -> Tensor:
            batches.append(len(images))
            logits: Tensor = model(images)
            return logits

        return call

    monkeypatch.setattr(torch, "compile", stand_in)
    compiled, train_state = train(make_context(small_dataset), SHORT.replace(compile=True))
    assert sum(batches) == train_state.samples_seen
    assert same(compiled, train(make_context(small_dataset), SHORT)[0])
    assert sum(batches) == train_state.samples_seen, "only on request"


# Schedules


def test_the_step_schedule_falls_at_its_milestones() -> None:
    training = SHORT.replace(schedule="step", milestones=(0.5, 0.75), warmup=0.0, lr=1.0)
    rates = [learning_rate(training, step, 20) for step in range(20)]
    assert rates == pytest.approx([1.0] * 10 + [0.1] * 5 + [0.01] * 5)
    training = SHORT.replace(schedule="step", milestones=(0.5,), gamma=0.5, warmup=0.2, lr=1.0)
    warm = [learning_rate(training, step, 10) for step in range(10)]
    assert warm == pytest.approx([0.25, 0.75, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5])


# Settings


def test_a_written_teacher_is_independent_of_the_student_s_settings(tmp_path: Path) -> None:
    student = TrainConfig(
        optimizer="adamw", schedule="step", milestones=(0.5,), ema=0.9, clip_grad_norm=1.0, grad_accum_steps=2
    )
    recipe = Recipe(name="r", train=student, teacher=TeacherConfig(ema=0.5, keep_checkpoints=(0.3,)))
    (tmp_path / "r.toml").write_text(to_toml({**recipe.to_dict(), "run": {"seed": 1}}))
    assert read_recipe(tmp_path / "r.toml")[0].to_dict() == recipe.to_dict()


def test_teacher_and_proxies_inherit_options(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('[train]\noptimizer = "adamw"\nema = 0.9\n[teacher]\nema = 0.0\n')
    parsed, _ = read_recipe(tmp_path / "r.toml")
    assert (parsed.teacher.optimizer, parsed.teacher.ema, parsed.proxy.ema) == ("adamw", 0.0, 0.9)


BAD = {
    "train.optimizer=adam": "did you mean 'adamw'",
    "train.schedule=step": "needs milestones",
    "train.schedule=steps": "did you mean 'step'",
    "train.milestones=[0.7, 0.5]": "milestones are fractions of the run, rising",
    "train.milestones=[30, 60]": "between 0 and 1",
    "train.milestones=0.5": "train.milestones is a list",
    "train.gamma=2": "gamma lies in 0..1",
    "train.ema=1": "0 (none) <= ema < 1",
    "train.ema=-0.1": "ema < 1",
    "train.ema=nan": "ema < 1",
    "train.clip_grad_norm=-1": "clip_grad_norm lies in",
    "train.grad_accum_steps=0": "grad_accum_steps lies in 1..",
    "train.grad_accum_steps=1.5": "train.grad_accum_steps is a whole number",
    "train.compile=yes": "train.compile is true or false",
    "train.decay_norms_biases=0": "true or false",
    "train.optimizer=moun": "did you mean 'muon'",
    "train.lookahead=2": "lookahead lies in 0..1",
    "train.bias_lr_factor=-1": "bias_lr_factor lies in",
    "train.emma=0.9": "did you mean 'ema'",
}


@pytest.mark.parametrize(("change", "message"), BAD.items())
def test_an_invalid_option_is_refused_with_a_suggestion(tmp_path: Path, change: str, message: str) -> None:
    (tmp_path / "r.toml").write_text("")
    with pytest.raises(UserError) as raised:
        read_recipe(tmp_path / "r.toml", [change])
    assert message in str(raised.value)


def test_incompatible_options_are_refused(tmp_path: Path, make_context: MakeContext, small_dataset: Dataset) -> None:
    with pytest.raises(InvalidValue, match="compile and infobatch"):
        TrainConfig(compile=True, infobatch=0.5)
    with pytest.raises(InvalidValue, match="first beta"):
        TrainConfig(optimizer="adamw", momentum=1.0)
    context = make_context(small_dataset, "self_distill.method=cs-kd", "train.grad_accum_steps=2")
    with pytest.raises(InvalidValue, match="grad_accum_steps 2 do not go together"):
        dp.train(context, fraction=1, kd_weight=0, out=tmp_path / "student")
    assert not (tmp_path / "student").exists()


# The time limit


def test_a_time_limit_stops_at_an_epoch_end_and_the_next_call_resumes(
    make_context: MakeContext, small_dataset: Dataset, tmp_path: Path
) -> None:
    context = make_context(small_dataset)
    uninterrupted, train_state = train(context, SHORT)
    path = tmp_path / "state.safetensors"
    for epoch in (1, 2):
        with pytest.raises(TimeLimitReached, match=f"stopped after epoch {epoch} of 3; the same command resumes"):
            train(context, SHORT, checkpoint=Checkpoint(path), callbacks=[StopAtTimeLimit(TimeLimit(1e-9))])
    resumed, repeated = train(context, SHORT, checkpoint=Checkpoint(path), callbacks=[StopAtTimeLimit(TimeLimit(1e-9))])
    assert same(uninterrupted, resumed)
    assert repeated.step == train_state.step
    train(context, SHORT, callbacks=[StopAtTimeLimit(TimeLimit(1e-9))])  # without a checkpoint path it could not resume
    train(context, SHORT, checkpoint=Checkpoint(tmp_path / "other"), callbacks=[StopAtTimeLimit(TimeLimit(1e9))])
    for seconds in (0, -1, float("nan"), float("inf")):
        with pytest.raises(InvalidValue, match="a time limit is more than 0 seconds"):
            TimeLimit(seconds)


def test_a_limited_command_reports_it_and_ends_like_an_unlimited_one(dprune: Callable[..., CommandResult]) -> None:
    arguments = ["train", "--fraction", 0.2, "--kd-weight", 0, *fast_options(), "--set", "train.model=tinynet8"]
    uninterrupted = dprune(*arguments, "--out", "whole")
    assert uninterrupted.code == 0
    limited = dprune(*arguments, "--out", "limited", "--max-seconds", 0.001)
    assert limited.code == 3
    assert limited.err.strip().splitlines()[-1] == (
        "dprune: student: stopped after epoch 1 of 2; the same command resumes from there"
    )
    assert dprune(*arguments, "--out", "limited", "--max-seconds", 0.001).code == 0
    weights = [load_tensors(Path(folder) / "model.safetensors")[0] for folder in ("whole", "limited")]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_no_time_at_all_is_refused(expect_refusal: Callable[..., str]) -> None:
    assert "a time limit is more than 0 seconds; got 0 (--max-seconds)" in expect_refusal(
        "train", "--fraction", 0.5, "--max-seconds", 0
    )


def test_a_student_records_its_settings(make_context: MakeContext, small_dataset: Dataset) -> None:
    usual = dp.train(make_context(small_dataset, "train.model=tinynet8"), fraction=0.5, kd_weight=0)
    other = dp.train(make_context(small_dataset, "train.model=tinynet8", "train.ema=0.5"), fraction=0.5, kd_weight=0)
    assert usual.folder != other.folder
    assert "ema = 0.5" in (other.folder / "config.toml").read_text()
    assert "ema = 0.0" in (usual.folder / "config.toml").read_text()
