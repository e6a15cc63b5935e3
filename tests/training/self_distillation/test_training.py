"""Self-distillation in the trainer: equal to a slow reference, resumable bit for bit, the same with every loader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div

from datapruning.config.self_distillation import KEYS
from datapruning.config.training import TrainConfig
from datapruning.data.batching import training_batches
from datapruning.data.dataset import Dataset
from datapruning.data.loaders.loader import Batch
from datapruning.errors import InvalidValue
from datapruning.runs.context import Context
from datapruning.training.callbacks import Callback
from datapruning.training.checkpoint import Checkpoint
from datapruning.training.losses import CrossEntropy
from datapruning.training.reproducibility import reproducible
from datapruning.training.schedules import planned_steps
from datapruning.training.self_distillation.base import SelfDistillation
from datapruning.training.self_distillation.cs_kd import ClassPairs
from datapruning.training.self_distillation.factory import make_self_distillation
from datapruning.training.state import TrainState
from tests.helpers.trainers import fit

MakeContext = Callable[..., Context]
METHODS = [name for name in KEYS if name != "none"]
SHORT = TrainConfig(epochs=4, batch_size=16, lr=0.05)
IDS = np.arange(0, 120, 2)  # 60 samples, 4 updates an epoch, the last of 12


class Opinions:
    """Soft labels of a self-teacher by sample and view."""

    def __getitem__(self, key: tuple[NDArray[np.int64], int]) -> Tensor:
        ids, epoch = key
        return torch.from_numpy(np.sin(ids[:, None] * (1.0 + np.arange(4)) + epoch % 3)).float()[None]


def make_method(context: Context, method: str, ids: NDArray[np.int64] = IDS) -> SelfDistillation | None:
    """Make a method for a run of four epochs and four views."""
    context = context.with_settings("self_distill", method=method).with_settings("views", num_views=4)
    return make_self_distillation(context.with_settings("train", epochs=4), ids, 0, Opinions(), ids)


def train(
    context: Context, method: str, training: TrainConfig = SHORT, ids: Any = IDS, **options: Any
) -> tuple[nn.Module, TrainState]:
    """Train a new convnet."""
    model = context.new_model("convnet", 0)
    settings: dict[str, Any] = {
        "seed": 0, "num_steps": planned_steps(training, len(ids), context.data.total), "description": "test",
        "self_distillation": make_method(context, method, ids), **options,
    }  # fmt: skip
    with reproducible(1):
        train_state = fit(model, context.loader("train"), ids, context.views, training, CrossEntropy(), **settings)
    return model, train_state


def same(a: nn.Module, b: nn.Module) -> bool:
    """Whether the weights are equal bit for bit."""
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def term(previous: Tensor, current: Tensor, t: float) -> Tensor:
    return t**2 * kl_div((current / t).log_softmax(1), (previous / t).softmax(1), reduction="batchmean")


class Slow:
    """A slow reference of the methods that reads every image separately."""

    def __init__(self, context: Context, model: nn.Module, method: str) -> None:
        self.context, self.model, self.method = context, model, method
        self.last_probs: dict[int, Tensor] = {}
        self.previous: tuple[NDArray[np.int64], Tensor, int] | None = None

    def view(self, ids: NDArray[np.int64], epoch: int) -> tuple[Tensor, Tensor]:
        ((batch, images),) = self.context.views.read(self.context.loader("train"), [ids], epoch)
        return batch.labels, images

    def loss(self, ids: NDArray[np.int64], epoch: int) -> Tensor:
        labels, images = self.view(ids, epoch)
        if self.method == "dlb" and self.previous is not None:
            before_ids, before, before_epoch = self.previous
            old_labels, previous_images = self.view(before_ids, (before_epoch + 2) % 4)
            z = self.model(torch.cat([images, previous_images]))
            self.previous = ids, z[: len(ids)].detach(), epoch
            loss = cross_entropy(z, torch.cat([labels, old_labels])) + 0.5 * term(before, z[len(ids) :], 3.0)
            return loss
        z = self.model(images)
        loss = cross_entropy(z, labels)
        self.previous = ids, z.detach(), epoch
        if self.method == "cs-kd":
            partners = ClassPairs(IDS, self.context.data.train.labels).draw(ids, 0, epoch)
            loss = loss + term(self.model(self.view(partners, epoch)[1]).detach(), z, 4.0)
        if self.method == "ps-kd" and epoch:
            a = 0.8 * (epoch + 1) / 4
            before = torch.stack([self.last_probs[i] for i in ids.tolist()])
            loss = cross_entropy(z, (1 - a) * nn.functional.one_hot(labels, 4) + a * before)
        if self.method == "tf-kd":
            u = torch.full((len(ids), 4), 0.01 / 3)
            u[torch.arange(len(ids)), labels] = 0.99
            loss = 0.9 * loss + 0.1 * kl_div(z.log_softmax(1), (u / 20).softmax(1), reduction="batchmean")
        if self.method == "tf-kd-self":
            loss = 0.05 * loss + 0.95 * 0.5 * term(Opinions()[ids, epoch][0], z, 6.0)
        self.last_probs |= dict(zip(ids.tolist(), z.detach().softmax(1), strict=True))
        return loss


@pytest.mark.parametrize("method", METHODS)
def test_it_trains_as_a_slow_reference_does(make_context: MakeContext, small_dataset: Dataset, method: str) -> None:
    context = make_context(small_dataset)
    training = SHORT.replace(momentum=0.0, weight_decay=0.0)
    model, train_state = train(context, method, training, lr_schedule=lambda step: 0.02)
    reference = context.new_model("convnet", 0).train()
    slow = Slow(context, reference, method)
    with reproducible(1):
        for epoch in range(4):
            total = 0.0
            for ids in training_batches(IDS, 16, 0, epoch):
                loss = slow.loss(ids, epoch)
                reference.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                with torch.no_grad():
                    for parameter in reference.parameters():
                        assert parameter.grad is not None
                        parameter.sub_(0.02 * parameter.grad)
                total += len(ids) * loss.item()
            assert train_state.history[epoch].loss == pytest.approx(total / 60, rel=1e-3)
    for (name, actual), expected in zip(model.state_dict().items(), reference.state_dict().values(), strict=True):
        torch.testing.assert_close(actual, expected, rtol=2e-3, atol=2e-4, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("method", METHODS)
def test_training_in_two_parts_equals_training_at_once(
    make_context: MakeContext, small_dataset: Dataset, tmp_path: Path, method: str
) -> None:
    context, checkpoint = make_context(small_dataset), Checkpoint(tmp_path / "left.safetensors")
    uninterrupted, train_state = train(context, method)
    _, first = train(context, method, stop_epoch=2, save_final_to=checkpoint)
    second, repeated = train(context, method, init_from=checkpoint)
    assert same(uninterrupted, second)
    assert (repeated.auxiliary_samples, repeated.auxiliary_forward) == (
        train_state.auxiliary_samples,
        train_state.auxiliary_forward,
    )
    assert checkpoint.state() == first


@pytest.mark.parametrize("method", ["ps-kd", "dlb", "cs-kd"])
def test_samples_may_join_half_way(make_context: MakeContext, small_dataset: Dataset, tmp_path: Path, method: str) -> None:
    context, checkpoint = make_context(small_dataset), Checkpoint(tmp_path / "left.safetensors")
    train(context, method, ids=IDS[::2], stop_epoch=2, save_final_to=checkpoint)
    _, train_state = train(context, method, init_from=checkpoint)
    assert train_state.epoch == 2 + (planned_steps(SHORT, 60, 120) - 4) // 4
    assert np.isfinite([row.loss for row in train_state.history]).all()


@pytest.mark.parametrize("method", ["cs-kd", "dlb"])
def test_both_loaders_train_the_same_network(make_context: MakeContext, small_dataset: Dataset, method: str) -> None:
    pytest.importorskip("ffcv", reason="FFCV is not installed")
    in_memory, _ = train(make_context(small_dataset, loader="memory"), method)
    ffcv, _ = train(make_context(small_dataset, loader="ffcv"), method)
    assert same(in_memory, ffcv)


@pytest.mark.parametrize(
    ("method", "repeated", "forward"),
    [("cs-kd", 0, 240), ("ps-kd", 0, 0), ("dlb", 240 - 12, 0), ("tf-kd", 0, 0), ("tf-kd-self", 0, 0)],
)
def test_further_passes_are_counted(
    make_context: MakeContext, small_dataset: Dataset, method: str, repeated: int, forward: int
) -> None:
    passes: list[int] = []
    context = make_context(small_dataset)
    model = context.new_model("convnet", 0)
    model.register_forward_pre_hook(lambda _, images: passes.append(len(images[0])))
    with reproducible(1):
        train_state = fit(
            model, context.loader("train"), IDS, context.views, SHORT, CrossEntropy(), seed=0, num_steps=16,
            description="test", self_distillation=make_method(context, method),
        )  # fmt: skip
    assert (train_state.samples_seen, train_state.auxiliary_samples, train_state.auxiliary_forward) == (
        240,
        repeated,
        forward,
    )
    assert sum(passes) == 240 + repeated + forward


def test_epochs_that_end_early_and_single_batches(make_context: MakeContext, small_dataset: Dataset) -> None:
    """Under the budget "steps" the last epoch may be incomplete; an epoch may be a single batch."""
    context = make_context(small_dataset)
    for method in METHODS:
        _, train_state = train(context, method, SHORT.replace(budget="steps", batch_size=48))  # 3 updates; 60 samples are 2
        assert train_state.updates == 12
        _, train_state = train(context, method, ids=IDS[:12], training=SHORT.replace(epochs=2))
        assert train_state.updates == 2


def test_callbacks_get_the_batch_without_auxiliary_samples(make_context: MakeContext, small_dataset: Dataset) -> None:
    class Look(Callback):
        def on_batch_end(self, epoch: int, batch: Batch, logits: Tensor) -> None:
            assert logits.shape == (len(batch.ids), 4)
            assert not logits.requires_grad
            batch_sizes.append(len(batch.ids))

    for method in METHODS:
        batch_sizes: list[int] = []
        train(make_context(small_dataset), method, callbacks=[Look()])
        assert batch_sizes == [16, 16, 16, 12] * 4


def test_dynamic_pruning_is_refused(make_context: MakeContext, small_dataset: Dataset) -> None:
    with pytest.raises(InvalidValue, match="infobatch do not go together"):
        train(make_context(small_dataset), "ps-kd", SHORT.replace(infobatch=0.5))


@pytest.mark.parametrize("method", METHODS)
def test_bf16(make_context: MakeContext, small_dataset: Dataset, method: str) -> None:
    _, train_state = train(make_context(small_dataset), method, SHORT.replace(precision="bf16"))
    losses = [row.loss for row in train_state.history]
    assert np.isfinite(losses).all()
    if method != "ps-kd":  # whose target moves
        assert losses[-1] < losses[0]


def test_without_a_method_there_is_no_self_distillation(make_context: MakeContext, small_dataset: Dataset) -> None:
    assert make_method(make_context(small_dataset), "none") is None
