"""A killed run resumes to the same bits: every training step, option and recording, checkpoints within an epoch."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import datapruning as dp
from datapruning.config.self_distillation import KEYS
from datapruning.config.training import TrainConfig
from datapruning.data.dataset import Dataset
from datapruning.data.loaders.loader import Batch
from datapruning.errors import Diverged, InvalidFile
from datapruning.evidence import recorder
from datapruning.evidence.prediction_change import PredictionChange
from datapruning.evidence.recorder import Recorder
from datapruning.evidence.sample_stats import RECORDED, TRAIN_STATISTICS, SampleStats
from datapruning.io.tensors import load_tensors, save_tensors
from datapruning.models import create_model
from datapruning.runs.context import Context
from datapruning.training import nan_guard
from datapruning.training.callbacks import Callback
from datapruning.training.checkpoint import EXTRA_PREFIX, Checkpoint
from datapruning.training.losses import CrossEntropy, DistillationLoss, LossTerms
from datapruning.training.reproducibility import StepRNG, reproducible
from datapruning.training.schedules import planned_steps
from datapruning.training.self_distillation.factory import make_self_distillation
from datapruning.training.sparsity.masks import Masks
from datapruning.training.sparsity.prunable import prunable
from datapruning.training.state import TrainState
from tests.conftest import CommandResult, fast_options
from tests.helpers.trainers import fit

MakeContext = Callable[..., Context]
KillAndResume = Callable[..., Any]
SHORT = TrainConfig(model="tinynet8", epochs=4, batch_size=16, lr=0.05)
IDS = np.arange(0, 120, 2)  # 60 samples: 4 updates an epoch, the last of 12
PRUNED = SHORT.replace(epochs=8, infobatch=0.5)


class Opinions:
    """Soft labels of a teacher by sample and view."""

    def __getitem__(self, key: tuple[NDArray[np.int64], int]) -> Tensor:
        ids, epoch = key
        return torch.from_numpy(np.sin(ids[:, None] * (1.0 + np.arange(4)) + epoch % 3)).float()[None]


def with_dropout(channels: int, classes: int) -> nn.Module:
    """A network with random numbers in training."""
    layers = (
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(64 * channels, 16),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(16, classes),
    )
    return nn.Sequential(*layers)


def dropout_net() -> nn.Module:
    """That network for the small dataset."""
    return create_model(f"{__name__}:with_dropout", (8, 8, 3), 4, seed=5)


def train(
    context: Context, training: TrainConfig = SHORT, method: str = "none", model: nn.Module | None = None, **options: Any
) -> tuple[nn.Module, TrainState]:
    """Train a new network."""
    network = model or context.new_model(training.model, 0)
    recipe = context.recipe.replace(train=training, views=context.recipe.views.replace(num_views=4))
    settings_of_method = replace(context, recipe=recipe.with_settings("self_distill", method=method))
    settings: dict[str, Any] = {
        "loss": CrossEntropy(), "seed": 0, "num_steps": planned_steps(training, len(IDS), len(IDS)), "description": "test",
        "self_distillation": make_self_distillation(settings_of_method, IDS, 0, Opinions(), IDS), **options,
    }  # fmt: skip
    with reproducible(1):
        return network, fit(network, context.loader("train"), IDS, context.views, training, **settings)


def outcome_of(model: nn.Module, state: TrainState) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Return everything that must be equal: weights, counts, history."""
    rows = [row.model_copy(update={"seconds": 0.0}) for row in state.history]
    counts = {**dict(state), "seconds": 0.0}
    return {name: t.numpy().tobytes() for name, t in model.state_dict().items()}, {**counts, "history": rows}


def half_masks(context: Context) -> Masks:
    """Make masks that keep every other weight."""
    weights = prunable(context.new_model("tinynet8", 0))
    return Masks({n: (np.arange(w.numel()) % 2 == 0).reshape(tuple(w.shape)) for n, w in weights.items()})


