"""Distillation in Lightning: 20% of the digits, shifted at random, with the soft labels of a teacher of all of them."""

import lightning
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

import datapruning as dp
from datapruning.integrations.lightning import SoftLabelCallback

digits = load_digits()
images, labels = torch.tensor(digits.images / 16, dtype=torch.float32), torch.tensor(digits.target)
kept_ids = np.random.default_rng(0).permutation(1437)[:287]  # the last 360 digits are the test set


class ShiftedDigits(Dataset):
    def __len__(self):
        return 1437

    def __getitem__(self, i):
        shift = torch.randint(-1, 2, (2,)).tolist()
        return torch.roll(images[i], shift, dims=(0, 1)), int(labels[i])


def make_network(width):
    return torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, width), torch.nn.ReLU(), torch.nn.Linear(width, 10)
    )  # fmt: skip


class Student(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.network = make_network(64)
        self.criterion = dp.KDLoss(weight=0.9, temperature=4)

    def training_step(self, batch, batch_idx):
        images, labels, _, teacher_logits = batch
        return self.criterion(self.network(images), labels, teacher_logits).total

    def test_step(self, batch, batch_idx):
        images, labels = batch
        self.log("test accuracy", (self.network(images).argmax(1) == labels).float().mean())

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


lightning.seed_everything(0, verbose=False)
teacher = make_network(128)
optimizer = torch.optim.Adam(teacher.parameters(), lr=0.01)
for batch in DataLoader(ShiftedDigits(), batch_size=64, sampler=torch.randint(1437, (15000,)).tolist()):
    optimizer.zero_grad()
    cross_entropy(teacher(batch[0]), batch[1]).backward()
    optimizer.step()

train_set = dp.soft_labels(teacher.eval(), ShiftedDigits(), kept_ids, num_views=8).dataset()
trainer = lightning.Trainer(
    max_epochs=40,
    callbacks=[SoftLabelCallback(train_set)],
    accelerator="cpu",
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
student = Student()
trainer.fit(student, DataLoader(train_set, batch_size=32, shuffle=True))
test_set = torch.utils.data.TensorDataset(images[1437:], labels[1437:])
(metrics,) = trainer.test(student, DataLoader(test_set, batch_size=360), verbose=False)
print(f"{metrics['test accuracy']:.1%} on the test set")
