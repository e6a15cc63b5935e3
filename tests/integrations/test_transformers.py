"""The Hugging Face Trainer, with the real package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import datapruning as dp
from datapruning.errors import InvalidValue

pytestmark = pytest.mark.slow
IMAGES, LABELS = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3


class Images(torch.utils.data.Dataset[Any]):
    """Images with or without ids, a teacher's logits, and random noise."""

    def __init__(self, *columns: str, noise: float = 0.0) -> None:
        self.columns, self.noise = columns, noise

    def __len__(self) -> int:
        return 40

    def __getitem__(self, i: int) -> Any:
        item = {"pixel_values": IMAGES[i] + self.noise * torch.randn(6), "labels": int(LABELS[i]), "sample_id": i}
        item["teacher_logits"] = IMAGES[i, :3]
        return {key: value for key, value in item.items() if key in ("pixel_values", *self.columns)}


@pytest.fixture
def transformers() -> Any:
    return pytest.importorskip("transformers", reason="transformers is not installed")


def make_model(transformers: Any) -> Any:
    """A linear classifier whose forward takes any keyword, as those of the library do."""

    class Linear(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.net, self.keywords = torch.nn.Linear(6, 3), set[str]()

        def forward(self, pixel_values: Any, labels: Any = None, **kwargs: Any) -> Any:
            self.keywords |= set(kwargs)
            logits = self.net(pixel_values)
            loss = None if labels is None else cross_entropy(logits, labels)
            return transformers.modeling_outputs.ImageClassifierOutput(loss=loss, logits=logits)

    return Linear()


def make_trainer(transformers: Any, folder: Path, data: Any, *, options: Any = None, **arguments: Any) -> Any:
    from datapruning.integrations.transformers import SampleTrainer

    settings = {
        "num_train_epochs": 1, "per_device_train_batch_size": 8, "learning_rate": 0.1, "remove_unused_columns": False,
        "use_cpu": True, "save_strategy": "no", "report_to": "none", "disable_tqdm": True, "optim": "sgd",
        "lr_scheduler_type": "constant", "max_grad_norm": 0.0, "logging_strategy": "no", **(options or {}),
    }  # fmt: skip
    training_arguments = transformers.TrainingArguments(str(folder / "trainer"), **settings)
    return SampleTrainer(make_model(transformers), training_arguments, train_dataset=data, **arguments)


@pytest.mark.parametrize("accumulated", [1, 5])
def test_a_step_is_that_of_the_loss_whatever_is_accumulated(transformers: Any, tmp_path: Path, accumulated: int) -> None:
    data, criterion = Images("labels", "sample_id", "teacher_logits"), dp.KDLoss(0.5, 3.0)
    options = {"per_device_train_batch_size": 40 // accumulated, "gradient_accumulation_steps": accumulated}
    trainer = make_trainer(transformers, tmp_path, data, options=options, criterion=criterion)
    trainer.train()
    reference = make_model(transformers).net
    criterion(reference(IMAGES), LABELS, IMAGES[:, :3]).total.backward()
    expected = reference.weight - 0.1 * reference.weight.grad
    torch.testing.assert_close(trainer.model.net.weight, expected)
    assert not trainer.model.keywords & {"sample_id", "teacher_logits"}


def test_a_recording_is_complete_also_after_a_resume_and_evaluation_is_left_out(transformers: Any, tmp_path: Path) -> None:
    data = Images("labels", "sample_id")
    for epochs in (2, 4):
        recorder = dp.record(tmp_path / "r", "data", total=40, epochs=4)
        trainer = make_trainer(
            transformers, tmp_path, data, recorder=recorder, eval_dataset=Images("labels"),
            options={"num_train_epochs": epochs, "save_strategy": "epoch", "eval_strategy": "epoch"},
        )  # fmt: skip
        if epochs == 2:
            trainer.recorder.finish = lambda: None
        trainer.train(resume_from_checkpoint=epochs == 4)
    scores = dp.score_recording(tmp_path / "r", "tdds")
    assert scores.values.shape == (40,)
    assert len(np.unique(scores.values)) > 30
    for columns in (("labels",), ("labels", "sample_id"), ("sample_id",)):
        assert trainer.predict(Images(*columns)).predictions.shape == (40, 3)


def test_every_epoch_sees_its_views(transformers: Any, tmp_path: Path) -> None:
    labels = dp.soft_labels(
        torch.nn.Linear(6, 3), Images("labels", noise=1.0), np.arange(0, 40, 2), num_views=3, workspace=tmp_path,
        image_key="pixel_values",
    )  # fmt: skip
    epochs = []

    class Criterion(dp.KDLoss):
        def forward(self, logits: Any, targets: Any, teacher_logits: Any = None) -> Any:
            stored = [[labels[np.arange(0, 40, 2), epoch], epoch] for epoch in range(4)]
            epochs.append([epoch for all_logits, epoch in stored if (teacher_logits[0] == all_logits).all(1).any()])
            return super().forward(logits, targets, teacher_logits)

    options = {"num_train_epochs": 4, "per_device_train_batch_size": 10}
    make_trainer(transformers, tmp_path, labels.dataset(), options=options, criterion=Criterion(0.5)).train()
    assert epochs == [[0, 3]] * 2 + [[1]] * 2 + [[2]] * 2 + [[0, 3]] * 2


def test_what_is_missing_is_named(transformers: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="set remove_unused_columns=False"):
        make_trainer(transformers, tmp_path, Images(), options={"remove_unused_columns": True})
    recorder = dp.record(tmp_path / "r", "data", total=40, epochs=1)
    with pytest.raises(InvalidValue, match="columns labels and sample_id; the batch has pixel_values, labels"):
        make_trainer(transformers, tmp_path, Images("labels"), recorder=recorder).train()
    with pytest.raises(InvalidValue, match="teacher logits of this shape are needed, got none"):
        make_trainer(transformers, tmp_path, Images("labels", "sample_id"), criterion=dp.KDLoss(0.5)).train()