CASES: dict[str, Callable[[Context], dict[str, Any]]] = {
    "plain": lambda _: {},
    "kd": lambda _: {"loss": DistillationLoss(Opinions(), 0.6, 4.0, confidence_weighting=True)},
    "infobatch": lambda _: {"training": PRUNED},
    "infobatch, kd": lambda _: {"training": PRUNED, "loss": DistillationLoss(Opinions(), 0.6, 4.0)},
    "ema": lambda _: {"training": SHORT.replace(ema=0.9)},
    "adamw, ema, clip": lambda _: {"training": SHORT.replace(optimizer="adamw", lr=0.003, ema=0.9, clip_grad_norm=0.5)},
    "accumulate": lambda _: {"training": SHORT.replace(batch_size=8, grad_accum_steps=2)},
    "infobatch, accumulate": lambda _: {"training": PRUNED.replace(batch_size=8, grad_accum_steps=2)},
    "steps": lambda _: {"training": SHORT.replace(schedule="step", milestones=(0.4,)), "num_steps": 14},
    "bf16": lambda _: {"training": SHORT.replace(precision="bf16")},
    "masks": lambda context: {"masks": half_masks(context)},
    "masks, infobatch, ema": lambda context: {"masks": half_masks(context), "training": PRUNED.replace(ema=0.9)},
    **{name: lambda _, name=name: {"method": name} for name in KEYS if name != "none"},  # type: ignore[misc]
    "dlb, masks, kd": lambda context: {
        "method": "dlb", "masks": half_masks(context), "loss": DistillationLoss(Opinions(), 0.6, 4.0)
    },
    "dropout": lambda _: {"model": dropout_net()},
    "dropout, cs-kd": lambda _: {"model": dropout_net(), "method": "cs-kd"},
    "dropout, infobatch, accumulate": lambda _: {
        "model": dropout_net(), "training": PRUNED.replace(batch_size=8, grad_accum_steps=2)
    },
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_run_killed_at_any_step_ends_with_the_same_bits(
    make_context: MakeContext, small_dataset: Dataset, tmp_path: Path, kill_and_resume: KillAndResume, case: str
) -> None:
    """At the first step, within an epoch, at an epoch's last step, right after a checkpoint and some steps later."""
    context = make_context(small_dataset)
    uninterrupted = outcome_of(*train(context, **CASES[case](context)))
    for number, (kill_steps, every) in enumerate([((1, 1, 2), 1), ((6, 4), 3), ((3, 5), 5)]):
        state = Checkpoint(tmp_path / f"{number}.safetensors")
        ended = kill_and_resume(
            lambda state_path=state: train(context, **CASES[case](context), checkpoint=state_path), *kill_steps, every=every
        )
        assert outcome_of(*ended) == uninterrupted


@pytest.mark.parametrize("training", [SHORT, PRUNED], ids=["plain", "infobatch"])
def test_a_run_killed_at_every_step_ends_with_the_same_bits(
    make_context: MakeContext, small_dataset: Dataset, tmp_path: Path, kill_and_resume: KillAndResume, training: TrainConfig
) -> None:
    context = make_context(small_dataset)
    model, train_state = train(context, training)
    uninterrupted = outcome_of(model, train_state)
    for update in range(train_state.updates):
        state = Checkpoint(tmp_path / f"{update}.safetensors")
        assert (
            outcome_of(
                *kill_and_resume(lambda state_path=state: train(context, training, checkpoint=state_path), update, every=2)
            )
            == uninterrupted
        )


@pytest.mark.parametrize("table", ["cutmix", "mixup"])
def test_runs_with_mixed_images_resume_within_an_epoch(
    table: str, make_context: MakeContext, small_dataset: Dataset, tmp_path: Path, kill_and_resume: KillAndResume
) -> None:
    context = make_context(small_dataset, f"{table}.prob=0.7").for_subset(IDS)
    uninterrupted = outcome_of(*train(context))
    assert uninterrupted != outcome_of(*train(make_context(small_dataset)))
    assert (
        outcome_of(*kill_and_resume(lambda: train(context, checkpoint=Checkpoint(tmp_path / "state")), 6, 3))
        == uninterrupted
    )


def position(checkpoint: Checkpoint) -> tuple[int, int]:
    """Return the epoch, and batches within it, of a checkpoint."""
    state = checkpoint.state()
    assert state.partial_epoch is not None
    return state.epoch, state.partial_epoch.batches


def test_a_checkpoint_records_where_it_was_killed(
    make_context: MakeContext, small_dataset: Dataset, tmp_path: Path, kill_and_resume: KillAndResume
) -> None:
    """Check that the tests above use the intended checkpoints."""
    state, states = Checkpoint(tmp_path / "state"), list[Any]()

    def work() -> Any:
        states.append(state.state() if state.path.exists() else None)
        return train(make_context(small_dataset), checkpoint=state)

    kill_and_resume(work, 2, 5)
    assert states[0] is None
    assert (states[1].epoch, states[1].partial_epoch.batches, states[1].partial_epoch.samples) == (0, 2, 32)
    assert (states[2].epoch, states[2].partial_epoch.batches) == (1, 3)


def test_dropout_draws_from_the_random_numbers_of_the_run(make_context: MakeContext, small_dataset: Dataset) -> None:
    context = make_context(small_dataset)
    uninterrupted = outcome_of(*train(context, model=dropout_net()))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(9)
        before = torch.get_rng_state()
        assert outcome_of(*train(context, model=dropout_net())) == uninterrupted, "whatever others drew"
        assert torch.equal(torch.get_rng_state(), before), "and others draw what they would have"
        masks = set()
        for epoch in range(2):
            rng = StepRNG(torch.device("cpu"), 0, epoch, 3)
            for update in range(3):
                rng.seed_step(update)
                masks.add(float(torch.rand(1)))
        assert len(masks) == 6


# Checkpoints of others


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "is no checkpoint of a training"),
        ({"state": "[1]"}, "is no checkpoint of a training"),
        ({"state": '{"epoch": 1, "warp": 2}'}, "unknown key 'warp'"),
    ],
)
def test_foreign_checkpoints_are_refused(
    make_context: MakeContext, small_dataset: Dataset, tmp_path: Path, metadata: dict[str, str], message: str
) -> None:
    context, state = make_context(small_dataset), Checkpoint(tmp_path / "state")
    train(context, stop_epoch=1, save_final_to=state)
    save_tensors(state.path, load_tensors(state.path)[0], metadata)
    with pytest.raises(InvalidFile, match=message):
        train(context, checkpoint=state)


