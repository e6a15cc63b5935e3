"""The callbacks for Lightning, with the real package."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import datapruning as dp
from datapruning.errors import InvalidValue, MissingPackage

IMAGES, LABELS = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3
REAL = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*number of training batches:UserWarning"),
]


def real(test: Any) -> Any:
    """Mark a test that imports Lightning."""
    for mark in REAL:
        test = mark(test)
    return test


@pytest.fixture
def lightning() -> Any:
    return pytest.importorskip("lightning", reason="lightning is not installed")


def module_with(lightning: Any, step: Any) -> Any:
    """A linear classifier whose training step is `step(self, batch)`."""

    class Classifier(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.net = torch.nn.Linear(6, 3)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return step(self, batch)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return Classifier()


def plain_step(module: Any, batch: Any) -> Any:
    logits = module.net(batch[0])
    return {"loss": cross_entropy(logits, batch[1]), "logits": logits}


def fit(lightning: Any, step: Any, callback: Any, data: Any, epochs: int, checkpoint: Path | None = None) -> Any:
    trainer = lightning.Trainer(
        max_epochs=epochs, callbacks=[callback], accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module_with(lightning, step), DataLoader(data, batch_size=8, shuffle=True), ckpt_path=checkpoint)
    return trainer


@real
def test_a_recording_is_that_of_the_logits_also_after_a_resume(lightning: Any, tmp_path: Path) -> None:
    from datapruning.integrations.lightning import RecorderCallback

    data, seen = TensorDataset(IMAGES, LABELS, torch.arange(40)), []

    def step(module: Any, batch: Any) -> Any:
        outputs = plain_step(module, batch)
        seen.append((batch[2], outputs["logits"].detach()))
        return outputs

    for epochs in (2, 4):
        callback = RecorderCallback(dp.record(tmp_path / "r", "data", total=40, epochs=4))
        if epochs == 2:  # killed before the end
            callback.recorder.finish = list  # type: ignore[method-assign, assignment]
        trainer = fit(lightning, step, callback, data, epochs, None if epochs == 2 else tmp_path / "x.ckpt")
        trainer.save_checkpoint(tmp_path / "x.ckpt")
    assert len(seen) == 4 * 5
    recorder = dp.record(tmp_path / "plain", "data", total=40, epochs=4)
    for epoch in range(4):
        recorder.start_epoch(epoch)
        for ids, logits in seen[5 * epoch : 5 * epoch + 5]:
            recorder.update(logits, LABELS[ids], ids)
        recorder.end_epoch()
    recorder.finish()
    for scorer in ("aum", "tdds"):
        scores = [dp.score_recording(tmp_path / folder, scorer).values for folder in ("r", "plain")]
        np.testing.assert_array_equal(*scores)


@real
def test_every_epoch_sees_its_views(lightning: Any, tmp_path: Path) -> None:
    from datapruning.integrations.lightning import SoftLabelCallback

    labels = dp.soft_labels(
        torch.nn.Linear(6, 3), NoisyImages(), np.arange(0, 40, 2), num_views=3, workspace=tmp_path
    )  # fmt: skip
    train_set, epochs = labels.dataset(), []

    def step(module: Any, batch: Any) -> Any:
        ids, teacher_logits = batch[2], batch[3]
        epochs.append([epoch for epoch in range(4) if torch.equal(labels[ids, epoch], teacher_logits)])
        return dp.KDLoss(0.5)(module.net(batch[0]), batch[1], teacher_logits).total

    fit(lightning, step, SoftLabelCallback(train_set), train_set, 4)
    assert epochs == [[0, 3]] * 3 + [[1]] * 3 + [[2]] * 3 + [[0, 3]] * 3


class NoisyImages(torch.utils.data.Dataset[Any]):
    """Images with random noise."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, i: int) -> Any:
        return IMAGES[i] + torch.randn(6), int(LABELS[i])


@real
@pytest.mark.parametrize(
    ("step", "data", "message"),
    [
        (lambda module, batch: plain_step(module, batch)["loss"], (IMAGES, LABELS, torch.arange(40)), 'return {"loss"'),
        (plain_step, (IMAGES, LABELS), r"a batch is \(images, labels, ids\)"),
    ],
)
def test_what_cannot_be_recorded_is_refused(lightning: Any, step: Any, data: Any, message: str, tmp_path: Path) -> None:
    from datapruning.integrations.lightning import RecorderCallback

    callback = RecorderCallback(dp.record(tmp_path / "r", "data", total=40, epochs=1))
    with pytest.raises(InvalidValue, match=message):
        fit(lightning, step, callback, TensorDataset(*data), 1)


@pytest.mark.parametrize("package", ["lightning", "transformers"])
def test_a_missing_package_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"datapruning.integrations.{package}", raising=False)
    with pytest.raises(MissingPackage, match=f"needs the package {package} .*: pip install ") as error:
        importlib.import_module(f"datapruning.integrations.{package}")
    assert "\n" not in str(error.value)