def test_a_slow_save_makes_the_next_one_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("datapruning.training.checkpoint.time.monotonic", lambda: clock[0])
    state, model = Checkpoint(tmp_path / "state", seconds=10), nn.Linear(2, 2)
    monkeypatch.setattr("datapruning.training.checkpoint.save_tensors", lambda *_: clock.__setitem__(0, clock[0] + 0.5))
    clock[0] = 9.9
    assert not state.due()
    clock[0] = 10.0
    assert state.due()
    state.save(model, torch.optim.SGD(model.parameters(), 0.1), TrainState())
    clock[0] += 49.9
    assert not state.due(), "half a second is one percent of fifty"
    clock[0] += 0.2
    assert state.due()
    assert Checkpoint(tmp_path / "state", seconds=0).due()


# Recordings


@pytest.mark.parametrize("rows", [16, 40, 8192], ids=["no-buffer", "ragged", "all-in-the-buffer"])
@pytest.mark.parametrize(("kill_steps", "every"), [((1, 3, 5), 1), ((6, 7), 3), ((11,), 5)])
def test_a_killed_recording_has_the_same_bits(
    make_context: MakeContext, small_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    kill_and_resume: KillAndResume, rows: int, kill_steps: tuple[int, ...], every: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(recorder, "BUFFER_ROWS", rows)
    context, tracks = make_context(small_dataset), dict[str, SampleStats]()

    def work(name: str) -> tuple[nn.Module, TrainState]:
        tracks[name] = SampleStats(tmp_path / name / "track", SHORT.epochs, small_dataset.total)
        watching = Recorder(tracks[name], PredictionChange(tmp_path / name / "changes", small_dataset.total))
        return train(context, callbacks=[watching], checkpoint=Checkpoint(tmp_path / name / "state"))

    uninterrupted = outcome_of(*work("uninterrupted"))
    assert outcome_of(*kill_and_resume(lambda: work("killed"), *kill_steps, every=every)) == uninterrupted
    for name in (*TRAIN_STATISTICS, RECORDED):
        np.testing.assert_array_equal(tracks["uninterrupted"][name], tracks["killed"][name], err_msg=name)
    assert tracks["killed"][RECORDED][:, IDS].all()


def test_what_was_recorded_after_the_checkpoint_is_void(tmp_path: Path) -> None:
    track = SampleStats(tmp_path, 2, 6)
    track.arrays[RECORDED][1] = [1, 1, 0, 1, 0, 1]
    track.clear(1, keep=np.array([0, 3, 4]))
    np.testing.assert_array_equal(track[RECORDED][1], [1, 0, 0, 1, 0, 0])


# The verbs


def arrays_in(folder: Path) -> dict[str, bytes]:
    """Return the arrays of every .npy and .npz in a folder."""
    arrays = {}
    for path in sorted(folder.rglob("*.np[yz]")):
        name = str(path.relative_to(folder))
        if path.suffix == ".npy":
            arrays[name] = np.load(path).tobytes()
            continue
        with np.load(path) as archive:
            arrays |= {f"{name} {key}": archive[key].tobytes() for key in archive.files if key != "meta"}
    return arrays


@pytest.mark.parametrize(
    ("scorer", "kill_steps"), [("memorization", (3, 9, 20)), ("tdds", (3, 6, 5))], ids=["members", "proxies"]
)
def test_scoring_killed_within_an_epoch_makes_the_same_arrays(
    make_context: MakeContext,
    small_dataset: Dataset,
    tmp_path: Path,
    kill_and_resume: KillAndResume,
    scorer: str,
    kill_steps: tuple[int, ...],
) -> None:
    """Compares every array: scores, members, recordings. No checkpoint remains."""
    options = (
        "ensemble.num_members=4", "ensemble.subset_fraction=0.5", "ensemble_member.epochs=3",
        "ensemble_member.batch_size=16", "proxy.epochs=4", "proxy.batch_size=32", "evidence.full_runs=1",
    )  # fmt: skip
    uninterrupted = dp.score(make_context(small_dataset, *options, workspace=tmp_path / "uninterrupted"), scorer)
    context = make_context(small_dataset, *options, workspace=tmp_path / "killed")
    repeated = kill_and_resume(lambda: dp.score(context, scorer), *kill_steps, every=2)
    np.testing.assert_array_equal(repeated.values, uninterrupted.values)
    assert arrays_in(tmp_path / "killed") == arrays_in(tmp_path / "uninterrupted")
    names = [{path.name for path in (tmp_path / name).rglob("*") if path.is_file()} for name in ("uninterrupted", "killed")]
    assert names[0] == names[1]
    assert not any("state" in name or "checkpoint" in name for name in names[1])


# Losses that are no numbers


class Poison:
    """Cross-entropy until a training step, NaN from then on."""

    def __init__(self, update: int, value: float = float("nan")) -> None:
        self.left, self.value = update, value

    def __call__(self, logits: Tensor, batch: Batch, epoch: int) -> LossTerms:
        self.left -= 1
        factor = self.value if self.left < 0 else 1.0
        return CrossEntropy()(logits, batch, epoch).map(lambda term: term * factor)

    def per_sample(self, logits: Tensor, batch: Batch, epoch: int) -> LossTerms:
        raise NotImplementedError


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("every", [1, 100], ids=["looks-each-time", "looks-seldom"])
def test_a_non_finite_loss_names_its_step_and_keeps_the_last_valid_checkpoint(
    make_context: MakeContext,
    small_dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    value: float,
    every: int,
) -> None:
    monkeypatch.setattr(nan_guard, "CHECK_EVERY_ON_CPU", every)
    context, state = make_context(small_dataset), Checkpoint(tmp_path / "state", seconds=0)
    saved_states = list[Any]()

    class Look(Callback):
        def on_batch_end(self, epoch: int, batch: Batch, logits: Tensor) -> None:
            saved_states.append(batch.ids)

    with pytest.raises(
        Diverged, match=rf"loss became {value} in epoch 1, at update 7 of the run, with sample ids"
    ) as raised:
        train(context, loss=Poison(6, value), callbacks=[Look()], checkpoint=state)
    assert (raised.value.epoch, raised.value.step) == (1, 6)
    np.testing.assert_array_equal(raised.value.ids, saved_states[6])
    assert len(saved_states) == 7
    assert str(raised.value.ids[0]) in str(raised.value)
    assert position(state) == (1, 2)
    for name, tensor in load_tensors(state.path)[0].items():
        assert name.startswith(EXTRA_PREFIX) or tensor.isfinite().all(), name


def test_infrequent_checks_report_the_first_non_finite_loss(
    make_context: MakeContext, small_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nan_guard, "CHECK_EVERY_ON_CPU", 3)
    with pytest.raises(Diverged, match=r"in epoch 0, at update 2 of the run"):
        train(make_context(small_dataset), loss=Poison(1))


def test_non_finite_weights_are_not_saved(make_context: MakeContext, small_dataset: Dataset, tmp_path: Path) -> None:
    context, state = make_context(small_dataset), Checkpoint(tmp_path / "state", seconds=0)

    def rate(step: int) -> float:
        return float("inf") if step == 5 else 0.01

    with pytest.raises(Diverged, match=r"weight '.*' is no finite number any more in epoch 1, at update 6 of the run"):
        train(context, lr_schedule=rate, checkpoint=state)
    assert position(state) == (1, 1)
    with pytest.raises(Diverged, match=r"weight"):
        train(context, lr_schedule=lambda step: float("inf") if step == 15 else 0.01)


# The real thing

CHILD = """
import sys
from datapruning.training import checkpoint
from datapruning.cli.main import main
checkpoint.SAVE_INTERVAL_SECONDS = 0.0
main()
"""


def test_a_command_killed_by_sigkill_resumes_to_the_same_bits(dprune: Callable[..., CommandResult], tmp_path: Path) -> None:
    arguments = [
        "train",
        "--fraction",
        "0.4",
        "--kd-weight",
        "0",
        "--threads",
        "1",
        *fast_options(),
        "--set",
        "train.epochs=6",
    ]
    assert dprune(*arguments, "--out", "uninterrupted").code == 0
    process = subprocess.Popen([sys.executable, "-c", CHILD, *arguments, "--out", "killed"], stderr=subprocess.DEVNULL)
    state = Checkpoint(tmp_path / "killed" / "checkpoint" / "state.safetensors")
    while process.poll() is None and not (state.path.exists() and state.state().epoch):
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "it was not at its end"
    assert not (tmp_path / "killed" / "result.json").exists()
    assert dprune(*arguments, "--out", "killed").code == 0
    uninterrupted, repeated = (
        load_tensors(tmp_path / name / "model.safetensors")[0] for name in ("uninterrupted", "killed")
    )
    assert {name: t.numpy().tobytes() for name, t in uninterrupted.items()} == {
        name: t.numpy().tobytes() for name, t in repeated.items()
    }
    remaining_files = sorted(path.name for path in (tmp_path / "killed").iterdir())
    assert remaining_files == sorted(path.name for path in (tmp_path / "uninterrupted").iterdir())
